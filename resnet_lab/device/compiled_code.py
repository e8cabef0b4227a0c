"""The folder where torch keeps compiled code, so that a network is compiled once and its code loaded afterwards.

torch unpickles and runs what it finds there, and its own place is a name in the folder of temporary files, which
another user may have taken before. So code is kept in a folder of the cache that belongs to this user alone.
"""

import atexit
import os
import shutil
import stat
import tempfile
from pathlib import Path

from resnet_lab.core.cache_location import code_folder

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
"""torch's, read at each compilation; one that is set is kept."""


def keep_compiled_code() -> None:
    """Have torch keep compiled code in the cache from now on, for this process and its children.

    Where no folder of the cache is this user's alone, code is kept for this process only.
    """
    if VARIABLE in os.environ:
        return
    folder = own_code_folder()
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="resnet-lab-compiled-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[VARIABLE] = str(folder)


def own_code_folder() -> Path | None:
    """The folder of the cache for code, made where it is missing; None where it is not this user's alone."""
    folder = code_folder()
    return folder if _is_own(folder) else None


def _is_own(folder: Path) -> bool:
    """Whether it is a folder, made where it is missing, that only this user can enter."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
    except OSError:
        return False
    if not hasattr(os, "getuid"):
        return True
    return stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not stat.S_IMODE(about.st_mode) & 0o077
