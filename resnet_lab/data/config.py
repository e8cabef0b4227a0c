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
        "squash", "How a picture becomes square: both sides scaled, the middle cut out, or white added.", DATA
    )
    cache: CacheUse = option(
        "auto", "Decode once onto the disk, or in every epoch (stream); auto measures what fits.", DATA
    )
    strict: bool = option(False, "Fail where a file cannot be read, rather than leave it out.", DATA)
    near_copies: Literal["on", "off"] = option(
        "on", "Whether pictures that look the same stay in one part, as files that are the same always do.", DATA
    )
    split_file: Path | None = option(None, "Take the parts of this splits.csv.", DATA, metavar="FILE")
    folds: Annotated[int, Field(ge=3, le=10_000, strict=True)] | None = option(
        None, "Split into K folds rather than 80/10/10.", DATA, metavar="K"
    )
    fold: Annotated[int, Field(ge=0, strict=True)] = option(
        0, "The fold that is tested, from 0; the next one validates.", DATA
    )
    download: bool = option(False, "Let a set or shards be fetched that are not there; no file may say so.", DATA)
