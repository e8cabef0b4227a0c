"""One page about a prepared source."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

from resnet_lab.core.errors import printable
from resnet_lab.core.wording import counted
from resnet_lab.data.description import Album, ClassRow, Description
from resnet_lab.data.split import PARTS, Part
from resnet_lab.report.pages import render
from resnet_lab.report.plots import size_plots
from resnet_lab.report.text import CHANNELS, split_text

BAD_SHOWN = 200
UNFOLDED = 6
"""Groups of copies that are seen before the others are unfolded."""

FEW = 10
"""Images of a class in the test part, below which one mistake moves its recall by more than ten points."""


@dataclass(frozen=True)
class Remark:
    """Remark for the owner of the data.

    Attributes:
        kind: `alarm`, `warning` or `hint`.
        anchor: the section with details, and `link` its title.
    """

    kind: str
    text: str
    anchor: str
    link: str


@dataclass(frozen=True)
class Bar:
    """A class's share of one part in its bar, in percent of the width.

    Attributes:
        start: where it begins.
    """

    part: Part
    start: float
    width: float


def data_page(description: Description, album: Album) -> str:
    """The HTML of one self-contained page."""
    findings = description.findings
    return render(
        "data_page.html.j2",
        description=description,
        findings=findings,
        album=album,
        name=printable(PurePath(findings.source).name or findings.source),
        split=split_text(description),
        remarks=list(_remarks(description)),
        bars={row.name: _bars(row, description.classes[0].images) for row in description.classes},
        plots=size_plots(description.sizes, description.image_format.size),
        channels=CHANNELS[description.image_format.channels],
        single_copies=len(findings.copies) - len(findings.conflicts),
        bad_shown=BAD_SHOWN,
        unfolded=UNFOLDED,
        leaks=set(description.leaks),
    )


def _bars(row: ClassRow, largest: int) -> list[Bar]:
    bars, start = [], 0.0
    for part in PARTS:
        width = 100 * getattr(row, part) / largest
        bars.append(Bar(part, start, width))
        start += width
    return bars


def _remarks(description: Description) -> Iterator[Remark]:
    """The gravest first."""
    findings, size = description.findings, description.image_format.size
    if number := len(findings.conflicts):
        text = f"{counted(number, 'picture')} under several labels: keep the right label and remove the other files."
        yield Remark("alarm", text, "conflicts", "Conflicts")
    if leaks := description.leaks:
        text = f"{counted(len(leaks), 'picture')} in several parts: test scores are too optimistic."
        yield Remark("alarm", text, *(("conflicts", "Conflicts") if leaks[0].conflict else ("copies", "Copies")))
    if number := len(findings.bad):
        text = f"{counted(number, 'file')} cannot be used and {_is(number)} left out."
        yield Remark("warning", text, "bad", "Unusable files")
    fewest = min(description.classes, key=lambda row: row.test)
    if fewest.test < FEW:
        few = counted(sum(row.test < FEW for row in description.classes), "class has", "classes have")
        text = (
            f"{few} fewer than {FEW} test images. {printable(fewest.name)} has {fewest.test}: "
            f"one mistake there moves its recall by {100 / fewest.test:.0f} points."
        )
        yield Remark("warning", text, "classes", "Classes")
    if number := len(findings.copies) - len(findings.conflicts):
        yield Remark("hint", f"{counted(number, 'picture')} more than once under one label.", "copies", "Copies")
    if number := description.sizes.enlarged:
        text = f"{counted(number, 'image')} {_is(number)} enlarged, having a side shorter than {size} pixels."
        yield Remark("hint", text, "sizes", "Sizes")


def _is(number: int) -> str:
    return "is" if number == 1 else "are"
