"""Figures as SVG inside a page, in its own colours, light or dark, and as files."""

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import StrMethodFormatter
from rich.cells import cell_len

from resnet_lab.report.text import shortened

Format = Literal["png", "svg"]
THOUSANDS = StrMethodFormatter("{x:,.0f}")


@dataclass(frozen=True)
class Palette:
    """Colours of a figure.

    Attributes:
        ink: of text and axes; `faint` of what stands back.
        first, second: of data.
        runs: of each run where several are drawn together; they repeat after the last.
    """

    ink: str
    faint: str
    first: str
    second: str
    runs: tuple[str, ...]


PAGE = Palette("#010101", "#010102", "#010103", "#010104", tuple(f"#01011{number}" for number in range(6)))
"""Stand-ins for the page's colours while a figure is drawn."""

PAPER = Palette(
    "#23211e", "#77716a", "#0072b2", "#d55e00", ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
)
"""Okabe and Ito's colour-blind safe palette."""

IN_PAGE = {
    PAGE.ink: "currentColor",
    PAGE.faint: "var(--faint)",
    PAGE.first: "var(--train)",
    PAGE.second: "var(--mark)",
    **{colour: f"var(--run{number})" for number, colour in enumerate(PAGE.runs)},
}
LINES = ("-", "--", "-.", ":")
"""Line styles of runs, beside their colours: for a grey print."""

POINTS = 72
"""Points an inch."""

MARGIN = 0.12
"""Margin in inches."""

WIDE = 0.62
"""Width of a letter in units of its type size, at most, in a text of usual letters."""

TITLE = 13.0
"""Type size of titles in points."""

LINE = 0.22
"""Height of a line of a title or a legend in inches."""

NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@contextmanager
def styled(inks: Palette) -> Iterator[None]:
    """The style of all figures; names are drawn as they are, whatever they contain."""
    style: dict[Any, Any] = {
        "svg.fonttype": "none",  # text stays text: searchable, and in the page's own typeface
        "svg.hashsalt": "resnet-lab",  # the same data give the same bytes
        "text.parse_math": False,
        "font.size": 12.0,
        "text.color": inks.ink,
        "axes.edgecolor": inks.ink,
        "axes.labelcolor": inks.ink,
        "axes.titlesize": 12.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": inks.ink,
        "ytick.color": inks.ink,
        "grid.color": inks.faint,
        "grid.alpha": 0.25,
        "figure.titlesize": TITLE,
    }
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # a typeface lacks letters of some scripts; in an SVG the reader's own has them
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield


def panel(title: str = "", width: float = 5, height: float = 3.6) -> tuple[Figure, Axes]:
    """A figure with one pair of axes; sizes in inches, those of `sheet`."""
    figure = sheet(title, width, height)
    return figure, figure.subplots()


def sheet(title: str, width: float, height: float) -> Figure:
    """An empty figure; with a title it is standalone, has a margin, and is higher by both.

    Args:
        height: without the title, in inches as `width`.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    if title:
        lines = _lines(title, 0.95 * width * POINTS / TITLE)
        figure.suptitle("\n".join(lines))
        figure.set_layout_engine("constrained", w_pad=MARGIN, h_pad=MARGIN)
        _heighten(figure, LINE * len(lines) + 2 * MARGIN)
    return figure


def _heighten(figure: Figure, inches: float) -> None:
    figure.set_figheight(figure.get_figheight() + inches)


def fitted(name: str, letters: int) -> str:
    """`printable`, cut where it takes more room than so many usual letters. To be called in the figure's style."""
    text = shortened(name, letters)
    while _width(text) > WIDE * letters:
        text = f"{text.removesuffix('…')[:-1]}…"
    return text


def _lines(text: str, width: float) -> list[str]:
    """Lines of at most that width, as `_width` has it; a word that is wider is broken."""
    lines = [""]
    for word in text.split():
        rest = word
        while rest:
            joined = f"{lines[-1]} {rest}" if lines[-1] and rest == word else rest
            if not lines[-1] or _width(joined) <= width:
                fits = next((k for k in range(len(joined), 1, -1) if _width(joined[:k]) <= width), 1)
                lines[-1], rest = joined[:fits], joined[fits:]
                lines += [""] if rest else []
            else:
                lines.append("")
    return lines


def _width(text: str) -> float:
    """Width of a line in units of its type size; letters that the typeface lacks are as wide as a terminal has them."""
    drawn, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=POINTS), ismath=False)
    return max(drawn / POINTS, cell_len(text) / 2)


def above(axes: Axes, columns: int) -> None:
    """A legend over the plot, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=columns,
        frameon=False,
        fontsize=10.5,
        borderaxespad=0.2,
        columnspacing=1.2,
        handlelength=1.8,
    )


def outside(figure: Figure, axes: Axes, columns: int) -> None:
    """A legend over the whole figure, or below it where it has a title, for axes that long names leave narrow.

    It adds to the figure's height.
    """
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower left" if figure.get_suptitle() else "outside upper left",
        ncols=columns,
        frameon=False,
        fontsize=10.5,
        columnspacing=1.2,
        handlelength=1.8,
    )
    _heighten(figure, LINE * -(-len(labels) // columns))


def inline_svg(figure: Figure, name: str, alt: str, tooltips: Mapping[str, str] | None = None) -> Markup:
    """The figure as an SVG element whose ids begin with `name`.

    Args:
        alt: what it shows, for those who cannot see it.
        tooltips: those of the artists of that `gid`.
    """
    svg = as_file(figure, "svg", transparent=True).decode()
    svg = svg[svg.index("<svg") :]
    for stand_in, colour in IN_PAGE.items():
        svg = svg.replace(stand_in, colour)
    for gid, text in (tooltips or {}).items():
        svg = svg.replace(f'<g id="{gid}">', f'<g id="{gid}"><title>{escape(text)}</title>', 1)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{name}-", svg)
    return Markup(svg.replace("<svg", f'<svg class="plot" role="img" aria-label="{escape(alt)}"', 1))


def as_file(figure: Figure, file_format: Format, *, transparent: bool = False) -> bytes:
    """The bytes of an image file; the same figure gives the same. To be called in the style it was drawn in."""
    content = io.BytesIO()
    metadata = NO_METADATA if file_format == "svg" else None
    figure.savefig(content, format=file_format, dpi=150, transparent=transparent, metadata=metadata)
    return content.getvalue()
