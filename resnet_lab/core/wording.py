"""Words of sentences: numbers with their nouns, names within commands."""

import shlex
from pathlib import Path


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """`1 image`, `8,446 images`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def large(number: float) -> str:
    """Number with three digits: `11.2 M`, `1.82 G`; whole below a thousand."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * factor:
            return f"{number / factor:.3g} {letter}"
    return f"{number:.0f}"


def three_digits(number: float) -> str:
    """Number with three digits, or all that are before its point: `0.0123`, `36.1`, `1,224`."""
    return f"{number:,.0f}" if number >= 999.5 else f"{number:.3g}"


def shell_word(name: str | Path) -> str:
    """The name as one word of a shell, as commands that are suggested have it: `'my runs'`."""
    return shlex.quote(str(name))
