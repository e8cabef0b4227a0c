import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import resnet_lab
from resnet_lab.children import python_module

PACKAGE = Path(resnet_lab.__file__).parent


@pytest.fixture
def received(tmp_path: Path) -> Path:
    """A folder with modules called like some that every process of the program imports; each leaves a marker."""
    for name in ("html", "json", "typer"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w').close()\n")
    return tmp_path


def in_folder(folder: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_children_import_nothing_from_the_current_folder(received: Path) -> None:
    done = in_folder(received, python_module("resnet_lab", "recipes", "list", "--json"))
    assert len(json.loads(done.stdout)["recipes"]) > 5
    assert not (received / "marker").exists()


def test_the_program_as_a_module_imports_nothing_from_the_current_folder(received: Path) -> None:
    done = in_folder(received, [sys.executable, "-m", "resnet_lab", "--version"])
    assert (done.returncode, done.stdout.split()[0]) == (0, "resnet-lab")
    assert not (received / "marker").exists()


def test_every_child_is_started_so() -> None:
    """Who names Python's executable starts a process by another way."""
    named = [path.name for path in PACKAGE.rglob("*.py") if "sys.executable" in path.read_text()]
    assert named == ["children.py"]
