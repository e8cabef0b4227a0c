"""Explanations of image files that belong to no data set, as pictures in a folder."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from statistics import fmean

from resnet_lab.core.choices import MapMethod
from resnet_lab.core.errors import ConfigError, DataError, nearest
from resnet_lab.core.files import make_folder, refuse_unwritable_folder, write_atomically
from resnet_lab.core.run_folder import weights_of
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.data.image_files import decoded, image_files
from resnet_lab.device import Placement
from resnet_lab.evaluation.explanation.explaining import Explainer, Explanation
from resnet_lab.evaluation.explanation.pictures import Format, draw
from resnet_lab.evaluation.explanation.sanity import SanityCheck
from resnet_lab.evaluation.inference import image_format_of, load_for_images
from resnet_lab.network.plugins import Registry

FOLDER = "explanations"
AT_ONCE = 8
"""Images between two signs of progress: some methods take seconds for each."""


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
        layer: that the maps are of, or `input`.
        positions: height and width of the maps before they were upsampled: there is no detail beyond them.
    """

    method: MapMethod
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
    method: MapMethod = "grad-cam",
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
        method: a key of `EXPLAINABLE`.
        layer: of `grad-cam` and `hires-cam`, the last stage by default; the other methods take none.
        wanted: a class to explain in place of the predicted one.
        sanity_check: compare each map with one by random weights, see `SanityCheck`.
        out: `explanations` in the run folder or beside the weights file by default.
        watcher: notified of each image.

    Raises:
        RunError, CheckpointError: no usable weights; a file that cannot be written.
        ConfigError: an unknown layer or class, a layer whose output is no map, or a method that takes none.
        DataError: a path holds no image, or none of them can be read.
    """
    weights_file = weights_of(weights)
    folder = out or weights_file.parent / FOLDER
    refuse_unwritable_folder(folder)
    metadata, model = load_for_images(weights_file, registry)
    number = None if wanted is None else _number_of(wanted, metadata.classes)
    files = image_files(paths)
    watcher.begin("explaining", len(files))
    explainer = Explainer(metadata, model, placement, layer, method=method, images=len(files), watcher=watcher)
    check = SanityCheck(explainer, registry) if sanity_check else None
    drawings = _Drawings(folder, method, explainer.maps.layer, file_format)
    images: list[Explained] = []
    bad: list[tuple[Path, str]] = []
    for piece in decoded(files, image_format_of(metadata)):
        bad += piece.bad
        for start in range(0, len(piece.files), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            explanations = explainer.explain(piece.pixels[some], wanted=number)
            correlations = check.correlations(explanations) if check else [None] * len(explanations)
            for each in zip(piece.files[some], explanations, correlations, strict=True):
                images.append(drawings.add(*each))
                watcher.advance()
        for _ in piece.bad:
            watcher.advance()
    if not images:
        raise _nothing_readable(bad)
    positions = explainer.maps.positions or (0, 0)
    return Explanations(method, explainer.maps.layer, metadata.spec.input_size, positions, tuple(images), tuple(bad))


@dataclass(frozen=True)
class _Drawings:
    """The folder of the drawings, and what is the same in all of them."""

    folder: Path
    method: MapMethod
    layer: str
    file_format: Format

    def add(self, file: Path, explanation: Explanation, correlation: float | None) -> Explained:
        """Draw an explanation, in the place of an earlier one of the same image by the same method."""
        drawing = self.folder / drawing_name(file, self.file_format, self.method)
        caption = "" if correlation is None else f"rank correlation with the map by random weights: {correlation:.2f}"
        make_folder(self.folder)
        source = f"{self.layer}, {self.method}"
        write_atomically(drawing, draw(explanation, file.name, source, self.file_format, caption))
        return Explained(file, explanation, drawing, correlation)


def drawing_name(file: Path, file_format: Format, method: MapMethod = "grad-cam") -> str:
    """Name of a drawing: its image's, the method, and eight digits of the path's SHA-256.

    The digits keep equal names in two folders apart.
    """
    digest = sha256(os.fsencode(os.path.abspath(file))).hexdigest()
    # 50 letters are at most 200 of the 255 bytes of a name
    return f"{file.stem[:50]}-{method}-{digest[:8]}.{file_format}"


def _number_of(wanted: str, classes: Sequence[str]) -> int:
    if wanted not in classes:
        raise ConfigError(f"the network has no class {wanted!r}; {nearest(wanted, classes)}")
    return classes.index(wanted)


def _nothing_readable(bad: Sequence[tuple[Path, str]]) -> DataError:
    path, cause = bad[0]
    return DataError(
        f"{path}: unreadable image ({cause})"
        + (f", and {len(bad) - 1} more like it" if len(bad) > 1 else "")
        + "; none of the images can be explained: repair them or name others"
    )
