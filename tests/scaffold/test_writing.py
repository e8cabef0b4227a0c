"""New plugins of every kind: installed, checked by their own tests and by ruff."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resnet_lab.core.errors import PluginError, RunError
from resnet_lab.network.kinds import KINDS
from resnet_lab.network.plugins import OWN, Owner, PluginStatus, load
from resnet_lab.scaffold import new_plugin

BUILT_IN = load(only=(), files=())


def test_files(tmp_path: Path) -> None:
    written = new_plugin("conv", "far_apart", BUILT_IN, tmp_path)
    folder = tmp_path / "resnet-lab-far-apart"
    assert [str(path.relative_to(folder)) for path in written] == [
        "resnet_lab_far_apart.py", "tests/test_far_apart.py", "pyproject.toml", "README.md",
        ".github/workflows/test.yml", ".gitignore",
    ]  # fmt: skip
    assert 'far_apart = "resnet_lab_far_apart"' in (folder / "pyproject.toml").read_text()
    assert "python-version: ${{ matrix.python }}" in (folder / ".github/workflows/test.yml").read_text()
    assert "<<" not in "".join(path.read_text() for path in written)


def test_no_kind_is_without_a_template(tmp_path: Path) -> None:
    for kind in KINDS:
        module = new_plugin(kind, "mine", BUILT_IN, tmp_path / kind)[0]
        registry = load(only=(), files=[module])
        assert str(registry.get(kind, "mine", "here").owner).startswith("resnet_lab_mine.py (file) ")


NAME = (
    "must be lower case letters and digits, the first a letter, with single underscores between words, and no word of "
    "Python's own"
)


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("atention", "mine", "unknown kind 'atention' of component; did you mean 'attention' or 'activation' or "
         "'dataset'?"),
        ("attention", "Mine", f"component name 'Mine' {NAME}"),
        ("attention", "my-gate", f"component name 'my-gate' {NAME}"),
        ("attention", "my__gate", f"component name 'my__gate' {NAME}"),
        ("attention", "lambda", f"component name 'lambda' {NAME}"),
        ("attention", "../up", f"component name '../up' {NAME}"),
        ("attention", "cbam(reduction=8)", f"component name 'cbam(reduction=8)' {NAME}"),
        ("attention", "", f"component name '' {NAME}"),
        ("attention", "cbam", f"attention 'cbam' is registered by {OWN} already; choose another name"),
        ("attention", "old", "resnet-lab-old 2.0 is installed already; choose another name"),
    ],
)  # fmt: skip
def test_refused(tmp_path: Path, kind: str, name: str, message: str) -> None:
    registry = load(only=(), files=())
    registry.plugins.append(PluginStatus("old", Owner("resnet-lab-old", "2.0"), "failed"))
    with pytest.raises(PluginError) as caught:
        new_plugin(kind, name, registry, tmp_path)
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "resnet-lab-mine"
    folder.mkdir()
    with pytest.raises(RunError) as caught:
        new_plugin("norm", "mine", BUILT_IN, tmp_path)
    assert str(caught.value) == f"{folder} exists already and is left as it is; choose another name or remove it"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param(("attention", "stem", "dataset"), marks=pytest.mark.slow, id="some"),
        pytest.param(tuple(KINDS), marks=pytest.mark.long, id="all"),
    ],
)
def test_new_plugins_install_and_pass_their_own_tests(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    """Together, so that pip, pytest and ruff start once."""
    folders = [new_plugin(kind, f"new_{kind}", BUILT_IN, tmp_path)[0].parent for kind in kinds]
    site = tmp_path / "site"
    command = "pip install --quiet --no-deps --no-build-isolation --no-index --disable-pip-version-check --target"
    subprocess.run([sys.executable, "-m", *command.split(), site, *folders], check=True, timeout=300)
    plugins = ",".join(f"new_{kind}" for kind in kinds)
    path = os.pathsep.join(map(str, (site, Path(__file__).parents[2])))
    environment = os.environ | {"PYTHONPATH": path, "RESNET_LAB_PLUGINS": plugins}
    names = [folder.name for folder in folders]
    tests = [f"{name}/tests" for name in names]
    for check in (
        ["pytest", "-v", "-W", "error", "-p", "no:cacheprovider", "-p", "tests.bench.short", *tests],
        ["ruff", "check", *names],
        ["ruff", "format", "--check", *names],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *check], cwd=tmp_path, env=environment, capture_output=True, text=True,
            timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{check}\n{done.stdout}{done.stderr}"
        if check[0] == "pytest":
            assert all(f"test_new_{kind}.py::" in done.stdout for kind in kinds)
