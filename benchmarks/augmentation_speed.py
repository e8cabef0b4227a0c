"""Time an image of our RandAugment, TrivialAugment and random erasing beside torchvision's, on noise.

Ours take a batch, torchvision's its images one by one, as in a data set; both in one thread of the CPU. They take
turns, and a figure is the median over the rounds with its quartiles.

usage: python benchmarks/augmentation_speed.py [ROUNDS]
"""

import json
import platform
import sys
from collections.abc import Callable
from statistics import median, quantiles
from time import perf_counter

import numpy as np
import torch
import torchvision
from torch import Tensor
from torchvision.transforms import v2

from resnet_lab.data.augmentations import parse_augmentations
from resnet_lab.data.draws import Draws

SIZE, BATCH = 224, 32
PAIRS = {
    "randaugment": v2.RandAugment(),
    "trivialaugment": v2.TrivialAugmentWide(),
    "erase(p=1)": v2.RandomErasing(p=1.0),
}


def main(rounds: int = 15) -> None:
    """Print JSON: milliseconds per image of each, and the ratio of neighbouring rounds, ours by torchvision's."""
    torch.set_num_threads(1)
    pixels = torch.randint(
        0, 256, (BATCH, SIZE, SIZE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    batch, content = pixels.permute(0, 3, 1, 2), {}
    for text, transform in PAIRS.items():
        (ours,) = parse_augmentations([text]).pixel
        images = [image.contiguous() for image in batch]  # as torchvision decodes them
        times: dict[str, list[float]] = {"ours": [], "torchvision": []}
        for number in range(rounds + 1):
            draws, fresh = Draws(number, 1, np.arange(BATCH)), batch.clone()
            times["ours"].append(timed(lambda ours=ours, fresh=fresh, draws=draws: ours(fresh, draws)))
            times["torchvision"].append(timed(lambda images=images, it=transform: [it(image) for image in images]))
        measured = {name: values[1:] for name, values in times.items()}  # the first warms up
        ratios = [one / other for one, other in zip(*measured.values(), strict=True)]
        content[text] = {name: spread(values) for name, values in {**measured, "ratio": ratios}.items()}
    setting = {
        "size": SIZE, "batch": BATCH, "rounds": rounds, "threads": 1, "torch": torch.__version__,
        "torchvision": torchvision.__version__, "python": platform.python_version(),
        "processor": torch.cpu.get_capabilities().get("cpu_name", platform.machine()),
    }  # fmt: skip
    print(json.dumps({"setting": setting, **content}, indent=1))


def timed(work: Callable[[], "Tensor | list[Tensor]"]) -> float:
    """Milliseconds per image."""
    start = perf_counter()
    work()
    return 1000 * (perf_counter() - start) / BATCH


def spread(values: list[float]) -> dict[str, float]:
    first, _, third = quantiles(values, n=4)
    return {"median": median(values), "first quartile": first, "third quartile": third}


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
