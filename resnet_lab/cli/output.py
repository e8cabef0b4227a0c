"""The one place from which commands print: names in files are untrusted, and must not control the terminal."""

import io
import json
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from resnet_lab.core.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

WIDEST = 10_000
"""Characters of a line, beyond which a table is cut."""


def line(text: object = "") -> None:
    """A line on standard output, control characters in it as Python escapes."""
    print(printable(str(text)))


def remark(text: object) -> None:
    """The program's own word on standard error, in a line."""
    print(f"resnet-lab: {printable(str(text))}", file=sys.stderr)


def warning(text: str) -> None:
    """A warning of a library on standard error, as Python formats it."""
    print(printable_lines(text), file=sys.stderr, end="")


def print_json(content: object) -> None:
    """One JSON object on standard output; JSON escapes all but ASCII."""
    print(json.dumps(content, indent=2))


def whole(text: str) -> None:
    """A file's text on standard output, to be kept in another: exact, but on a terminal."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files may be no text
        text = printable_lines(text) if sys.stdout.isatty() else text
    print(text, end="")


def console(*, stderr: bool = False) -> "Console":
    """Tables and colours; the program's own styles are the only ones, since text is never read as markup.

    Without a terminal, lines are as long as what they say, so that another program finds paths whole.
    """
    made = _console_class()(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = WIDEST
    return made


def text(content: str = "", style: str = "", **layout: Any) -> "Text":
    """A text for a table, whose width is that of what is shown."""
    from rich.text import Text

    return Text(printable_lines(content), style, **layout)


def _console_class() -> "type[Console]":
    """Made here, as `resnet-lab --help` need not wait for rich."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Printable(Console):
        def render_str(self, text: str, **how: Any) -> "Text":
            return super().render_str(printable_lines(text), **how)

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(printable_lines(segment.text), segment.style)

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would end the program with a code of its own

    return Printable


def printable_lines(text: str) -> str:
    """`printable`, with line breaks left as they are."""
    return "\n".join(map(printable, text.split("\n")))
