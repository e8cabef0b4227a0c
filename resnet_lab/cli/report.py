"""`resnet-lab report`."""

from os.path import isdir
from pathlib import Path
from typing import Annotated, Literal

import typer

from resnet_lab.cli import options, output, scoring_options
from resnet_lab.cli.bundles import command
from resnet_lab.cli.root import app
from resnet_lab.core.choices import MapMethod
from resnet_lab.core.option import DATA


@command(app, epilog="Example: `resnet-lab report runs/relu`, or of several: `resnet-lab report runs/relu runs/gelu`")
def report(
    *,
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="A run folder; or several, to compare.")],
    split: Annotated[
        Literal["train", "val", "test"] | None,
        typer.Option(
            "--split",
            help="The part to score.",
            show_default="test; val for an unfinished run",
            rich_help_panel=DATA,
        ),
    ] = None,
    images: scoring_options.OtherImages,
    gallery: Annotated[
        int, typer.Option("--gallery", min=0, max=200, metavar="NUMBER", help="Most misclassified works to show.")
    ] = 24,
    maps: Annotated[
        MapMethod, typer.Option("--maps", help="Method of the maps of these works, as `explain --method` takes it.")
    ] = "grad-cam",
    embedding_map: Annotated[
        bool,
        typer.Option(
            "--map", help="Also map the embeddings of the scored images in two dimensions (t-SNE), of one run."
        ),
    ] = False,
    out: Annotated[
        Path | None, options.written("--out", "FILE", "The page; it must not exist.", "RUN/report.html, replaced")
    ] = None,
    plots: Annotated[Path | None, options.written("--plots", "FOLDER", "Also write each plot as PNG and SVG.")] = None,
    placed: options.Placement,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Write one HTML page about a run, or one that compares several; it is self-contained."""
    from resnet_lab.cli.progress import Screen
    from resnet_lab.core.files import refuse_existing, refuse_unwritable, write_atomically
    from resnet_lab.data.class_names import read_class_map
    from resnet_lab.evaluation.report_contents import gather_report
    from resnet_lab.report.building import build_report, default_path, write_plots

    images.refuse_part(split)
    registry = options.load_registry(no_plugin)
    if out is not None:
        refuse_existing(out)
    page = out or default_path(runs)
    options.refuse_page(page, {"--plots": plots})
    if isdir(page.parent):
        refuse_unwritable(page)
    placement, renamed = options.placement(placed), read_class_map(images.class_map or ())
    with Screen() as screen:
        gathered = gather_report(
            runs,
            placement,
            registry,
            part=split,
            source=images.source,
            class_map=renamed,
            works=gallery,
            method=maps,
            with_map=embedding_map,
            watcher=screen,
        )
    made = build_report(gathered)
    write_atomically(page, made.html.encode())
    drawn = [] if plots is None else write_plots(made, plots)
    if json:
        output.print_json({"report": str(page), "plots": [str(path) for path in drawn], **made.numbers})
        return
    output.line(f"page: {page}")
    if plots is not None:
        output.line(f"plots: {len(drawn)} files in {plots}")
