"""Words and numbers as a reader sees them."""

import re

from markupsafe import Markup, escape


def printable(text: str) -> str:
    """The text with control characters, and bytes of a name that are no UTF-8, written as Python escapes."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """`1 image`, `8,446 images`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def breakable(text: str) -> Markup:
    """`printable` for a page, where a narrow column may break it after the marks that part words in names."""
    return Markup(re.sub(r"([_/-]+)", r"\1<wbr>", str(escape(printable(text)))))
