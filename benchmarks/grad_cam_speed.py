"""Grad-CAM beside pytorch-grad-cam's: `python benchmarks/grad_cam_speed.py out.json [rounds] [--device DEVICE]`.

ResNet-50 at 224 pixels, last stage, batches of 8: maps of one class, and of two classes for the same images. Theirs in
float32, as it comes and in channels-last (it fails on the bf16 outputs of autocast); ours in float32 and bf16. The arms
take turns in one process, every other round in reverse; the figure is the median over the rounds of the ratio of their
time to ours. The drawing of a figure for the command line is timed too.
"""

import json
import platform
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np
import torch
from devices import device_of, seconds_of
from pytorch_grad_cam import GradCAM as Theirs
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

import resnet_lab
from resnet_lab.device import Placement, choose
from resnet_lab.evaluation.explanation import ClassMap, Explanation, GradCAM, draw

BATCH, SIZE = 8, 224
Arm = Callable[[Tensor], list[Tensor]]


def main(out: str, rounds: int = 7, device: str = "cpu") -> None:
    """Measure everything and write it as JSON."""
    content: dict[str, Any] = {
        "setting": {
            "network": "resnet50", "layer": "layer4", "size": SIZE, "batch": BATCH, "rounds": rounds,
            "threads": torch.get_num_threads(), "device": choose(device).name,
            "processor": torch.cpu.get_capabilities().get("cpu_name", platform.machine()),
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "captum", "grad-cam")},
        }
    }  # fmt: skip
    content |= dict(comparisons(device, rounds))
    content["seconds a figure"] = figure_seconds(rounds)
    Path(out).write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content, indent=1))


def comparisons(
    device: str, rounds: int, network: str = "resnet50", size: int = SIZE
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Times of ours and theirs, and how far their maps agree, for one class and for two."""
    torch.manual_seed(0)
    exact = choose(device, "fp32", "off")
    model = resnet_lab.build(network).eval()
    x, one = torch.randn(BATCH, 3, size, size).to(exact.device), torch.arange(BATCH)
    for what, classes in {"one class": [one], "two classes": [one, one + BATCH]}.items():
        arms = {
            "ours fp32": ours(model, exact, classes),
            "ours bf16": ours(model, choose(device, "bf16", "off"), classes),
            "theirs": theirs(model, torch.contiguous_format, exact, classes),
            "theirs channels-last": theirs(model, torch.channels_last, exact, classes),
        }
        yield what, {"correlation": least_correlation(arms, x), **measured(arms, x, rounds)}


def ours(model: nn.Module, placement: Placement, classes: list[Tensor]) -> Arm:
    cam = GradCAM(model, placement)

    def maps(x: Tensor) -> list[Tensor]:
        seen = cam.run(x)
        return [seen.maps(each) for each in classes]

    return maps


def theirs(model: nn.Module, layout: torch.memory_format, placement: Placement, classes: list[Tensor]) -> Arm:
    copied = deepcopy(model).to(placement.device, memory_format=layout)
    cam = Theirs(copied, [copied.layer4])

    def maps(x: Tensor) -> list[Tensor]:
        x = x.contiguous(memory_format=layout)
        with placement.products():
            return [torch.from_numpy(cam(x, [ClassifierOutputTarget(k) for k in each.tolist()])) for each in classes]

    return maps


def least_correlation(arms: dict[str, Arm], x: Tensor) -> dict[str, float]:
    """Least correlation of an image's map with theirs, over all images and classes."""
    reference = torch.cat(arms["theirs"](x)).flatten(1).double().numpy()
    return {
        name: min(
            float(np.corrcoef(mine, theirs)[0, 1])
            for mine, theirs in zip(torch.cat(arm(x)).flatten(1).double().numpy(), reference, strict=True)
            if theirs.any()
        )
        for name, arm in arms.items()
    }


def measured(arms: dict[str, Arm], x: Tensor, rounds: int) -> dict[str, Any]:
    """Seconds per batch of each arm in each round, images per second, and speed-ups of ours."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds):
        for name in arms if number % 2 == 0 else reversed(arms):
            seconds[name].append(seconds_of(partial(arms[name], x), x.device))
    return {
        "images a second": {name: spread([BATCH / each for each in taken]) for name, taken in seconds.items()},
        "ratios": {
            f"{mine} over {other}": spread([b / a for a, b in zip(seconds[mine], seconds[other], strict=True)])
            for mine in ("ours fp32", "ours bf16")
            for other in ("theirs", "theirs channels-last")
        },
        "seconds a batch": seconds,
    }


def figure_seconds(rounds: int) -> dict[str, float]:
    """Seconds per PNG with the picture and one map."""
    generator = np.random.default_rng(0)
    picture = generator.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    one = ClassMap("predicted", "portrait", 0.9, np.linspace(0, 1, SIZE**2, dtype=np.float32).reshape(SIZE, SIZE))
    taken = []
    for _ in range(rounds + 1):
        explanation = Explanation(picture, "portrait", 0.9, (one,))
        taken.append(seconds_of(partial(draw, explanation, "painting.jpg", "layer4"), torch.device("cpu")))
    return spread(taken[1:])


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, _, high = quantiles(values, n=4)
    return {"median": median(values), "low": low, "high": high, "n": len(values)}


if __name__ == "__main__":
    device, arguments = device_of(sys.argv[1:])
    main(arguments[0], int(arguments[1]) if len(arguments) > 1 else 7, device)
