"""`resnet_lab.report`."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from resnet_lab.cli.options import name_source
from resnet_lab.core.choices import MapMethod
from resnet_lab.core.errors import ConfigError
from resnet_lab.core.files import refuse_existing, refuse_unwritable, write_atomically
from resnet_lab.data.split import PARTS, Part
from resnet_lab.device import choose
from resnet_lab.evaluation.report_contents import gather_report
from resnet_lab.interactive.progress import watching_training
from resnet_lab.interactive.results import Report, Run, Study, folders_of
from resnet_lab.network.plugins import default_registry, require_files
from resnet_lab.report.building import build_report, default_path
from resnet_lab.report.cells import comparison_cell, run_cell, study_cell
from resnet_lab.report.study_building import make_study_report
from resnet_lab.study.report_contents import gather_study
from resnet_lab.study.trials import StudyFolder
from resnet_lab.study.writing import as_json


def report(
    of: Run | Study | str | Path | Sequence[Run | str | Path],
    *,
    out: str | Path | None = None,
    data: str | Path | None = None,
    split: Part | None = None,
    gallery: int = 24,
    maps: MapMethod = "grad-cam",
    map: bool = False,
    device: str = "auto",
    quiet: bool = False,
) -> Report:
    """Write one self-contained HTML page, as `resnet-lab report` and `resnet-lab study report` do.

    Args:
        of: a run, several to compare, or a study; each may be its folder.
        out: the page, which must not exist; by default `report.html` in the folder, replaced.
        data: another source, of which all images are scored; not of a study.
        split: part of the runs' own images; the test part by default, of an unfinished run the validation part.
        gallery: most misclassified works to show.
        maps: method of the maps of these works, as `explain --method` takes it.
        map: whether to map the embeddings of the scored images, of one run.
        device: `auto`, `cpu`, `cuda`, `cuda:0`.
        quiet: whether to show no progress.

    Raises:
        ResNetLabError: as the commands refuse.
    """
    folders = folders_of(of)
    if not folders:
        raise ConfigError("resnet_lab.report: there is nothing to report; name a run or a study")
    page = None if out is None else Path(out)
    if page is not None:
        refuse_existing(page)
    _refuse_impossible(gallery, split, maps)
    if len(folders) == 1 and StudyFolder(folders[0]).design.is_file():
        if data is not None or split is not None or map:
            raise ConfigError("data, split and map are of runs, and this is a study; leave them out")
        return _of_study(folders[0], page or folders[0] / "report.html")
    if data is not None and split is not None:
        raise ConfigError("split is of the runs' own images, and all of data are scored; leave one of them out")
    page = page or default_path(folders)
    if page.parent.is_dir():
        refuse_unwritable(page)
    source = None if data is None else name_source(str(data))
    with watching_training(quiet=quiet) as watcher:
        contents = gather_report(
            folders, choose(device), default_registry(), part=split, source=source, works=gallery, method=maps,
            with_map=map, watcher=watcher,
        )  # fmt: skip
    made = build_report(contents)
    write_atomically(page, made.html.encode())
    if made.comparisons:
        return Report(page, made.numbers, comparison_cell(made.runs, made.comparisons, str(page)))
    return Report(page, made.numbers, run_cell(made.runs[0], str(page)))


def _refuse_impossible(gallery: int, split: str | None, maps: str) -> None:
    if not 0 <= gallery <= 200:
        raise ConfigError(f"resnet_lab.report: gallery must be from 0 to 200, got {gallery}")
    if split is not None and split not in PARTS:
        raise ConfigError(f"resnet_lab.report: split must be {' or '.join(PARTS)}, got {split!r}")
    if maps not in get_args(MapMethod):
        raise ConfigError(f"resnet_lab.report: maps must be {', '.join(get_args(MapMethod))}, got {maps!r}")


def _of_study(folder: Path, page: Path) -> Report:
    opened, registry = StudyFolder(folder), default_registry()
    require_files(opened.plugin_files(), registry, str(folder))
    refuse_unwritable(page)
    found = Study(folder).findings()
    made = make_study_report(gather_study(found, opened, registry))
    write_atomically(page, made.html.encode())
    curves = made.contents.analyses.learning_curves
    return Report(
        page,
        as_json(found),
        study_cell(found, curves, str(folder), str(page), changes=made.contents.changes, images=made.contents.images),
    )
