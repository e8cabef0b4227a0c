"""Training steps on noise that leave the network as it was. Legend: N batch, C channels, H W pixels."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn

from resnet_lab.device.placement import Placement, wait_for

LEAST_ROUNDS, MOST_ROUNDS, SECONDS = 2, 20, 4.0
"""Rounds of four steps in which two networks are compared: for so many seconds, within these bounds."""


@contextmanager
def untouched(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Restore buffers, mode and random generators afterwards, and leave no gradients."""
    training = model.training
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
        model.zero_grad(set_to_none=True)
        model.train(training)


def try_step(model: nn.Module, placement: Placement, shape: Sequence[int]) -> None:
    """Forward and backward pass on a batch of noise of this shape, such as (N, C, H, W); leaves the network alone."""
    with untouched(model, placement.device):
        model.train()
        seconds_of_step(model, placement, noise(placement, shape))


def noise(placement: Placement, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """A batch on the device, in its layout."""
    x = torch.randn(tuple(shape), dtype=dtype, device=placement.device, generator=torch.Generator(placement.device))
    return placement.layout(x) if x.ndim == 4 else x


def seconds_of_step(network: nn.Module, placement: Placement, x: Tensor) -> float:
    """Wall time of one forward and backward pass."""
    wait_for(placement.device)
    start = perf_counter()
    with placement.products():
        with placement.autocast():
            outputs = network(x)
        outputs.float().square().mean().backward()
    network.zero_grad(set_to_none=True)
    wait_for(placement.device)
    return perf_counter() - start


def compare(
    a: nn.Module,
    b: nn.Module,
    placement: Placement | tuple[Placement, Placement],
    x: Tensor,
    seconds: float | None = None,
) -> tuple[float, float]:
    """Median seconds of a step of each; they take turns (A B B A), so that what slows the machine slows both.

    Args:
        placement: of both, or of each.
        seconds: that it takes, about; `SECONDS` by default.
    """
    placements = placement if isinstance(placement, tuple) else (placement, placement)
    start, times = perf_counter(), (list[float](), list[float]())
    for number in range(MOST_ROUNDS):
        for arm in (0, 1, 1, 0):
            times[arm].append(seconds_of_step((a, b)[arm], placements[arm], x))
        if number + 1 >= LEAST_ROUNDS and perf_counter() - start > (SECONDS if seconds is None else seconds):
            break
    return median(times[0]), median(times[1])
