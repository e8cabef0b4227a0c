"""Permission of the user for sources of images: any file may name one, but only the user allows fetching or running.

Both are kept in the environment, so that the processes that a command starts are allowed the same.
"""

import json
import os
import re

from resnet_lab.data.sources.braces import expanded

DOWNLOAD_VARIABLE = "RESNET_LAB_DOWNLOAD"
"""Environment variable: 1 lets sets and shards be fetched that are not there. `--download` sets it."""

NAMED_VARIABLE = "RESNET_LAB_NAMED_SHARDS"
"""Environment variable: shards behind URLs and pipes that the user named, a JSON list. `--data wds:...` sets it."""

PERMISSIONS = (DOWNLOAD_VARIABLE, NAMED_VARIABLE)


def allow_download() -> None:
    """Let sources be fetched, whoever names them; a pipe is never among them."""
    os.environ[DOWNLOAD_VARIABLE] = "1"


def may_download() -> bool:
    """Whether the user allowed it."""
    return os.environ.get(DOWNLOAD_VARIABLE) == "1"


def name_shards(source: str) -> None:
    """Let the shards of a source that the user wrote be fetched, a pipe's command be run for it."""
    os.environ[NAMED_VARIABLE] = json.dumps([*_named(), source])


def is_named(url: str) -> bool:
    """Whether a shard behind a URL or pipe is one of a source that the user wrote."""
    return any(url in expanded(re.sub("^wds:", "", source)) for source in _named())


def _named() -> list[str]:
    return [str(source) for source in json.loads(os.environ.get(NAMED_VARIABLE) or "[]")]
