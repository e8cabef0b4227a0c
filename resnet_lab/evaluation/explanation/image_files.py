"""Explanations of image files that belong to no data set, as pictures in a folder."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from statistics import fmean

from resnet_lab.core.errors import ConfigError, DataError, nearest
from resnet_lab.core.files import make_folder, refuse_unwritable_folder, write_atomically
from resnet_lab.core.run_folder import weights_of
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.data.image_files import decoded, image_files
from resnet_lab.device import Placement
from resnet_lab.evaluation.explanation.explaining import Explainer, Explanation
from resnet_lab.evaluation.explanation.maps import Method
from resnet_lab.evaluation.explanation.pictures import Format, draw
from resnet_lab.evaluation.explanation.sanity import SanityCheck
from resnet_lab.evaluation.inference import image_format_of, load_for_images
from resnet_lab.network.plugins import Registry

FOLDER = "explanations"
USUAL: Method = "grad-cam"
"""Its drawings are labelled with the layer alone."""


@dataclass(frozen=True)
class Explained:
    """An image file, its explanation, and where that is drawn.

    Attributes:
        rank_correlation: of the map with the one by random weights; None unless asked for, or where a map is constant.
    """

    path: Path
    explanation: Explanation
    drawing: Path
    rank_correlation: float | None = None


@dataclass(frozen=True)
class Explanations:
    """Explanations of all readable images; path and cause of the others.

    Attributes:
        size: of the square that the network sees, in pixels.
        positions: height and width of the layer's output: the map has no detail beyond them.
    """

    method: Method
    layer: str
    size: int
    positions: tuple[int, int]
    images: tuple[Explained, ...]
    bad: tuple[tuple[Path, str], ...]

    @property
    def rank_correlation(self) -> float | None:
        """Mean over the images that have one."""
        known = [each.rank_correlation for each in self.images if each.rank_correlation is not None]
        return fmean(known) if known else None


def explain(
    weights: Path,
    paths: Sequence[str | Path],
    placement: Placement,
    registry: Registry,
    *,
    method: Method = "grad-cam",
    layer: str | None = None,
    wanted: str | None = None,
    sanity_check: bool = False,
    out: Path | None = None,
    file_format: Format = "png",
    watcher: Watcher = SILENT,
) -> Explanations:
    """Explain the predicted class of image files and draw each; files of earlier explanations are replaced.

    Args:
        weights: a run folder, whose best weights are taken, or a weights file.
        paths: files, folders, which stand for the images below them, and patterns such as `scans/**/*.jpg`.
        method: a key of `METHODS`.
        layer: the last stage by default.
        wanted: a class to explain in place of the predicted one.
        sanity_check: compare each map with one by random weights, see `SanityCheck`.
        out: `explanations` in the run folder or beside the weights file by default.
        watcher: notified of each image.

    Raises:
        RunError, CheckpointError: no usable weights; a file that cannot be written.
        ConfigError: an unknown layer or class, or a layer whose output is no map.
        DataError: a path holds no image, or none of them can be read.
    """
    weights_file = weights_of(weights)
    folder = out or weights_file.parent / FOLDER
    refuse_unwritable_folder(folder)
    metadata, model = load_for_images(weights_file, registry)
    if wanted is not None and wanted not in metadata.classes:
        raise ConfigError(f"the network has no class {wanted!r}; {nearest(wanted, metadata.classes)}")
    number = None if wanted is None else metadata.classes.index(wanted)
    files = image_files(paths)
    watcher.begin("explaining", len(files))
    explainer = Explainer(metadata, model, placement, layer, method=method, images=len(files), watcher=watcher)
    check = None
    if sanity_check:
        check = SanityCheck(metadata, placement, registry, layer, method=method, images=len(files), watcher=watcher)
    source = explainer.cam.layer + _unless_usual(method, ", {}")
    images: list[Explained] = []
    bad: list[tuple[Path, str]] = []
    for piece in decoded(files, image_format_of(metadata)):
        bad += piece.bad
        explanations = explainer.explain(piece.pixels, wanted=number) if piece.files else []
        correlations = check.correlations(explanations) if check and explanations else [None] * len(explanations)
        for file, explanation, correlation in zip(piece.files, explanations, correlations, strict=True):
            drawing = folder / drawing_name(file, file_format, method)
            make_folder(folder)
            write_atomically(drawing, draw(explanation, file.name, source, file_format, _caption(correlation)))
            images.append(Explained(file, explanation, drawing, correlation))
            watcher.advance()
        for _ in piece.bad:
            watcher.advance()
    positions = explainer.cam.positions
    if positions is None:
        path, cause = bad[0]
        raise DataError(
            f"{path}: unreadable image ({cause})"
            + (f", and {len(bad) - 1} more like it" if len(bad) > 1 else "")
            + "; none of the images can be explained: repair them or name others"
        )
    return Explanations(method, explainer.cam.layer, metadata.spec.input_size, positions, tuple(images), tuple(bad))


def drawing_name(file: Path, file_format: Format, method: Method = "grad-cam") -> str:
    """Name of a drawing: its image's, the method unless it is Grad-CAM, and eight digits of the path's SHA-256.

    The digits keep equal names in two folders apart.
    """
    digest = sha256(os.fsencode(os.path.abspath(file))).hexdigest()
    name = file.stem[:50] + _unless_usual(method, "-{}")
    return f"{name}-{digest[:8]}.{file_format}"  # 50 letters are at most 200 of the 255 bytes of a name


def _unless_usual(method: Method, text: str) -> str:
    return "" if method == USUAL else text.format(method)


def _caption(correlation: float | None) -> str:
    return "" if correlation is None else f"rank correlation with the map by random weights: {correlation:.2f}"
