"""Termination of a command: its exit code and its last message."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from traceback import walk_tb
from types import FrameType
from typing import Any

import typer

from resnet_lab.cli import output
from resnet_lab.core.errors import ResNetLabError

EXIT_CODES = (
    "Exit codes: 0 success, 1 a bug in the program (with a traceback), 2 bad input or a training that diverged, "
    "130 Ctrl-C, 141 broken pipe, 143 SIGTERM."
)

BROKEN_PIPE = 141
"""128 and the number of SIGPIPE, which Windows does not have."""

UsageProblem: Any = typer.BadParameter.__mro__[2]  # `ClickException`, which some versions of typer have of their own


def exit_code(command: Callable[[], int | None]) -> int:
    """Run a command and report what stopped it, if that is not a bug in the program."""
    with _ctrl_c_noted() as stopped:
        try:
            code = command() or 0
            _flush()
        except UsageProblem as error:
            code = _usage(error)
        except ResNetLabError as error:
            code = _refusal(str(error))
        except BrokenPipeError:
            code = _without_reader()
        except SystemExit as end:
            if not isinstance(end.__context__, BrokenPipeError):
                raise
            code = _without_reader()  # typer and rich end the program by themselves then
        except OSError as error:
            if not _is_of_output(error):
                raise
            code = _refusal(f"the output cannot be written: {error.strerror}")
        except KeyboardInterrupt:
            stopped.append(True)
            code = 0
        except BaseException:
            if not stopped:  # else it is what became of the Ctrl-C in the midst of an import
                raise
            code = 0
    if stopped:
        with suppress(OSError):
            output.remark("stopped")
        return 128 + signal.SIGINT
    return code


@contextmanager
def _ctrl_c_noted() -> Iterator[list[bool]]:
    """A list that is not empty any more once Ctrl-C came outside of a training, which answers it by itself."""
    noted: list[bool] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(True)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def _usage(error: Any) -> int:
    from typer.rich_utils import rich_format_error

    error.message = output.printable_lines(str(error.message))
    rich_format_error(error)
    return int(error.exit_code)


def _refusal(text: str) -> int:
    if _is_ours_to_say(text):
        with suppress(OSError):
            output.remark(text)
    _leave_output()
    return 2


def _without_reader() -> int:
    _leave_output()
    return BROKEN_PIPE


def _flush() -> None:
    if sys.stdout is not None:  # as it is where the program was started without one
        sys.stdout.flush()


def _is_of_output(error: OSError) -> bool:
    """Whether an error came up where something is printed."""
    *_, (frame, _) = walk_tb(error.__traceback__)
    return str(frame.f_globals["__name__"]) in (__name__, output.__name__, "rich.console")


def _leave_output() -> None:
    """Drop the buffer of a standard output that takes nothing, which would be a traceback at the very end."""
    try:
        _flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_ours_to_say(text: str) -> bool:
    """Whether this process reports the error, of several processes that find the same one."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return True
    from resnet_lab.device.processes import first_to_say

    return first_to_say(text)
