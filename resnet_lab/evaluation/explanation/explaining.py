"""Predictions for pictures, with their explanations. Legend: N images, S size, C channels."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet_lab.core.choices import MapMethod
from resnet_lab.core.errors import CheckpointError
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.data.image_files import ArrayPixels
from resnet_lab.device import Placement
from resnet_lab.evaluation.explanation.maps import Maps, Pass
from resnet_lab.evaluation.explanation.methods import EXPLAINABLE
from resnet_lab.evaluation.inference import image_format_of, prepare
from resnet_lab.network.checkpoint import Metadata
from resnet_lab.network.model import ResNet

Role = Literal["predicted", "true", "asked for"]
"""Why a class is explained."""


@dataclass(frozen=True)
class ClassMap:
    """Map of the evidence for a class in a picture.

    Attributes:
        name: of the class.
        values: shares of the map's maximum, float32 in [0, 1], shape (S, S).
    """

    role: Role
    name: str
    probability: float
    values: NDArray[np.float32]

    @property
    def peak(self) -> tuple[int, int] | None:
        """Row and column of the maximum, from 0; None for a map that is 0 everywhere."""
        if not self.values.any():
            return None
        row, column = divmod(int(self.values.argmax()), self.values.shape[1])
        return row, column


@dataclass(frozen=True)
class Explanation:
    """Explanation of one picture.

    Attributes:
        picture: as the network sees it, uint8, shape (S, S, C).
        predicted: the most probable class.
        maps: one, or two where the true class is known and another than the predicted one.
    """

    picture: NDArray[np.uint8]
    predicted: str
    probability: float
    maps: tuple[ClassMap, ...]


class Explainer:
    """Explains pictures by one method, as many at a time as the caller likes.

    Args:
        metadata, model: of a weights file, as `load_for_images` reads them.
        layer: of `grad-cam` and `hires-cam`, the last stage by default; the other methods take none.
        method: a key of `EXPLAINABLE`.
        images, watcher: as `MakeMaps` takes them.

    Attributes:
        maps: of the network by the method.

    Raises:
        ConfigError: the network has no such layer, or the method takes none.
    """

    maps: Maps

    def __init__(
        self,
        metadata: Metadata,
        model: ResNet,
        placement: Placement,
        layer: str | None = None,
        *,
        method: MapMethod = "grad-cam",
        images: int | None = None,
        watcher: Watcher = SILENT,
    ) -> None:
        self.metadata = metadata
        self._placement = placement
        self._make = partial(EXPLAINABLE[method], placement=placement, layer=layer, images=images, watcher=watcher)
        self.maps = self._make(model)

    def of_network(self, model: ResNet) -> "Explainer":
        """An explainer of another network of the same spec, otherwise as this one."""
        other = copy(self)
        other.maps = self._make(model)
        return other

    def explain(
        self,
        pictures: NDArray[np.uint8],
        truth: Sequence[int] | None = None,
        wanted: int | Sequence[int] | None = None,
    ) -> list[Explanation]:
        """Explain the predicted class of each picture, and the true one where that is another.

        Args:
            pictures: decoded in the network's image format, shape (N, S, S, C).
            truth: number of each picture's true class.
            wanted: number of a class to explain in place of these, of all pictures or of each.

        Raises:
            CheckpointError: the network's outputs are not numbers.
            ConfigError: the layer's output is not a map, or it has none.
        """
        pixels = ArrayPixels(pictures, image_format_of(self.metadata))
        batches = prepare(pixels, np.arange(len(pictures)), self.metadata, self._placement)
        asked_for = None if wanted is None else np.broadcast_to(wanted, len(pictures)).tolist()
        found: list[Explanation] = []
        for chosen, x, _ in batches.evaluation():
            labels, classes = (
                None if each is None else torch.tensor([each[number] for number in chosen.tolist()])
                for each in (truth, asked_for)
            )
            found += self._explained(pictures[chosen], x[: len(chosen)], labels, classes)
        return found

    def _explained(
        self, pictures: NDArray[np.uint8], x: Tensor, truth: Tensor | None, wanted: Tensor | None
    ) -> list[Explanation]:
        there = self.maps.run(x)
        if not there.logits.isfinite().all():
            raise CheckpointError(
                "the network's outputs are non-finite; with fp16, try --precision fp32, otherwise train "
                "it again with a lower learning rate"
            )
        probabilities = there.logits.softmax(1)
        best = probabilities.argmax(1)
        if wanted is not None:
            classes: dict[Role, Tensor] = {"asked for": wanted}
        else:
            classes = {"predicted": best} if truth is None else {"predicted": best, "true": truth}
        maps = [self._maps(role, there, probabilities, chosen) for role, chosen in classes.items()]
        return [
            Explanation(picture, self.metadata.classes[k], float(row[k]), _different(found))
            for picture, k, row, *found in zip(pictures, best.tolist(), probabilities, *maps, strict=True)
        ]

    def _maps(self, role: Role, there: Pass, probabilities: Tensor, classes: Tensor) -> list[ClassMap]:
        values = there.maps(classes).numpy()
        shares = probabilities.gather(1, classes.unsqueeze(1))[:, 0].tolist()
        names = [self.metadata.classes[k] for k in classes.tolist()]
        return [ClassMap(role, *each) for each in zip(names, shares, values, strict=True)]


def _different(maps: Sequence[ClassMap]) -> tuple[ClassMap, ...]:
    """The first map of each class."""
    first: dict[str, ClassMap] = {}
    for each in maps:
        first.setdefault(each.name, each)
    return tuple(first.values())
