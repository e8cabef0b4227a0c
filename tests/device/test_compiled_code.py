import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from resnet_lab.core.cache_location import code_folder
from resnet_lab.device.compiled_code import VARIABLE, keep_compiled_code
from resnet_lab.device.compiling import Compiled
from resnet_lab.device.inference import Frozen
from tests.device.networks import SHAPE, small


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(VARIABLE)  # which tests/conftest.py sets, and which is restored
    monkeypatch.setenv("RESNET_LAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_code_is_kept_in_a_folder_of_the_cache_for_this_user_alone(cache: Path) -> None:
    keep_compiled_code()
    assert os.environ[VARIABLE] == str(code_folder())
    assert code_folder() == cache / f"compiled-{os.getuid()}"
    assert stat.S_IMODE(code_folder().stat().st_mode) == 0o700


@pytest.mark.parametrize("make", [lambda: Compiled(small(), "on"), lambda: Frozen(small(), torch.Size(SHAPE), "on")])
def test_every_compiled_network_keeps_its_code_there(cache: Path, make: Callable[[], object]) -> None:
    make()
    assert os.environ[VARIABLE] == str(code_folder())


def test_a_folder_that_the_user_named_is_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/somewhere")
    keep_compiled_code()
    assert os.environ[VARIABLE] == "/somewhere"
    assert not cache.exists()


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o777])
def test_code_is_not_read_where_others_may_have_written(cache: Path, mode: int) -> None:
    code_folder().mkdir(parents=True)
    code_folder().chmod(mode)
    _is_of_this_process_only()


def test_a_link_and_a_cache_that_cannot_be_made_are_not_used(cache: Path, tmp_path: Path) -> None:
    cache.write_text("a file where the folder should be")
    _is_of_this_process_only()
    cache.unlink()
    cache.mkdir()
    (tmp_path / "private").mkdir(mode=0o700)
    code_folder().symlink_to(tmp_path / "private")
    _is_of_this_process_only()


def test_a_folder_of_another_user_is_not_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.getuid()
    code_folder().mkdir(parents=True, mode=0o700)
    other = cache / f"compiled-{own + 1}"
    code_folder().rename(other)
    monkeypatch.setattr(os, "getuid", lambda: own + 1)
    assert code_folder() == other
    _is_of_this_process_only()


def _is_of_this_process_only() -> None:
    """The folder is a temporary one, and gone once the process has ended."""
    os.environ.pop(VARIABLE, None)
    keep_compiled_code()
    folder = Path(os.environ[VARIABLE])
    assert folder.name.startswith("resnet-lab-compiled-")
    assert folder != code_folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.slow
def test_a_temporary_folder_goes_with_its_process(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    code = "import os; from resnet_lab.device.compiled_code import *; keep_compiled_code(); print(os.environ[VARIABLE])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not Path(ended.stdout.strip()).exists()
