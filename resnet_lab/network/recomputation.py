"""Activation checkpointing: a block's activations are computed again in the backward pass instead of being kept.

Chen et al. 2016, arXiv:1604.06174, a segment per block. Gradients, running statistics and random numbers are the same,
bit for bit.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from resnet_lab.network.model import ResNet, Stage


class RecomputedStage(Stage):
    """A stage that keeps the inputs of its blocks alone in training."""

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and torch.is_grad_enabled()):
            return cast(Tensor, super().forward(input))  # type: ignore[no-untyped-call]
        for block in self:
            input = _recomputed(block, input)
        return input


def recompute_activations(model: ResNet) -> None:
    """Have all stages keep the inputs of their blocks alone; names and values of tensors stay as they are."""
    for name in model.stage_names:
        model.set_submodule(name, RecomputedStage(*model.get_submodule(name).children()))


def _recomputed(block: nn.Module, x: Tensor) -> Tensor:
    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _buffers_kept(block)

    out: Tensor = checkpoint(block, x, use_reentrant=False, context_fn=contexts)
    return out


@contextmanager
def _buffers_kept(block: nn.Module) -> Iterator[None]:
    """Leave the block's buffers as they are: the first pass has updated running statistics."""
    buffers = list(block.buffers())
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in zip(buffers, before, strict=True):
            buffer.data.copy_(value)  # not seen by autograd, which may have kept the buffer for this backward pass
