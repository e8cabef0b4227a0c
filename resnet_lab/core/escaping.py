"""Names and other foreign text in the files that the program writes for people: shown as they are, and never obeyed."""

import json
import re
from typing import Any

from resnet_lab.core.errors import printable

LATEX = {
    "\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "[": "{[}", "]": "{]}", "*": "{*}",
}  # fmt: skip
"""LaTeX for a character; brackets and stars at the start of a row would belong to the line break before it."""


def markdown(text: object) -> str:
    """Text that Markdown shows as it is, in one line and in one cell."""
    return re.sub(r"([\\`*_{}\[\]<>|#~&])", r"\\\1", printable(str(text)))


def code(text: object) -> str:
    """Text between two single backticks in a cell; where it has backticks, they become apostrophes."""
    return f"`{printable(str(text)).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def fenced(text: str, language: str = "") -> str:
    """A block of code, in a fence longer than any within."""
    lines = "\n".join(map(printable, text.split("\n")))
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", lines)), default=0))
    return f"{fence}{language}\n{lines}\n{fence}"


def yaml(text: object) -> str:
    """A text in YAML's double quotes."""
    return json.dumps(printable(str(text)), ensure_ascii=False)


def latex(text: str) -> str:
    """Text for a cell of a table."""
    return "".join(LATEX.get(letter, letter) for letter in printable(text))


def cell(value: Any) -> Any:
    """A value of a CSV table that people open in a spreadsheet, which would compute texts that begin like a formula.

    Such a text has an apostrophe before it; numbers, also those written as text, are what they are.
    """
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
