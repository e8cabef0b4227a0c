"""Sections of the documentation's pages, and which of their figures a test has checked."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from scipy.stats import ttest_1samp
from statsmodels.stats.multitest import multipletests

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
NO_FIGURES = re.compile(
    r"""
      `[^`]*`                                            # code and files, checked elsewhere
    | \barXiv:[\d.]+\d | \bdoi:\S+
    | \b20\d\d-\d\d-\d\d\b | \b[0-9a-f]*[a-f][0-9a-f]*\d[0-9a-f]*\b | \b6e309af\b  # dates and commits
    | \b[A-Za-z][A-Za-z_]*-?\d[\w.-]* | \b\d+x\d+\b      # ResNet-18, bf16, CIFAR-10, 3x3
    | \b[\d,]+[ -](?:pixels?|px)\b | \b[Bb]atch(?:es)?\ of\ \d+\b
    | \b(?:torch|torchvision|timm|Python|cleanlab)\ [\d.]*\d\b
    | 95%\ interval
    """,
    re.VERBOSE,
)
FIGURE = re.compile(r"(?<!\w)[+-]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?%?")


def stored(name: str) -> Any:
    """The content of a file of results."""
    return json.loads((RESULTS / f"{name}.json").read_text())


class Section:
    """Text and tables below a heading of a page, up to the next heading.

    What is checked is taken out; `done` requires that no figure is left.
    """

    def __init__(self, page: str, heading: str) -> None:
        text = (ROOT / "docs" / f"{page}.md").read_text()
        found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
        assert found, f"{page}.md has no heading {heading!r}"
        prose, self.tables = [], []
        blocks = re.sub(r"```.*?```|<!--.*?-->", "", found.group(1), flags=re.DOTALL).split("\n\n")
        for lines in (block.strip().splitlines() for block in blocks):
            if lines and lines[0].startswith("|"):
                prose.append(lines[0])
                self.tables.append([[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]])
            else:
                prose += lines
        self.text = " ".join(" ".join(prose).split())

    def table(self, rows: Iterable[Sequence[object]]) -> None:
        """Require that the next table has these cells; None stands for one that is read as prose is."""
        cells, wanted = self.tables.pop(0), [list(row) for row in rows]
        assert len(cells) == len(wanted), (len(cells), len(wanted))
        for line, row in zip(cells, wanted, strict=True):
            self.text += "".join(f" | {cell}" for cell, want in zip(line, row, strict=True) if want is None)
            ours = [cell if want is None else str(want) for cell, want in zip(line, row, strict=True)]
            assert line == ours, f"{line} is not {ours}"

    def says(self, *phrases: str) -> None:
        """Require these phrases, whose figures a test has computed."""
        for phrase in phrases:
            assert phrase in self.text, f"{phrase!r} is not in: {self.text}"
            self.text = self.text.replace(phrase, "…")

    conditions = says
    """Phrases whose figures say how something was measured and are in no file, or are common knowledge."""

    unstored = says
    """Phrases with measured figures whose samples were not kept."""

    def done(self) -> None:
        """Require that every figure has been checked."""
        assert not self.tables, "a table is left"
        left = NO_FIGURES.sub(" ", re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", self.text))
        assert not FIGURE.findall(left), f"{FIGURE.findall(left)} in: {left}"


def points(share: float, digits: int = 2) -> str:
    """A difference in points."""
    return f"{100 * share:+.{digits}f}"


def between(ends: Sequence[float], form: str = ".2f", scale: float = 1) -> str:
    """An interval."""
    low, high = ends
    return f"{scale * low:{form}} to {scale * high:{form}}"


def spread(found: dict[str, Any], form: str = ".2f") -> str:
    """A median with its quartiles."""
    return f"{found['median']:{form}} ({found['low']:{form}} to {found['high']:{form}})"


def quartiles_of(found: dict[str, Any], form: str = ".2f") -> str:
    """Quartiles, and of how many."""
    return f"{between((found['low'], found['high']), form)}, n = {found['n']}"


def effect(found: dict[str, Any]) -> tuple[str, str]:
    """Mean of an effect's paired differences and its interval by Student's t, in points."""
    differences = found["differences"]
    low, high = ttest_1samp(differences, 0).confidence_interval() if len(set(differences)) > 1 else found["interval"]
    return points(fmean(differences)), between((low, high), "+.2f", 100)


def adjusted(effects: Sequence[dict[str, Any]]) -> list[float]:
    """Holm's p-values of a family."""
    p: list[float] = multipletests([ttest_1samp(each["differences"], 0).pvalue for each in effects], method="holm")[1]
    return p


def percent(share: float, digits: int = 1) -> str:
    """A share in percent."""
    return f"{100 * share:.{digits}f}%"


def percents(shares: Iterable[float], digits: int = 1) -> str:
    """The smallest and the largest."""
    found = sorted(shares)
    return f"{percent(found[0], digits)[:-1]} to {percent(found[-1], digits)}"
