"""Findings about a source of images, on the screen."""

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.bar import Bar
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from resnet_lab.cli import output
from resnet_lab.core.errors import printable
from resnet_lab.core.wording import counted
from resnet_lab.data.cache_folders import CacheEntry
from resnet_lab.data.copies import Copies
from resnet_lab.data.description import DataFindings, Description
from resnet_lab.report.text import CHANNELS, split_text

SHOWN = 20
"""Entries of a list; --json has all."""

ALARM, HEADING, SKY = "bold red", "bold", "#56b4e9"


def print_findings(findings: DataFindings) -> None:
    """The screen of `data check`."""
    console = output.console()
    console.print(_headline(findings), soft_wrap=True)
    if findings.bad:
        console.print(output.text(f"\n{counted(len(findings.bad), 'file')} cannot be used", style=HEADING))
        console.print(_rows([(printable(path), printable(cause)) for path, cause in findings.bad[:SHOWN]]))
        _print_rest(console, len(findings.bad))
    if findings.conflicts:
        heading = f"{counted(len(findings.conflicts), 'picture')} under several labels"
        _print_copies(console, findings.conflicts, heading, ALARM)
    if copies := [each for each in findings.copies if not each.conflict]:
        _print_copies(console, copies, f"{counted(len(copies), 'picture')} more than once under one label", HEADING)
    if not (findings.bad or findings.copies):
        console.print("every file can be used, and there are no copies")
    if findings.compared is not None and findings.compared < findings.usable:
        console.print(
            f"near copies were searched among {findings.compared:,} of them: the others are small, flat, letters or "
            "plain drawings",
            soft_wrap=True,
        )
    if findings.handled:
        console.print(f"\nunusual and handled: {_handled(findings)}")
    for note in findings.notes:
        console.print(output.text(f"note: {printable(note)}"), soft_wrap=True)


def print_description(description: Description) -> None:
    """The screen of `data describe`: the classes, and below them what they have in common."""
    console = output.console()
    findings = description.findings
    console.print(_class_table(description))
    console.print(_headline(findings), soft_wrap=True)
    largest, smallest = description.classes[0], description.classes[-1]
    console.print(
        f"largest class / smallest class: {largest.images:,} / {smallest.images:,} = {description.imbalance:.1f}\n"
        f"{split_text(description)}\n",
        soft_wrap=True,
    )
    console.print(_size_table(description))
    console.print(_colour_table(description))
    if findings.bad or findings.copies:
        bad, copies = counted(len(findings.bad), "file"), counted(len(findings.copies), "picture")
        line = output.text(f"{bad} cannot be used, {copies} more than once")
        if findings.conflicts:
            line.append(f", {len(findings.conflicts):,} under several labels", style=ALARM)
        if description.leaks:
            line.append(f", {len(description.leaks):,} in several parts", style=ALARM)
        console.print(line.append(": see `resnet-lab data check`", style=""))


def print_cache(entries: Sequence[CacheEntry], folder: Path) -> None:
    """The screen of `data cache list`."""
    console = output.console()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("folder", no_wrap=True)
    table.add_column("source", overflow="fold")
    table.add_column("what")
    table.add_column("format")
    for column in ("images", "size", "used"):
        table.add_column(column, justify="right", no_wrap=True)
    for entry in entries:
        wanted = entry.image_format
        missing = "" if entry.kind in ("shards", "code") else "damaged"
        shape = f"{wanted.size} {wanted.fit}" if wanted else missing
        used = "" if entry.used is None else f"{entry.used.astimezone():%Y-%m-%d}"
        numbers = (f"{entry.images:,}", decimal(entry.nbytes), used)
        table.add_row(entry.folder.name, output.text(printable(entry.source)), entry.kind, shape, *numbers)
    if entries:
        console.print(table)
    total = decimal(sum(entry.nbytes for entry in entries))
    console.print(output.text(f"{printable(str(folder))}: {total}"), soft_wrap=True)


def _headline(findings: DataFindings) -> Text:
    usable = counted(findings.images, "image")
    if findings.usable < findings.images:
        usable = f"{findings.usable:,} of {usable} can be used"
    return output.text(f"{printable(findings.source)}: {usable}, {counted(len(findings.classes), 'class', 'classes')}")


def _handled(findings: DataFindings) -> str:
    return ", ".join(f"{number:,} {kind}" for kind, number in findings.handled.items())


def _print_copies(console: Console, copies: Sequence[Copies], heading: str, style: str) -> None:
    console.print(output.text(f"\n{heading}", style=style))
    rows = []
    for each in copies[:SHOWN]:
        paths = [printable(path) for path in each.paths[:SHOWN]]
        if len(each.paths) > SHOWN:
            paths.append(f"and {len(each.paths) - SHOWN:,} more")
        labels = [", ".join(map(printable, each.classes)) + ":"] if each.conflict else []
        rows.append(("exact" if each.exact else "near", "\n".join([*labels, *paths])))
    console.print(_rows(rows))
    _print_rest(console, len(copies))


def _print_rest(console: Console, number: int) -> None:
    if number > SHOWN:
        console.print(f"  and {number - SHOWN:,} more, all with --json")


def _rows(rows: Sequence[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1))
    for _ in range(2):
        table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*map(output.text, row))
    return table


def _class_table(description: Description) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("class", overflow="fold", max_width=30)
    table.add_column("", width=20)
    for column in ("all", "train", "val", "test"):
        table.add_column(column, justify="right")
    largest = description.classes[0].images
    for row in description.classes:
        counts = (f"{number:,}" for number in (row.images, row.train, row.val, row.test))
        table.add_row(output.text(row.name), Bar(largest, 0, row.images, color=SKY), *counts)
    table.add_section()
    totals = (f"{number:,}" for number in (description.findings.usable, *description.parts.values()))
    table.add_row("all", "", *totals)
    return table


def _size_table(description: Description) -> Table:
    table = _numbers("", "smallest", "median", "largest")
    for name, spread in description.sizes.spreads.items():
        places, label = (2, "width / height") if name == "aspect" else (0, f"{name} in pixels")
        table.add_row(label, *(f"{value:,.{places}f}" for value in (spread.smallest, spread.median, spread.largest)))
    return table


def _colour_table(description: Description) -> Table:
    table = _numbers("training part, 0 to 1", *CHANNELS[description.image_format.channels])
    table.add_row("mean", *(f"{value:.4f}" for value in description.mean))
    table.add_row("standard deviation", *(f"{value:.4f}" for value in description.std))
    return table


def _numbers(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(first, min_width=21)
    for column in others:
        table.add_column(column, justify="right", min_width=8)
    return table
