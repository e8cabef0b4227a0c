"""Limits of docs/security.md, held against the program's own."""

from typing import Any

from pydantic import TypeAdapter, ValidationError

from resnet_lab.core.records import DEPTH, DIGITS, HEADER, LARGE, SMALL, TABLE, VALUES, Count, Seed
from resnet_lab.data.sources.braces import MAX_SHARDS
from resnet_lab.network.spec import MAX_BLOCKS, Channels, Classes, InChannels, Kernel, Side
from resnet_lab.study.plan import MAX_ARMS, MAX_SEEDS, MAX_TRIALS
from tests.figures.pages import Section

MIB = 2**20


def most(kind: Any) -> int:
    """The largest number that a record takes."""
    (bound,) = (each.le for each in kind.__metadata__[0].metadata if hasattr(each, "le"))
    TypeAdapter(kind).validate_python(bound)
    try:
        TypeAdapter(kind).validate_python(bound + 1)
    except ValidationError:
        return int(bound)
    raise AssertionError(kind)


def test_limits() -> None:
    section = Section("security", "Limits")
    section.table(
        [
            [None, f"{LARGE // MIB} MiB; {SMALL // MIB} MiB of a design, a recipe, a network, an outcome; the description in a "
             f"weights file {HEADER // 10**6} MB, by its format"],
            [None, f"{DEPTH} lists and tables deep, {VALUES:,} values, whole numbers of {DIGITS} digits; no `NaN` but in a "
             "training's state; no key twice in a table"],
            [None, f"{TABLE // MIB} MiB of `splits.csv`, {SMALL // MIB} MiB of `metrics.csv` and `times.csv`; a wrong row is named by its line"],
            [None, f"{MAX_BLOCKS:,} blocks, {most(Channels):,} channels of a layer, kernels of {most(Kernel)}, images of "
             f"{most(Side):,} pixels and {most(InChannels):,} channels, {most(Classes):,} classes"],
            [None, None],
            [None, f"{most(Count):,} epochs, images of a batch, and the like; seeds up to 2^{most(Seed).bit_length() - 1}"],
            [None, f"{MAX_ARMS:,} arms, {MAX_SEEDS:,} seeds, {MAX_TRIALS:,} trials"],
            [None, f"{MAX_SHARDS:,}, counted before braces are expanded; variables (`${{...}}`) are not expanded"],
        ]
    )  # fmt: skip
    section.conditions("exit code 2", "above 0", "10,000 mutated records")
    section.done()
