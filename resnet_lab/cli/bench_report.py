"""`resnet-lab bench report`."""

from pathlib import Path
from typing import Annotated

import typer

from resnet_lab.cli import options, output
from resnet_lab.cli.bench import group


@group.command(epilog="Example: `resnet-lab bench report monday.json`")
def report(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of `bench --out`.")],
    out: Annotated[
        Path | None, options.written("--out", "FILE", "The page; it must not exist.", "beside FILE, replaced")
    ] = None,
    plots: Annotated[Path | None, options.written("--plots", "FOLDER", "Also write each plot as PNG and SVG.")] = None,
    json: options.JSON = False,
) -> None:
    """Write the results of a bench as one HTML page; it is self-contained."""
    from resnet_lab.bench.report_contents import contents_of
    from resnet_lab.bench.results import read
    from resnet_lab.core.files import refuse_existing, refuse_unwritable, write_atomically
    from resnet_lab.report.bench_page import bench_page
    from resnet_lab.report.bench_plots import write_bench_plots

    if out is not None:
        refuse_existing(out)
    content = read(file)
    page = out or file.with_suffix(".html")
    options.refuse_page(page, {"--plots": plots, "FILE": file})
    contents = contents_of(content, f"{file}: damaged")
    refuse_unwritable(page)
    write_atomically(page, bench_page(contents).encode())
    drawn = [] if plots is None else write_bench_plots(contents, plots)
    if json:
        output.print_json({"page": str(page), "plots": [str(path) for path in drawn]})
        return
    output.line(f"page: {page}")
    if plots is not None:
        output.line(f"plots: {len(drawn)} files in {plots}")
