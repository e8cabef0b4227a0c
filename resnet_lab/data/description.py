"""Description of a source: what was found in its files, and its state once prepared.

Legend: N usable images, K classes, C channels.
"""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_lab.core.images import ImageSet
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.data.cache import store_at_one_depth
from resnet_lab.data.config import DataConfig
from resnet_lab.data.copies import Copies, Grouping, describe_groups, group_copies
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.near_copies import of_several
from resnet_lab.data.pixels import DecodedPixels, gathered
from resnet_lab.data.preparation import Decoded, Prepared, channel_statistics
from resnet_lab.data.split import PARTS

CHECKED = ImageFormat(224)
"""Format into which a check decodes: the default of a training, so that both find the same copies."""

MAX_SAMPLES = 250
"""Sample pictures of all classes together, unless there are more classes."""

SAMPLES_A_CLASS = 10
GROUPS_SHOWN = 24
"""Groups of copies shown in pictures under one label, and again of copies under several."""

PICTURES_A_GROUP = 4
THUMBNAIL = 96
"""Sides of a picture to look at, in pixels."""


@dataclass(frozen=True)
class DataFindings:
    """Findings from decoding every image.

    Attributes:
        source: its name.
        images: found in all, usable or not.
        classes: usable images of each class, in the source's order.
        bad: path and cause of what cannot be used.
        copies: groups of images that show the same picture, exactly or nearly.
        compared: usable images among which near copies were looked for, which small and plain ones are not; None where
            they were not looked for.
        handled: how many usable images are out of the ordinary, by kind, the most frequent first.
        notes: on how the images were found, and on groups too large to be copies.
    """

    source: str
    images: int
    classes: Mapping[str, int]
    bad: tuple[tuple[str, str], ...]
    copies: tuple[Copies, ...]
    compared: int | None
    handled: Mapping[str, int]
    notes: tuple[str, ...]

    @property
    def usable(self) -> int:
        return sum(self.classes.values())

    @property
    def conflicts(self) -> tuple[Copies, ...]:
        """Copies under several labels."""
        return tuple(each for each in self.copies if each.conflict)


@dataclass(frozen=True)
class ClassRow:
    """One class.

    Attributes:
        train, val, test: its images in each part.
        bad: its images that cannot be used.
        mean: of each channel over its usable images, on a scale of [0, 1].
    """

    name: str
    train: int
    val: int
    test: int
    bad: int
    mean: tuple[float, ...]

    @property
    def images(self) -> int:
        """That can be used."""
        return self.train + self.val + self.test


@dataclass(frozen=True)
class Spread:
    """Summary statistics of a set of values."""

    smallest: float
    median: float
    largest: float


@dataclass(frozen=True)
class Sizes:
    """Sizes of the usable images, upright.

    Attributes:
        widths, heights: in pixels, shape (N,).
        enlarged: images with a side shorter than that of the form they are brought into.
    """

    widths: NDArray[np.int64]
    heights: NDArray[np.int64]
    enlarged: int

    @property
    def spreads(self) -> dict[str, Spread]:
        """Spreads by name: width and height in pixels, aspect as width / height."""
        values = {"width": self.widths, "height": self.heights, "aspect": self.widths / self.heights}
        return {
            name: Spread(float(each.min()), float(np.median(each)), float(each.max())) for name, each in values.items()
        }


@dataclass(frozen=True)
class Description:
    """A prepared source in numbers.

    Attributes:
        seed, folds, fold, split_file: what the split follows from.
        fingerprint: of classes, labels and content.
        classes: the largest first.
        mean, std: of each channel over the training part, on a scale of [0, 1]: what images are normalised with.
        leaks: copies that are in several parts, as a split file or the source itself has it.
    """

    findings: DataFindings
    image_format: ImageFormat
    seed: int
    folds: int | None
    fold: int
    split_file: Path | None
    fingerprint: str
    classes: tuple[ClassRow, ...]
    sizes: Sizes
    mean: tuple[float, ...]
    std: tuple[float, ...]
    leaks: tuple[Copies, ...]

    @property
    def parts(self) -> dict[str, int]:
        """Images in each part."""
        return {part: sum(getattr(row, part) for row in self.classes) for part in PARTS}

    @property
    def imbalance(self) -> float:
        """Images of the largest class by those of the smallest."""
        return self.classes[0].images / self.classes[-1].images


@dataclass(frozen=True)
class ExampleImage:
    """An image to look at, as the network gets it.

    Attributes:
        part: that it stands in.
        width, height: of the file, upright.
        jpeg: the bytes of a JPEG file, at most `THUMBNAIL` pixels wide and high.
    """

    path: str
    label: str
    part: str
    width: int
    height: int
    jpeg: bytes


Gallery = tuple[tuple[Copies, tuple[ExampleImage, ...]], ...]
"""Groups of copies, each with its first pictures."""


@dataclass(frozen=True)
class Album:
    """Pictures of a prepared source.

    Attributes:
        samples: a few of each class, from the training part.
        conflicts: the first copies under several labels.
        copies: the first copies under one label.
    """

    samples: Mapping[str, tuple[ExampleImage, ...]]
    conflicts: Gallery
    copies: Gallery


def check(images: ImageSet, watcher: Watcher = SILENT, *, near_copies: bool = True) -> DataFindings:
    """Decode every image of a set without keeping pixels, whatever may be wrong with it.

    Args:
        near_copies: look for near copies too.

    Raises:
        DataError: the cache, which keeps what decoding found, cannot be written.
    """
    stored, image_format = store_at_one_depth(images, CHECKED, keep_pixels=False, watcher=watcher)
    decoded = Decoded(images, stored.examined, DecodedPixels(images, image_format), stored.folder)
    return _findings(decoded, group_copies(stored.examined, near=near_copies, folder=stored.folder))


def describe(prepared: Prepared, config: DataConfig, seed: int) -> Description:
    """All numbers of a prepared source.

    Args:
        config, seed: that it was prepared with.
    """
    usable = prepared.usable
    widths, heights = (prepared.examined.column(name)[usable].astype(np.int64) for name in ("width", "height"))
    mean, std = prepared.statistics()
    findings = _findings(prepared, prepared.grouping)
    codes, several = prepared.part_column.codes, of_several(prepared.grouping.groups)
    return Description(
        findings=findings,
        image_format=prepared.pixels.image_format,
        seed=seed,
        folds=config.folds,
        fold=config.fold,
        split_file=config.split_file,
        fingerprint=prepared.fingerprint,
        classes=_class_rows(prepared),
        sizes=Sizes(widths, heights, int(np.sum(np.minimum(widths, heights) < prepared.pixels.image_format.size))),
        mean=mean,
        std=std,
        leaks=tuple(
            each for each, there in zip(findings.copies, several, strict=True) if len(set(codes[there].tolist())) > 1
        ),
    )


def album(prepared: Prepared, description: Description) -> Album:
    """Pictures to look at: samples of each class, conflicts and copies, first those in several parts."""
    leaks = set(description.leaks)
    copies = sorted(description.findings.copies, key=lambda each: each not in leaks)
    return Album(
        samples=_samples(prepared),
        conflicts=_gallery(prepared, [each for each in copies if each.conflict]),
        copies=_gallery(prepared, [each for each in copies if not each.conflict]),
    )


def _findings(decoded: Decoded, grouping: Grouping) -> DataFindings:
    images, usable = decoded.images, decoded.usable
    counts = np.bincount(images.labels[usable], minlength=len(images.classes)).tolist()
    kinds = Counter[str]()
    for some, number in decoded.examined.kinds():
        kinds.update(dict.fromkeys(some, number))
    return DataFindings(
        source=images.name,
        images=len(images),
        classes=dict(zip(images.classes, counts, strict=True)),
        bad=tuple(decoded.bad),
        copies=tuple(describe_groups(images, decoded.examined, grouping.groups)),
        compared=grouping.compared,
        handled=dict(kinds.most_common()),
        notes=(*images.notes, *([grouping.remark] if grouping.remark else [])),
    )


def _class_rows(prepared: Prepared) -> tuple[ClassRow, ...]:
    labels, usable, number = prepared.images.labels, prepared.usable, len(prepared.images.classes)
    counts = {part: np.bincount(labels[prepared.positions(part)], minlength=number).tolist() for part in PARTS}
    good, bad = (np.bincount(labels[each], minlength=number).tolist() for each in (usable, ~usable))
    sums, squares = np.zeros((2, number, prepared.pixels.image_format.channels), dtype=np.int64)
    for totals, field in ((sums, "sums"), (squares, "squares")):
        np.add.at(totals, labels[usable], prepared.examined.column(field)[usable])
    rows = []
    for label, name in enumerate(prepared.images.classes):
        mean, _ = channel_statistics(
            good[label], sums[label].tolist(), squares[label].tolist(), prepared.pixels.image_format
        )
        rows.append(ClassRow(name, **{part: counts[part][label] for part in PARTS}, bad=bad[label], mean=mean))
    return tuple(sorted(rows, key=lambda row: (-row.images, row.name)))


def _samples(prepared: Prepared) -> dict[str, tuple[ExampleImage, ...]]:
    """Sample of each class in the order of digests: effectively random, and stable when images are added."""
    classes, train = prepared.images.classes, prepared.positions("train")
    number = max(1, min(SAMPLES_A_CLASS, MAX_SAMPLES // len(classes)))
    chosen: dict[int, list[int]] = {label: [] for label in range(len(classes))}
    in_order = train[np.argsort(prepared.examined.digests[train], kind="stable")]
    for position, label in zip(in_order.tolist(), prepared.images.labels[in_order].tolist(), strict=True):
        if len(chosen[label]) < number:
            chosen[label].append(position)
    return {classes[label]: _pictures(prepared, positions) for label, positions in chosen.items()}


def _gallery(prepared: Prepared, copies: Sequence[Copies]) -> Gallery:
    shown = copies[:GROUPS_SHOWN]
    wanted = {path for each in shown for path in each.paths[:PICTURES_A_GROUP]}
    index = {path: position for position, path in enumerate(prepared.images.paths) if path in wanted}
    return tuple((each, _pictures(prepared, [index[path] for path in each.paths[:PICTURES_A_GROUP]])) for each in shown)


def _pictures(prepared: Prepared, positions: Sequence[int]) -> tuple[ExampleImage, ...]:
    images = prepared.images
    return tuple(
        ExampleImage(
            path=images.paths[position],
            label=images.classes[images.labels[position]],
            part=str(prepared.parts[position]),
            width=prepared.examined[position].width,
            height=prepared.examined[position].height,
            jpeg=_jpeg(pixels),
        )
        for position, pixels in zip(positions, gathered(prepared.pixels, positions), strict=True)
    )


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """JPEG of pixels of shape (S, S, C)."""
    image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    content = io.BytesIO()
    image.save(content, format="JPEG", quality=72, optimize=True)
    return content.getvalue()
