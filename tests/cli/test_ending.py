"""Termination of commands that somebody stops or whose reader has gone."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from resnet_lab import __main__ as program
from resnet_lab import cli as package

ARGUMENTS = ["recipes show strong", "recipes show strong --json", "recipes list", "--help", "--version"]


def ended(arguments: str, output: int, buffered: bool = True) -> tuple[int, str]:
    command = [sys.executable, "-m", "resnet_lab", *arguments.split()]
    environment = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    done = subprocess.run(
        command, env=environment, stdout=output, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    os.close(output)
    return done.returncode, done.stderr


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_a_reader_that_has_gone_is_exit_code_141(arguments: str, buffered: bool) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    assert ended(arguments, writing, buffered) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_a_full_standard_output_is_one_sentence(arguments: str, buffered: bool) -> None:
    message = "resnet-lab: the output cannot be written: No space left on device\n"
    assert ended(arguments, os.open("/dev/full", os.O_WRONLY), buffered) == (2, message)


def test_no_standard_output_at_all() -> None:
    code = "import os, sys; os.close(1); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-m", "resnet_lab", "recipes", "show", "strong"]
    done = subprocess.run([sys.executable, "-c", code, *command], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_while_the_program_is_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Importing(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "resnet_lab.cli", Importing("resnet_lab.cli"))
    with pytest.raises(SystemExit) as end:
        program.main()
    assert end.value.code == 130
    assert capsys.readouterr() == ("", "resnet-lab: stopped\n")


def test_ctrl_c_that_a_library_turns_into_its_own_error(cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def importing(**options: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("numpy failed to initialise") from None

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(package, "app", importing)
    assert cli("build") == (130, "", "resnet-lab: stopped\n")
    assert signal.getsignal(signal.SIGINT) is before
