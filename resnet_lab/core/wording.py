"""Words of sentences: numbers with their nouns, names within commands."""

import shlex
from pathlib import Path


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """`1 image`, `8,446 images`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def shell_word(name: str | Path) -> str:
    """The name as one word of a shell, as commands that are suggested have it: `'my runs'`."""
    return shlex.quote(str(name))
