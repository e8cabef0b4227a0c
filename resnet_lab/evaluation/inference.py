"""A weights file's network on decoded images. Legend: N images, K classes."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resnet_lab.core.errors import CheckpointError
from resnet_lab.core.watcher import Watcher
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.image_loader import image_loader
from resnet_lab.data.loader import Batch, Loader
from resnet_lab.data.order import Order, Subset
from resnet_lab.data.pixels import Pixels
from resnet_lab.device import Placement
from resnet_lab.evaluation.views import Views
from resnet_lab.network import checkpoint
from resnet_lab.network.checkpoint import Metadata
from resnet_lab.network.model import ResNet
from resnet_lab.network.plugins import Registry

BATCH_SIZE = 64
AS_IT_IS = Views()
LARGE = 512
"""Side in pixels from which on a batch has fewer images, and no more pixels."""


def load_for_images(path: Path, registry: Registry) -> tuple[Metadata, ResNet]:
    """A weights file and its network; raises `CheckpointError` also where the file names no classes or scaling."""
    metadata, tensors = checkpoint.read(path)
    if len(metadata.classes) != metadata.spec.head.num_classes or not metadata.mean:
        raise CheckpointError(
            f"{path}: the weights name no classes and normalisation, as those that `resnet-lab train` writes do; "
            "they cannot be used on images"
        )
    return metadata, checkpoint.restore(metadata, tensors, str(path), registry)


def image_format_of(metadata: Metadata) -> ImageFormat:
    """Image format of a network, as in training."""
    spec = metadata.spec
    return ImageFormat(spec.input_size, spec.in_channels, metadata.fit, depth=metadata.depth, resize=metadata.resize)


def batch_size_of(size: int) -> int:
    """Images at a time of so many pixels per side."""
    return max(1, min(BATCH_SIZE, BATCH_SIZE * LARGE**2 // size**2))


def prepare(
    pixels: Pixels,
    positions: NDArray[np.int64],
    metadata: Metadata,
    placement: Placement,
    labels: NDArray[np.int64] | None = None,
) -> Loader:
    """Images at `positions`, scaled as the network was trained on them; all of label 0 where none are given."""
    labels = np.zeros(len(positions), dtype=np.int64) if labels is None else labels
    order = Order(Subset(positions, labels, len(metadata.classes)), batch_size_of(metadata.spec.input_size))
    return image_loader(pixels, order, metadata.mean, metadata.std, placement)


@torch.inference_mode()
def logits(model: nn.Module, batches: Iterable[Batch], placement: Placement) -> Tensor:
    """Outputs of the network in evaluation mode for all batches: float32 on the CPU, shape (N, K)."""
    was_training = model.training
    model.eval()
    with placement.autocast():
        outputs = [model(x)[: len(indices)] for indices, x, _ in batches]
    model.train(was_training)
    return torch.cat(outputs).float().cpu()


def probabilities_of(
    network: nn.Module, batches: Iterable[Batch], placement: Placement, where: str, views: Views = AS_IT_IS
) -> NDArray[np.float32]:
    """Softmax of the network's outputs, shape (N, K), its mean over views where there are several.

    Raises:
        CheckpointError: outputs are not numbers.
    """
    return as_probabilities(outputs_in_views(network, batches, placement, views), where)


def outputs_in_views(
    network: nn.Module, batches: Iterable[Batch], placement: Placement, views: Views = AS_IT_IS
) -> Tensor:
    """Outputs of the network for all batches in each view, the first the image as it is: shape (V, N, K)."""
    return torch.cat([_in_views(network, batch, placement, views) for batch in batches], dim=1)


def as_probabilities(outputs: Tensor, where: str) -> NDArray[np.float32]:
    """Mean over views of the softmax of logits (V, N, K), shape (N, K).

    Raises:
        CheckpointError: outputs are not numbers.
    """
    if not outputs.isfinite().all():
        raise CheckpointError(
            f"{where}: the network's outputs are non-finite; with fp16, try --precision fp32, "
            "otherwise train it again with a lower learning rate"
        )
    found: NDArray[np.float32] = outputs.softmax(2).mean(0).numpy()
    return found


def _in_views(network: nn.Module, batch: Batch, placement: Placement, views: Views) -> Tensor:
    """Outputs (V, N, K) for a batch in each view."""
    shown = (batch._replace(x=views.shown(batch.x, number)) for number in range(views.number))
    return torch.stack([logits(network, [each], placement) for each in shown])


def with_progress(batches: Iterable[Batch], watcher: Watcher) -> Iterator[Batch]:
    """The batches; each advances the watcher when the next is asked for."""
    for batch in batches:
        yield batch
        for _ in batch.indices:
            watcher.advance()
