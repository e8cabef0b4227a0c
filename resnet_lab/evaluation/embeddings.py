"""Embeddings of images: the pooled output of the last stage, which is the classifier's input.

Legend: N images, C channels, H W pixels, K classes, D features.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resnet_lab.data.preparation import Decoded
from resnet_lab.device import Placement, optimize_for_inference
from resnet_lab.evaluation.inference import logits, prepare, with_progress
from resnet_lab.evaluation.opened_run import OpenedRun
from resnet_lab.network.model import ResNet


class Embedding(nn.Module):
    """A network without its classifier: (N, C, H, W) to (N, D)."""

    def __init__(self, model: ResNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.model.avgpool(self.model.features(x)), 1)


class LogitsAndEmbedding(nn.Module):
    """Both of one forward pass, side by side: (N, C, H, W) to (N, K + D)."""

    def __init__(self, model: ResNet) -> None:
        super().__init__()
        self.embedding, self.fc = Embedding(model), model.fc

    def forward(self, x: Tensor) -> Tensor:
        embedding = self.embedding(x)
        return torch.cat([self.fc(embedding), embedding], 1)


def embeddings(
    opened: OpenedRun, placement: Placement, decoded: Decoded, positions: NDArray[np.int64], what: str
) -> Iterator[NDArray[np.float32]]:
    """Embeddings of the images at `positions`, a batch at a time, shape (number, D).

    Args:
        what: is done, for the watcher, which is notified of each image.
    """
    (metadata, model), watcher = opened.network, opened.sources.watcher
    if not len(positions):
        return
    batches = prepare(decoded.pixels, positions, metadata, placement)
    network = optimize_for_inference(Embedding(model), placement, len(positions), watcher=watcher)
    watcher.begin(what, len(positions))
    for batch in with_progress(batches.evaluation(), watcher):
        yield logits(network, [batch], placement).numpy()


def unit_length(found: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same directions at length 1, so that squared distances are twice the cosine distances, shape (N, D)."""
    normalised: NDArray[np.float32] = nn.functional.normalize(torch.from_numpy(found), dim=1).numpy()
    return normalised
