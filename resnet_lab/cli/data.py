"""`resnet-lab data`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnet_lab.cli import options, output
from resnet_lab.cli.bundles import Fields, Given, command
from resnet_lab.cli.root import app
from resnet_lab.core.option import DATA

if TYPE_CHECKING:
    from resnet_lab.data.cache_folders import CacheEntry
    from resnet_lab.data.config import DataConfig
    from resnet_lab.data.description import DataFindings, Description
    from resnet_lab.data.preparation import Prepared

data = typer.Typer(no_args_is_help=True, help="Inspect a source of images before training.")
app.add_typer(data, name="data")
cache = typer.Typer(no_args_is_help=True, help="Decoded images on disk.")
data.add_typer(cache, name="cache")

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A folder of class folders, a manifest, or a data set by name.",
        show_default=False,
        callback=options.name_source,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", min=0, metavar="NUMBER", help="Seed of the split.", show_default="0", rich_help_panel=DATA),
]

Described = Annotated[
    Given, Fields(options.DATA_CONFIG, without=("source", "cache", "strict"), callbacks=options.ASKED)
]
Split = Annotated[
    Given,
    Fields(options.DATA_CONFIG, without=("source", "cache", "strict", "fit", "split_file"), callbacks=options.ASKED),
]


Checked = Annotated[Given, Fields(options.DATA_CONFIG, only=("near_copies", "download"), callbacks=options.ASKED)]


@command(data, epilog="Example: `resnet-lab data check paintings/ --strict`")
def check(
    *,
    source: Source,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with code 2 if a file is unusable or labels conflict.")
    ] = False,
    chosen: Checked,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Decode every image once; list the files that cannot be used, copies, and copies under different labels."""
    from resnet_lab.cli.findings import print_findings
    from resnet_lab.cli.progress import Screen
    from resnet_lab.core.errors import DataError
    from resnet_lab.data.description import check as check_images
    from resnet_lab.data.sources import open_images

    config = _config({**chosen, "source": source})
    images = open_images(source, options.load_registry(no_plugin, "dataset"))
    with Screen() as screen:
        findings = check_images(images, screen, near_copies=config.near_copies == "on")
    if json:
        output.print_json(_findings_as_dict(findings))
    else:
        print_findings(findings)
    if strict and (problems := _problems(findings)):
        raise DataError(f"{source}: {' and '.join(problems)}; repair or remove them")


@command(data, epilog="Example: `resnet-lab data describe paintings/ --html paintings.html`")
def describe(
    *,
    source: Source,
    size: Annotated[
        int,
        typer.Option(
            "--size",
            min=1,
            metavar="PIXELS",
            help="Side of the decoded square images, in pixels.",
            rich_help_panel=DATA,
        ),
    ] = 224,
    chosen: Described,
    seed: Seed = None,
    html: Annotated[Path | None, options.written("--html", "FILE", "Write one page with plots and pictures.")] = None,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Count images by class and part, and measure sizes and colours; --html writes a page with pictures.

    Mean and standard deviation are those of the training part, by which training normalises images.
    """
    from resnet_lab.core.files import refuse_existing, write_new
    from resnet_lab.data.description import album
    from resnet_lab.data.description import describe as describe_source
    from resnet_lab.report.data_page import data_page

    if html is not None:
        refuse_existing(html)
    config = _config({**chosen, "source": source})
    prepared = _prepared(config, size, seed, no_plugin)
    description = describe_source(prepared, config, seed or 0)
    if html is not None:
        page = data_page(description, album(prepared, description))
        write_new(html, page.encode())
    if json:
        output.print_json(_description_as_dict(description))
        return
    from resnet_lab.cli.findings import print_description

    print_description(description)
    if html is not None:
        output.line(f"page: {html}")


@command(
    data, epilog="Example: `resnet-lab data split paintings/ --out splits.csv`, then `train --split-file splits.csv`"
)
def split(
    *,
    source: Source,
    out: Annotated[Path, options.written("--out", "FILE", "The split file; it must not exist.")],
    seed: Seed = None,
    chosen: Split,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Write the split of a set of images: path, label, split.

    80/10/10 in every class, copies of a picture together; the same content and seed give the same parts.
    """
    from resnet_lab.core.files import refuse_existing, write_new
    from resnet_lab.data.split import PARTS, to_csv

    refuse_existing(out)
    config = _config({**chosen, "source": source, "cache": "stream"})
    prepared = _prepared(config, 224, seed, no_plugin)
    write_new(out, to_csv(prepared.images, prepared.part_column))
    counts: dict[str, int] = {part: len(prepared.positions(part)) for part in PARTS}
    if json:
        output.print_json({"split_file": str(out), **counts})
        return
    output.line(f"{out}: " + ", ".join(f"{counts[part]:,} {part}" for part in PARTS))


@cache.command("list", epilog="Example: `resnet-lab data cache list --json`")
def list_cache(json: options.JSON = False) -> None:
    """List the cache's content: source, format, number of images, size, and time of last use.

    Beside decoded images these are an index of images that were only looked at or stream, features of frozen network
    parts, fetched shards, and compiled code of networks.

    The cache is in the user's cache folder, or in the folder that the environment variable RESNET_LAB_CACHE names.
    """
    from resnet_lab.core.cache_location import cache_folder
    from resnet_lab.data.cache_folders import entries

    found = entries()
    if json:
        output.print_json({"cache": str(cache_folder()), "entries": [_entry_as_dict(entry) for entry in found]})
        return
    from resnet_lab.cli.findings import print_cache

    print_cache(found, cache_folder())


@cache.command("clear", epilog="Example: `resnet-lab data cache clear paintings/`")
def clear_cache(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE]...", help="Caches of these sources, or folders of the list.", show_default="all"
        ),
    ] = None,
    json: options.JSON = False,
) -> None:
    """Delete decoded images; they are decoded again when needed."""
    from rich.filesize import decimal

    from resnet_lab.data.cache_folders import clear, entries

    known = {name for entry in entries() for name in (entry.source, entry.folder.name)}
    freed = clear([_as_cached(source, known) for source in sources] if sources else None)
    if json:
        output.print_json({"freed": freed})
        return
    output.line(f"{decimal(freed)} freed")


def _as_cached(source: str, known: set[str]) -> str:
    """The name under which the cache may hold a source: as written, or as a path from the root."""
    path = str(Path(source).resolve())
    return path if source not in known and path in known else source


def _config(values: dict[str, Any]) -> "DataConfig":
    from resnet_lab.train.config import data_config

    return data_config(values, "data")


def _prepared(config: "DataConfig", size: int, seed: int | None, no_plugin: list[str] | None) -> "Prepared":
    from resnet_lab.cli.progress import Screen
    from resnet_lab.data.image_format import ImageFormat
    from resnet_lab.data.preparation import prepare
    from resnet_lab.data.sources import open_images

    images = open_images(config.source, options.load_registry(no_plugin, "dataset"))
    with Screen() as screen:
        return prepare(images, ImageFormat(size, fit=config.fit), config, seed or 0, screen)


def _problems(findings: "DataFindings") -> list[str]:
    """Problems that `check --strict` fails for."""
    from resnet_lab.core.wording import counted

    bad, conflicts = len(findings.bad), len(findings.conflicts)
    return [
        *([f"{counted(bad, 'file')} cannot be used"] if bad else []),
        *([f"{counted(conflicts, 'picture')} under several labels"] if conflicts else []),
    ]


def _findings_as_dict(findings: "DataFindings") -> dict[str, Any]:
    """Findings as printed with --json."""
    return {
        "source": findings.source,
        "images": findings.images,
        "usable": findings.usable,
        "classes": findings.classes,
        "bad": [{"path": path, "cause": cause} for path, cause in findings.bad],
        "copies": [asdict(each) for each in findings.copies],
        "conflicts": [asdict(each) for each in findings.conflicts],
        "compared": findings.compared,
        "handled": findings.handled,
        "notes": findings.notes,
    }


def _description_as_dict(description: "Description") -> dict[str, Any]:
    """Description as printed with --json."""
    return {
        **_findings_as_dict(description.findings),
        "classes": [{**asdict(row), "images": row.images} for row in description.classes],
        "parts": description.parts,
        "imbalance": description.imbalance,
        "sizes": {name: asdict(spread) for name, spread in description.sizes.spreads.items()},
        "enlarged": description.sizes.enlarged,
        "leaks": [asdict(each) for each in description.leaks],
        "mean": description.mean,
        "std": description.std,
        "size": description.image_format.size,
        "fit": description.image_format.fit,
        "seed": description.seed,
        "folds": description.folds,
        "fold": description.fold if description.folds is not None else None,
        "split_file": None if description.split_file is None else str(description.split_file),
        "fingerprint": description.fingerprint,
    }


def _entry_as_dict(entry: "CacheEntry") -> dict[str, Any]:
    return {
        "kind": entry.kind,
        "folder": str(entry.folder),
        "source": entry.source,
        "image_format": None if entry.image_format is None else asdict(entry.image_format),
        "images": entry.images,
        "bytes": entry.nbytes,
        "used": None if entry.used is None else entry.used.isoformat(),
    }
