"""Gallery of works, each with Grad-CAM maps and the training images most similar to it.

Legend: N works, S size, C channels, K classes, D features.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from resnet_lab.core.errors import DataError
from resnet_lab.core.run_folder import Run
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.data.class_names import match_classes
from resnet_lab.data.config import DataConfig
from resnet_lab.data.pixels import DecodedPixels, gathered
from resnet_lab.data.preparation import Decoded, decode_all
from resnet_lab.data.sources import open_images
from resnet_lab.data.split import from_csv_as_far_as_there
from resnet_lab.device import Placement, optimize_for_inference
from resnet_lab.evaluation.explanation import GradCAM, overlay
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.evaluation.scoring import form_of, load_for_images, logits, prepare, with_progress
from resnet_lab.network.model import ResNet
from resnet_lab.network.plugins import Registry

NEIGHBOURS = 3
CANDIDATES = 200
"""Training images of a class that are looked at for the nearest, at most."""

CANDIDATES_IN_ALL = 1000
"""The same over all classes: each costs a forward pass."""

BUDGET = 5_500_000
"""Bytes of all pictures together; base64 makes a third more of them."""

SIDE = 320
"""Largest side of a picture, in pixels."""

TYPICAL = 0.25
"""Bytes a pixel of a painting at `QUALITY`; noise takes three times as many."""

QUALITY = 78


@dataclass(frozen=True)
class GalleryPicture:
    """An image, scaled to a square file as networks get it.

    Attributes:
        width, height: of the original where the square shows all of it; else 1 and 1, its own shape.
        webp: the bytes of a WebP file.
    """

    path: str
    width: int
    height: int
    webp: bytes


@dataclass(frozen=True)
class Map:
    """Map of the evidence for a class in a work, over the work in grey.

    Attributes:
        network: number of the run that it is of, from 0.
        webp: as that of the work's picture.
    """

    name: str
    network: int
    probability: float
    webp: bytes


@dataclass(frozen=True)
class Neighbour:
    """A training image, and its cosine distance in [0, 2] from the work in the features before the classifier."""

    picture: GalleryPicture
    distance: float


@dataclass(frozen=True)
class GalleryWork:
    """One work.

    Attributes:
        number: among the predictions.
        maps: of the predicted and of the true class; or of what each of two networks takes it for.
        neighbours: nearest training images of the predicted class, the nearest first.
    """

    number: int
    picture: GalleryPicture
    maps: tuple[Map, ...]
    neighbours: tuple[Neighbour, ...] = ()


@dataclass(frozen=True)
class Gallery:
    """Works, and what the maps have of detail.

    Attributes:
        side: of the pictures, in pixels.
        layers: that the maps are of, one for each network.
        positions: height and width of these layers' outputs.
        candidates: training images among which the nearest were sought.
        without_neighbours: why there are none; empty where there are.
    """

    works: tuple[GalleryWork, ...]
    side: int
    layers: tuple[str, ...]
    positions: tuple[tuple[int, int], ...]
    candidates: int = 0
    without_neighbours: str = ""


def mistakes(predictions: Predictions, most: int) -> NDArray[np.int64]:
    """Numbers of the images that are wrong, most confident first."""
    wrong = np.flatnonzero(predictions.predicted != predictions.labels)
    return wrong[np.argsort(-predictions.confidences[wrong], kind="stable")][:most]


def build_gallery(
    run: Run,
    predictions: Predictions,
    numbers: NDArray[np.int64],
    placement: Placement,
    registry: Registry,
    *,
    watcher: Watcher = SILENT,
) -> Gallery:
    """Works with maps of their predicted and their true class, and the training images they were taken for.

    Args:
        predictions: of the run.
        numbers: of the works among them, at least one, shape (N,).
        watcher: notified of each image that goes through the network.

    Raises:
        CheckpointError: no usable weights.
        DataError: the scored images are gone, or not what they were.
    """
    viewer = _Viewer(run, predictions, placement, registry, watcher)
    classes = [predictions.predicted[numbers], predictions.labels[numbers]]
    maps = viewer.maps(numbers, classes)
    try:
        neighbours, candidates, cause = *viewer.neighbours(numbers), ""
    except DataError as error:
        neighbours, candidates, cause = [[] for _ in numbers], 0, str(error)
    side = viewer.side(numbers, 1 + len(classes) + NEIGHBOURS)
    near = iter(viewer.training_pictures([position for each in neighbours for position, _ in each], side))
    squares: list[NDArray[np.uint8]] = []
    for picture, both, others in zip(viewer.pictures(numbers, side), zip(*maps, strict=True), neighbours, strict=True):
        squares += [picture, *(_overlay(picture, values) for values in both), *(next(near) for _ in others)]
    encoded, side = as_files(squares)
    files = iter(encoded)
    works = [
        GalleryWork(
            number,
            viewer.picture(number, next(files)),
            tuple(viewer.map(0, number, int(k[row]), next(files)) for k in classes),
            tuple(Neighbour(viewer.as_training(position, next(files)), far) for position, far in neighbours[row]),
        )
        for row, number in enumerate(numbers.tolist())
    ]
    return Gallery(tuple(works), side, (viewer.layer,), (viewer.positions,), candidates, cause)


def contrast(
    runs: Sequence[Run],
    predictions: Sequence[Predictions],
    numbers: NDArray[np.int64],
    placement: Placement,
    registry: Registry,
    *,
    watcher: Watcher = SILENT,
) -> Gallery:
    """Works with a map from each network, of the class that it takes the work for; raises like `build_gallery`.

    Args:
        predictions: of each run, of the same images in the same order.
        numbers: of the works among them, shape (N,).
    """
    viewers = [_Viewer(run, each, placement, registry, watcher) for run, each in zip(runs, predictions, strict=True)]
    classes = [each.predicted[numbers] for each in predictions]
    maps = [viewer.maps(numbers, [k])[0] for viewer, k in zip(viewers, classes, strict=True)]
    squares: list[NDArray[np.uint8]] = []
    pictures = viewers[0].pictures(numbers, viewers[0].side(numbers, 1 + len(viewers)))
    for picture, values in zip(pictures, zip(*maps, strict=True), strict=True):
        squares += [picture, *(_overlay(picture, each) for each in values)]
    encoded, side = as_files(squares)
    files = iter(encoded)
    works = [
        GalleryWork(
            number,
            viewers[0].picture(number, next(files)),
            tuple(
                viewer.map(network, number, int(classes[network][row]), next(files))
                for network, viewer in enumerate(viewers)
            ),
        )
        for row, number in enumerate(numbers.tolist())
    ]
    return Gallery(tuple(works), side, tuple(each.layer for each in viewers), tuple(each.positions for each in viewers))


class _Viewer:
    """A run's network before the images that it was scored on."""

    def __init__(
        self, run: Run, predictions: Predictions, placement: Placement, registry: Registry, watcher: Watcher
    ) -> None:
        self._run, self._predictions, self._placement, self._watcher = run, predictions, placement, watcher
        self._registry, self._record = registry, run.read()
        self._metadata, self._model = load_for_images(run.best, registry)
        self._scored = self._opened(predictions.origin.source)
        self._place = {path: position for position, path in enumerate(self._scored.images.paths)}
        self._training = self._scored
        self.layer = ""
        self.positions = (0, 0)

    def _opened(self, source: str) -> Decoded:
        config = DataConfig(source=source, cache=self._record["data"]["cache"])
        return decode_all(open_images(source, self._registry, fewest=1), form_of(self._metadata), config, self._watcher)

    def _at(self, number: int) -> int:
        """Position of a predicted image in its source; raises `DataError` where its content has changed."""
        path = self._predictions.paths[number]
        position = self._place.get(path)
        if position is None or self._scored.examined[position].digest != self._predictions.digests[number]:
            raise DataError(f"{self._scored.images.name}: {path} is no longer what was scored; restore it")
        return position

    def _all_at(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array([self._at(number) for number in numbers.tolist()], dtype=np.int64)

    def maps(self, numbers: NDArray[np.int64], classes: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """Grad-CAM maps (N, S, S) of the works for each of some choices of classes (N,)."""
        positions = self._all_at(numbers)
        batches = prepare(self._scored.pixels, positions, self._metadata, self._placement)
        cam = GradCAM(self._model, self._placement, images=len(positions), watcher=self._watcher)
        self._watcher.begin("explaining", len(positions))
        found: list[list[Tensor]] = [[] for _ in classes]
        for here, x, _ in with_progress(batches.evaluation(), self._watcher):
            there = cam.run(x[: len(here)])
            for maps, chosen in zip(found, classes, strict=True):
                maps.append(there.maps(torch.from_numpy(chosen[here])))
        self.layer, self.positions = cam.layer, cam.positions or (0, 0)
        return [torch.cat(maps).numpy() for maps in found]

    def neighbours(self, numbers: NDArray[np.int64]) -> tuple[list[list[tuple[int, float]]], int]:
        """Find for each work the nearest training images of its predicted class, and among how many they were searched.

        Raises:
            DataError: the training images are gone.
        """
        if self._record["data"]["source"] != self._predictions.origin.source:
            self._training = self._opened(self._record["data"]["source"])
        predicted = self._predictions.predicted[numbers].tolist()
        candidates = self._candidates(sorted(set(predicted)))
        works = self._features(self._scored, self._all_at(numbers))
        others = {k: self._features(self._training, positions) for k, positions in candidates.items()}
        found = []
        for row, k in enumerate(predicted):
            distances = 1 - others[k] @ works[row]
            nearest = np.argsort(distances, kind="stable")[:NEIGHBOURS]
            found.append([(int(candidates[k][each]), float(distances[each])) for each in nearest])
        return found, sum(map(len, candidates.values()))

    def _candidates(self, classes: Sequence[int]) -> dict[int, NDArray[np.int64]]:
        """Positions of some training images of each class: those whose digests come first, as good as drawn."""
        training = self._training
        there = (from_csv_as_far_as_there(self._run.splits, training.images)[0] == "train") & training.usable
        numbers = match_classes(training.images.classes, self._metadata.classes).numbers
        labels = np.array(numbers, dtype=np.int64)[training.images.labels]
        most = min(CANDIDATES, CANDIDATES_IN_ALL // max(1, len(classes)))
        return {
            k: np.array(
                sorted(
                    np.flatnonzero(there & (labels == k)).tolist(),
                    key=lambda position: training.examined[position].digest,
                )[:most],
                dtype=np.int64,
            )
            for k in classes
        }

    def _features(self, decoded: Decoded, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Input of the classifier for each image, of length 1, shape (N, D)."""
        if not len(positions):
            return np.empty((0, self._model.fc.in_features), dtype=np.float32)
        batches = prepare(decoded.pixels, positions, self._metadata, self._placement)
        network = optimize_for_inference(_Trunk(self._model), self._placement, len(positions), watcher=self._watcher)
        self._watcher.begin("seeking similar training images", len(positions))
        features = logits(network, with_progress(batches.evaluation(), self._watcher), self._placement)
        found: NDArray[np.float32] = nn.functional.normalize(features, dim=1).numpy()
        return found

    def side(self, numbers: NDArray[np.int64], each: int) -> int:
        """Side of the pictures in pixels, as large as the budget and the originals allow."""
        works = [self._scored.examined[position] for position in self._all_at(numbers).tolist()]
        largest = max(max(work.width, work.height) for work in works)
        affordable = isqrt(int(BUDGET / TYPICAL / (each * len(works))))
        return int(max(1, min(SIDE, largest, affordable)))

    def pictures(self, numbers: NDArray[np.int64], side: int) -> NDArray[np.uint8]:
        """The works larger than the network gets them, shape (N, side, side, C)."""
        return self._decoded(self._scored, self._all_at(numbers), side)

    def training_pictures(self, positions: Sequence[int], side: int) -> NDArray[np.uint8]:
        """Shape (number of positions, side, side, C)."""
        return self._decoded(self._training, positions, side)

    def _decoded(self, decoded: Decoded, positions: Sequence[int] | NDArray[np.int64], side: int) -> NDArray[np.uint8]:
        return gathered(DecodedPixels(decoded.images, form_of(self._metadata).at(side)), positions)

    def picture(self, number: int, webp: bytes) -> GalleryPicture:
        return self._as_picture(self._scored, self._at(number), webp)

    def as_training(self, position: int, webp: bytes) -> GalleryPicture:
        return self._as_picture(self._training, position, webp)

    def _as_picture(self, decoded: Decoded, position: int, webp: bytes) -> GalleryPicture:
        examined = decoded.examined[position]
        shape = (examined.width, examined.height) if self._metadata.fit == "squash" else (1, 1)
        return GalleryPicture(decoded.images.paths[position], *shape, webp)

    def map(self, network: int, number: int, k: int, webp: bytes) -> Map:
        each = self._predictions
        return Map(each.classes[k], network, float(each.probabilities[number, k]), webp)


class _Trunk(nn.Module):
    """A network without its classifier: (N, C, H, W) to (N, D)."""

    def __init__(self, model: ResNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.model.avgpool(self.model.features(x)), 1)


def _overlay(picture: NDArray[np.uint8], values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The map of shape (S, S) over a picture of another side."""
    resized = Image.fromarray(values).resize(picture.shape[:2], Image.Resampling.BILINEAR)
    return overlay(picture, np.clip(np.asarray(resized), 0, 1))


def as_files(squares: Sequence[NDArray[np.uint8]]) -> tuple[list[bytes], int]:
    """WebP files that keep within the budget, and their side: where they would not, all are made smaller."""
    side = len(squares[0])
    while True:
        files = list(_files(squares, side))
        total = sum(map(len, files))
        if total <= BUDGET or side == 1:
            return files, side
        side = max(1, int(0.95 * side * (BUDGET / total) ** 0.5))


def _files(squares: Sequence[NDArray[np.uint8]], side: int) -> Iterator[bytes]:
    for square in squares:
        image = Image.fromarray(square.squeeze(-1) if square.shape[-1] == 1 else square).convert("RGB")
        if side < len(square):
            image = image.resize((side, side), Image.Resampling.LANCZOS)
        content = io.BytesIO()
        image.save(content, format="WEBP", quality=QUALITY)
        yield content.getvalue()
