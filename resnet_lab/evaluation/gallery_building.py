"""Galleries of networks' mistakes, built from weights and images. Legend: N works, S size, C channels."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resnet_lab.core.choices import MapMethod
from resnet_lab.core.errors import DataError
from resnet_lab.data.pixels import DecodedPixels, gathered
from resnet_lab.data.preparation import Decoded
from resnet_lab.device import Placement
from resnet_lab.evaluation.explanation import EXPLAINABLE, overlay
from resnet_lab.evaluation.gallery import Gallery, GalleryPicture, GalleryWork, Map, Neighbour
from resnet_lab.evaluation.inference import image_format_of, prepare, with_progress
from resnet_lab.evaluation.neighbours import NEIGHBOURS, Nearest, nearest_training_images
from resnet_lab.evaluation.opened_run import OpenedRun
from resnet_lab.evaluation.picture_files import affordable_side, as_files
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.evaluation.scored_images import ScoredImages

SIDE = 320
"""Largest side of a picture, in pixels."""


def mistakes(predictions: Predictions, most: int) -> NDArray[np.int64]:
    """Numbers of the images that are wrong, most confident first."""
    wrong = np.flatnonzero(predictions.predicted != predictions.labels)
    return wrong[np.argsort(-predictions.confidences[wrong], kind="stable")][:most]


def build_gallery(
    opened: OpenedRun,
    predictions: Predictions,
    numbers: NDArray[np.int64],
    placement: Placement,
    method: MapMethod = "grad-cam",
) -> Gallery:
    """Works with maps of their predicted and their true class, and the training images they were taken for.

    Args:
        predictions: of the run.
        numbers: of the works among them, at least one, shape (N,).
        method: of the maps, a key of `EXPLAINABLE`.

    Raises:
        CheckpointError: no usable weights.
        DataError: the scored images are gone, or not what they were.
    """
    viewer = _Viewer(opened, predictions, placement, method)
    classes = [predictions.predicted[numbers], predictions.labels[numbers]]
    maps = viewer.maps(numbers, classes)
    try:
        nearest, cause = viewer.nearest(numbers), ""
    except DataError as error:
        nearest, cause = Nearest(tuple(() for _ in numbers), 0), str(error)
    side = viewer.side(numbers, 1 + len(classes) + NEIGHBOURS)
    neighbours = [position for each in nearest.of_works for position, _ in each]
    near = iter(viewer.training_pictures(neighbours, side) if neighbours else ())
    squares: list[NDArray[np.uint8]] = []
    for picture, both, others in zip(
        viewer.pictures(numbers, side), zip(*maps, strict=True), nearest.of_works, strict=True
    ):
        squares += [picture, *(_overlay(picture, values) for values in both), *(next(near) for _ in others)]
    encoded, side = as_files(squares)
    files = iter(encoded)
    works = [
        GalleryWork(
            number,
            viewer.picture(number, next(files)),
            tuple(viewer.map(0, number, int(k[row]), next(files)) for k in classes),
            tuple(Neighbour(viewer.as_training(position, next(files)), far) for position, far in nearest.of_works[row]),
        )
        for row, number in enumerate(numbers.tolist())
    ]
    return Gallery(tuple(works), side, method, (viewer.layer,), (viewer.positions,), nearest.candidates, cause)


def contrast(
    opened: Sequence[OpenedRun],
    predictions: Sequence[Predictions],
    numbers: NDArray[np.int64],
    placement: Placement,
    method: MapMethod = "grad-cam",
) -> Gallery:
    """Works with a map from each network, of the class that it takes the work for; raises like `build_gallery`.

    Args:
        predictions: of each run, of the same images in the same order.
        numbers: of the works among them, shape (N,).
        method: of the maps, a key of `EXPLAINABLE`.
    """
    viewers = [_Viewer(run, each, placement, method) for run, each in zip(opened, predictions, strict=True)]
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
    layers, positions = zip(*((each.layer, each.positions) for each in viewers), strict=True)
    return Gallery(tuple(works), side, method, layers, positions)


class _Viewer:
    """A run's network with the images that it was scored on."""

    def __init__(self, opened: OpenedRun, predictions: Predictions, placement: Placement, method: MapMethod) -> None:
        self._method = method
        self._opened, self._predictions, self._placement = opened, predictions, placement
        self._metadata, self._model = opened.network
        self._watcher = opened.sources.watcher
        self._scored = opened.decoded(predictions.origin.source)
        self._images = ScoredImages(predictions, self._scored)
        self.layer = ""
        self.positions = (0, 0)

    @property
    def _training(self) -> Decoded:
        """The run's own source; raises `DataError` where it is gone."""
        return self._opened.decoded(self._opened.record["data"]["source"])

    def maps(self, numbers: NDArray[np.int64], classes: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """Maps (N, S, S) of the works for each of some choices of classes (N,)."""
        positions = self._images.positions(numbers)
        batches = prepare(self._scored.pixels, positions, self._metadata, self._placement)
        make = EXPLAINABLE[self._method]
        explained = make(self._model, self._placement, images=len(positions), watcher=self._watcher)
        self._watcher.begin("explaining", len(positions))
        found: list[list[Tensor]] = [[] for _ in classes]
        for here, x, _ in with_progress(batches.evaluation(), self._watcher):
            there = explained.run(x[: len(here)])
            for maps, chosen in zip(found, classes, strict=True):
                maps.append(there.maps(torch.from_numpy(chosen[here])))
        self.layer, self.positions = explained.layer, explained.positions or (0, 0)
        return [torch.cat(maps).numpy() for maps in found]

    def nearest(self, numbers: NDArray[np.int64]) -> Nearest:
        """The training images nearest to each work; raises `DataError` where they are gone."""
        positions, predicted = self._images.positions(numbers), self._predictions.predicted[numbers]
        return nearest_training_images(
            self._opened, self._placement, self._training, self._scored, positions, predicted
        )

    def side(self, numbers: NDArray[np.int64], each: int) -> int:
        """Side of the pictures in pixels, as large as the budget and the originals allow."""
        works = [self._scored.examined[position] for position in self._images.positions(numbers).tolist()]
        largest = max(max(work.width, work.height) for work in works)
        return int(min(SIDE, largest, affordable_side(each * len(works))))

    def pictures(self, numbers: NDArray[np.int64], side: int) -> NDArray[np.uint8]:
        """The works larger than the network gets them, shape (N, side, side, C)."""
        return self._decoded(self._scored, self._images.positions(numbers), side)

    def training_pictures(self, positions: Sequence[int], side: int) -> NDArray[np.uint8]:
        """Shape (number of positions, side, side, C)."""
        return self._decoded(self._training, positions, side)

    def _decoded(self, decoded: Decoded, positions: Sequence[int] | NDArray[np.int64], side: int) -> NDArray[np.uint8]:
        return gathered(DecodedPixels(decoded.images, image_format_of(self._metadata).at(side)), positions)

    def picture(self, number: int, webp: bytes) -> GalleryPicture:
        return self._as_picture(self._scored, self._images.position(number), webp)

    def as_training(self, position: int, webp: bytes) -> GalleryPicture:
        return self._as_picture(self._training, position, webp)

    def _as_picture(self, decoded: Decoded, position: int, webp: bytes) -> GalleryPicture:
        examined = decoded.examined[position]
        shape = (examined.width, examined.height) if self._metadata.fit == "squash" else (1, 1)
        return GalleryPicture(decoded.images.paths[position], *shape, webp)

    def map(self, network: int, number: int, k: int, webp: bytes) -> Map:
        each = self._predictions
        return Map(each.classes[k], network, float(each.probabilities[number, k]), webp)


def _overlay(picture: NDArray[np.uint8], values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The map of shape (S, S) over a picture of another side."""
    resized = Image.fromarray(values).resize(picture.shape[:2], Image.Resampling.BILINEAR)
    return overlay(picture, np.clip(np.asarray(resized), 0, 1))
