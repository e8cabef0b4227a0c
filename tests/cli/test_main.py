import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version

import pytest

from resnet_lab import cli as package


def user_seconds(*words: str) -> float:
    """User CPU time of a Python process, the least of five: a busy machine adds to it."""
    found = []
    for _ in range(5):
        before = os.times().children_user
        subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
        found.append(os.times().children_user - before)
    return min(found)


def test_help_names_every_command_and_is_quick(cli: Callable) -> None:
    """It takes under 2.5 times the user CPU time of importing its screen: torch must not be imported for it."""
    assert user_seconds("-m", "resnet_lab", "--help") < 2.5 * user_seconds("-c", "import typer.rich_utils")
    out = cli("--help").out
    for command in ("build", "train", "eval", "predict", "recipes", "plugins"):
        assert f" {command} " in out


@pytest.mark.parametrize(
    "command", ["build", "train", "eval", "predict", "recipes list", "recipes show", "plugins list"]
)
def test_each_command_has_help_with_an_example_and_json(cli: Callable, command: str) -> None:
    code, out, _ = cli(*command.split(), "--help")
    assert code == 0
    text = " ".join(out.replace("│", " ").split())
    assert f"Example: resnet-lab {command}" in text
    assert "--json" in text


def test_version(cli: Callable) -> None:
    assert cli("--version") == (0, f"resnet-lab {version('resnet-lab')}\n", "")


def test_an_unknown_option_is_exit_code_2(cli: Callable) -> None:
    code, out, err = cli("build", "--atn", "cbam")
    assert (code, out) == (2, "")
    assert "No such option" in err
    assert "--atn" in err


@pytest.mark.slow
def test_a_defect_is_a_traceback_and_exit_code_1() -> None:
    code = (
        "import resnet_lab.network.zoo as zoo\n"
        "def broken(spec): raise RuntimeError('a defect')\n"
        "zoo.unmodified = broken\n"
        "from resnet_lab.cli import main; main(['build', '--depth', '18'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert "RuntimeError: a defect" in done.stderr


def test_ctrl_c_outside_training_is_exit_code_130(cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(package, "app", interrupted)
    assert cli("build") == (130, "", "resnet-lab: stopped\n")
