"""Our ResNet-50 against torchvision's, eager, on the device at hand: `pytest benchmarks/test_eager.py`.

The arms take turns in one process, in the order A B B A, on the same weights; the figure is the median of the ratios
of neighbours.
"""

from collections.abc import Callable
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

import resnet_lab

ROUNDS, BATCH = 32, 4
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def forward(model: nn.Module, x: torch.Tensor) -> None:
    with torch.inference_mode():
        model(x)


def forward_and_backward(model: nn.Module, x: torch.Tensor) -> None:
    model(x).square().mean().backward()
    model.zero_grad(set_to_none=True)


def seconds(step: Callable[[nn.Module, torch.Tensor], None], model: nn.Module, x: torch.Tensor) -> float:
    start = perf_counter()
    step(model, x)
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - start


@pytest.mark.parametrize("step", [forward, forward_and_backward])
def test_resnet50_is_as_fast_as_torchvision_s(benchmark: Any, step: Callable[[nn.Module, torch.Tensor], None]) -> None:
    theirs = torchvision.models.resnet50().to(DEVICE)
    ours = resnet_lab.build("resnet50").to(DEVICE)
    ours.load_state_dict(theirs.state_dict())
    for model in (ours, theirs):
        model.train(step is forward_and_backward)
    x = torch.randn(BATCH, 3, 224, 224, device=DEVICE)
    for model in (ours, theirs):
        seconds(step, model, x)

    pairs: list[tuple[float, float]] = []

    def two_rounds() -> None:
        a, b = seconds(step, ours, x), seconds(step, theirs, x)
        b_again, a_again = seconds(step, theirs, x), seconds(step, ours, x)
        pairs.extend([(a, b), (a_again, b_again)])

    benchmark.pedantic(two_rounds, rounds=ROUNDS // 2, iterations=1)
    ratios = [a / b for a, b in pairs]
    low, _, high = quantiles(ratios, n=4)
    benchmark.extra_info.update(
        device=torch.cuda.get_device_name() if DEVICE.type == "cuda" else "cpu",
        threads=torch.get_num_threads(),
        dtype="float32",
        layout="channels first",
        batch=BATCH,
        torch=torch.__version__,
        torchvision=torchvision.__version__,
        ours_seconds=[a for a, _ in pairs],
        torchvision_seconds=[b for _, b in pairs],
        ratio_median=median(ratios),
        ratio_quartiles=[low, high],
    )
    print(f"\n{step.__name__}: ours / torchvision = {median(ratios):.3f} [{low:.3f}, {high:.3f}], n = {len(ratios)}")
    assert median(ratios) < 1.02
