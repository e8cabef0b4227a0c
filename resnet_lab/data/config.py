"""Data configuration."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from resnet_lab.core.choices import CacheUse, Fit
from resnet_lab.core.option import DATA, option
from resnet_lab.core.records import Record


class DataConfig(Record):
    """Data configuration: the source of images, and their preparation; each field is an option of the command line."""

    source: str = option(
        "digits",
        "A folder of class folders, a .csv, .tsv or .parquet manifest, torchvision:NAME, hf:NAME, wds:SHARDS, "
        "digits or synthetic.",
        DATA,
        name="--data",
        metavar="SOURCE",
    )
    fit: Fit = option(
        "squash", "How pictures are made square: scale both sides, crop the centre, or pad with white.", DATA
    )
    cache: CacheUse = option(
        "auto", "Cache decoded images on disk, or decode in every epoch (stream); auto decides by free space.", DATA
    )
    strict: bool = option(False, "Fail on unreadable files instead of leaving them out.", DATA)
    near_copies: Literal["on", "off"] = option(
        "on", "Whether near copies stay in one part, as exact copies always do.", DATA
    )
    split_file: Path | None = option(None, "Use the split of this splits.csv.", DATA, metavar="FILE")
    folds: Annotated[int, Field(ge=3, le=10_000, strict=True)] | None = option(
        None, "Split into K folds instead of 80/10/10.", DATA, metavar="K"
    )
    fold: Annotated[int, Field(ge=0, strict=True)] = option(
        0, "The test fold, from 0; the next one is for validation.", DATA
    )
    download: bool = option(False, "Download a missing set or shards; cannot be set in a file.", DATA)
