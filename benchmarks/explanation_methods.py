"""Cost and sanity check of the methods of `explain`, on trained networks.

usage: python benchmarks/explanation_methods.py sanity|cost IMAGES NUMBER OUT.json WEIGHTS...

IMAGES is a folder of a folder for each class, of which the first NUMBER images each are taken; WEIGHTS are run folders,
weights files, or resnet20-*.th to resnet56-*.th of pytorch_resnet_cifar10, whose classes are the folders.

`sanity` gives rank correlations of maps of each image's predicted class: of the trained network with each of some of
random weights, and of two of random weights, which have learnt nothing. `cost` takes the methods in turns, every other
round in reverse, with and without the check: processor seconds per image, which other processes hardly lengthen, and
their ratio to Grad-CAM's.
"""

import json
import platform
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from statistics import fmean, median, quantiles
from time import process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_lab.core.run_folder import weights_of
from resnet_lab.data.image_files import decoded
from resnet_lab.device import Placement, choose
from resnet_lab.evaluation.explanation import EXPLAINABLE, Explainer, Explanation, SanityCheck, rank_correlation
from resnet_lab.evaluation.explanation.sanity import SEED
from resnet_lab.evaluation.inference import image_format_of, load_for_images
from resnet_lab.network import zoo
from resnet_lab.network.builder import assemble, build
from resnet_lab.network.checkpoint import Metadata
from resnet_lab.network.model import ResNet
from resnet_lab.network.plugins import default_registry
from resnet_lab.network.weights import load_weights, open_weights

ROUNDS = 3
SEEDS = (SEED, 1, 2, 3)
"""Of random weights; the first is the check's own."""


def main(what: str, source: str, number: str, out: str, *weights: str) -> None:
    """Measure and write JSON."""
    folders = sorted(path for path in Path(source).iterdir() if path.is_dir())
    files = [file for folder in folders for file in sorted(folder.iterdir())[: int(number)]]
    placement = choose("cpu", "fp32", "off")
    measure = {"sanity": correlations, "cost": costs}[what]
    networks = []
    for path in weights:
        metadata, model = opened(path, tuple(folder.name for folder in folders))
        (piece,) = decoded(files, image_format_of(metadata))
        spec = metadata.spec
        row = {"weights": Path(path).name, "network": spec.name, "size": spec.input_size, "images": len(files)}
        networks.append(row | measure(metadata, model, placement, piece.pixels))
        print(json.dumps(networks[-1]), flush=True)
    content = {
        "networks": networks,
        "device": placement.record(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in ("torch", "captum")},
    }
    Path(out).write_text(json.dumps(content, indent=1) + "\n")


def opened(path: str, classes: tuple[str, ...]) -> tuple[Metadata, ResNet]:
    """Metadata and network of a run, a weights file or a public pickle."""
    if not path.endswith(".th"):
        return load_for_images(weights_of(Path(path)), default_registry())
    spec = zoo.get(Path(path).name.split("-")[0])
    model = build(spec)
    coverage = load_weights(model, spec, open_weights(path, spec))
    return Metadata(spec=spec, classes=classes, mean=coverage.mean or (), std=coverage.std or ()), model.eval()


def correlations(
    metadata: Metadata, model: ResNet, placement: Placement, pictures: NDArray[np.uint8]
) -> dict[str, dict[str, Any]]:
    """Rank correlations of each method's maps, (pairs of networks, images)."""
    found: dict[str, dict[str, Any]] = {}
    for method in EXPLAINABLE:
        explainer = Explainer(metadata, model, placement, method=method)
        explained = explainer.explain(pictures)
        classes = [metadata.classes.index(each.predicted) for each in explained]
        untrained = []
        for seed in SEEDS:
            other = assemble(metadata.spec, default_registry(), seed=seed).model.eval()
            untrained.append(explainer.of_network(other).explain(pictures, wanted=classes))
        found[method] = {
            "trained": summary([pairwise(explained, each) for each in untrained]),
            "untrained": summary([pairwise(*pair) for pair in combinations(untrained, 2)]),
        }
    return found


def pairwise(some: Sequence[Explanation], others: Sequence[Explanation]) -> list[float | None]:
    """Rank correlation of the maps of each picture."""
    return [rank_correlation(one.maps[0].values, two.maps[0].values) for one, two in zip(some, others, strict=True)]


def summary(pairs: list[list[float | None]]) -> dict[str, Any]:
    """Mean over the images for each pair of networks, and quartiles and the largest of single images."""
    known = [[each for each in pair if each is not None] for pair in pairs]
    single = [each for pair in known for each in pair]
    low, middle, high = quantiles(single, n=4)
    return {
        "means": [fmean(pair) for pair in known], "n": len(single), "low": low, "median": middle, "high": high,
        "largest": max(single), "values": pairs,
    }  # fmt: skip


def costs(
    metadata: Metadata, model: ResNet, placement: Placement, pictures: NDArray[np.uint8]
) -> dict[str, dict[str, Any]]:
    """Processor seconds of each method, with and without the check."""
    arms: dict[str, Callable[[], object]] = {}
    for method in EXPLAINABLE:
        explainer = Explainer(metadata, model, placement, method=method)
        check = SanityCheck(explainer, default_registry())
        arms[method] = partial(explainer.explain, pictures)
        arms[f"{method}, checked"] = partial(explain_and_check, explainer, check, pictures)
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(ROUNDS + 1):
        for name in arms if number % 2 == 0 else reversed(arms):
            start = process_time()
            arms[name]()
            seconds[name].append((process_time() - start) / len(pictures))
    kept = {name: taken[1:] for name, taken in seconds.items()}  # the first round warms up
    return {
        name: {
            "seconds per image": spread(taken),
            "over grad-cam": spread([a / b for a, b in zip(taken, kept["grad-cam"], strict=True)]),
        }
        for name, taken in kept.items()
    }


def explain_and_check(explainer: Explainer, check: SanityCheck, pictures: NDArray[np.uint8]) -> list[float | None]:
    return check.correlations(explainer.explain(pictures))


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, _, high = quantiles(values, n=4)
    return {"median": median(values), "low": low, "high": high, "n": len(values)}


if __name__ == "__main__":
    main(*sys.argv[1:])
