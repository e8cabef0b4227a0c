"""Location of the cache of images, features, compiled code and measurements."""

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Folder of the cache: `RESNET_LAB_CACHE`, or the user's cache folder of the platform."""
    return Path(os.environ.get("RESNET_LAB_CACHE") or platformdirs.user_cache_path("resnet-lab"))


def code_folder() -> Path:
    """Folder of compiled code, one per user."""
    return cache_folder().absolute() / (f"compiled-{os.getuid()}" if hasattr(os, "getuid") else "compiled")
