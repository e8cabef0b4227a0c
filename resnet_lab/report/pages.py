"""Common parts of all pages: how they are rendered, and what they may do."""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from resnet_lab.core.errors import printable
from resnet_lab.core.figure_names import figure_name
from resnet_lab.core.wording import counted, large, three_digits
from resnet_lab.report.figure_texts import FIGURE_TEXTS
from resnet_lab.report.text import breakable, duration, joined, signed


@cache
def environment() -> Environment:
    """Templates with their filters; whatever is put into them is escaped."""
    made = Environment(
        loader=PackageLoader("resnet_lab.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "breakable": breakable,
        "printable": printable,
        "figure_name": figure_name,
        "signed": signed,
        "large": large,
        "three_digits": three_digits,
        "duration": duration,
        "thousands": lambda number: f"{number:,}",
        "base64": lambda content: b64encode(content).decode("ascii"),
        "colour": _colour,
    }
    made.globals |= {"counted": counted, "joined": joined, "figure_texts": FIGURE_TEXTS}
    return made


def render(template: str, **content: Any) -> str:
    """The HTML of one self-contained page."""
    script = _script()
    return (
        environment()
        .get_template(template)
        .render(**content, script=Markup(script), policy=_policy(script), version=version("resnet-lab"))
    )


def _script() -> str:
    return files("resnet_lab.report").joinpath("templates", "page.js").read_text(encoding="utf-8").strip()


def _policy(script: str) -> str:
    """That the page fetches nothing and runs its own script alone: a Content-Security-Policy."""
    digest = b64encode(sha256(script.encode()).digest()).decode("ascii")
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def _colour(mean: tuple[float, ...]) -> str:
    """Colour of channels on a scale of [0, 1], as `#rrggbb`."""
    channels = mean * 3 if len(mean) == 1 else mean
    return "#" + "".join(f"{round(255 * value):02x}" for value in channels)
