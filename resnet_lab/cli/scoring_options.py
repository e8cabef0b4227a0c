"""Options of commands that score images: which, in which views, and into which files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from resnet_lab.cli import options
from resnet_lab.core.errors import ConfigError
from resnet_lab.core.option import DATA

SplitOfRun = Annotated[
    Literal["train", "val", "test"] | None,
    typer.Option("--split", help="The part to score.", show_default="test", rich_help_panel=DATA),
]


@dataclass(frozen=True, kw_only=True)
class ImageTables:
    """Files with one row per scored image."""

    csv: Annotated[
        Path | None, options.written("--csv", "FILE", "Also write one row per image: path, classes, probabilities.")
    ] = None
    features_out: Annotated[
        Path | None,
        options.written(
            "--features-out", "FILE", "Also write one row per image with its embedding, as a new .parquet file."
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class OtherImages:
    """Images that a run is scored on instead of its own."""

    source: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help="Score all images of another source with the same classes, or some of them.",
            show_default=False,
            callback=options.name_source,
            rich_help_panel=DATA,
        ),
    ] = None
    class_map: Annotated[
        list[str] | None,
        typer.Option(
            "--class-map",
            metavar="OLD=NEW",
            help="Map a class to its name on the other side, or a CSV file of such pairs; `OLD=` leaves a class out. "
            "Repeatable.",
            show_default=False,
            rich_help_panel=DATA,
        ),
    ] = None
    download: options.Download

    def refuse_part(self, split: str | None) -> None:
        """Raise `ConfigError` where a part of the run's own images is asked for together with other images."""
        if split is not None and self.source is not None:
            raise ConfigError("--split is of the run's own images, and all of --data are scored; leave one of them out")


TTA = Annotated[
    str | None,
    typer.Option(
        "--tta",
        metavar="LIST",
        help="Test-time augmentation: mean probabilities over all views of flip, rotate90, or flip,rotate90.",
        show_default=False,
    ),
]
Again = Annotated[bool, typer.Option("--again", help="Recompute the predictions, even if stored ones are valid.")]


@dataclass(frozen=True)
class Scoring:
    """How images are scored."""

    again: Again = False
    tta: TTA = None
