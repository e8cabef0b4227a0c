"""What a user can say of the data."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from resnet_lab.core.images import Fit
from resnet_lab.core.records import Record

CacheUse = Literal["auto", "disk", "stream"]


class DataConfig(Record):
    """Where images come from, and how they are made ready.

    Attributes:
        source: a folder, a manifest, or a data set by name.
        fit: how a picture becomes square: `squash` both sides, `crop` the middle, `pad` with white.
        cache: decode once onto the `disk`, or `stream` and decode in every epoch; `auto` measures what fits.
        strict: refuse images that cannot be read rather than leave them out.
        near_copies: whether near copies are looked for, and kept in one part as exact copies always are.
        split_file: a splits.csv whose parts are used.
        folds: split into that many folds, of which `fold`, counted from 0, is the test part and the next validation.
        download: let a set or shards be fetched that are not there; no record or file says so for the user.
    """

    source: str = "digits"
    fit: Fit = "squash"
    cache: CacheUse = "auto"
    strict: bool = False
    near_copies: Literal["on", "off"] = "on"
    split_file: Path | None = None
    folds: Annotated[int, Field(ge=3, le=10_000, strict=True)] | None = None
    fold: Annotated[int, Field(ge=0, strict=True)] = 0
    download: bool = False
