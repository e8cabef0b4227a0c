"""How often intervals and tests of one run's figures, and of differences of two runs or benches, hold, by simulation.

usage: python benchmarks/simulate_figures.py OUT.json [PARTS] [PROCESSES] [KIND ...]

The program's own functions judge every simulated test part. Beside them stand the methods that they replaced.

- macro: macro accuracy where classes have few images.
- figures: every figure of a run.
- paired: differences of two runs' accuracy and macro accuracy.
- size: false (and, where recall grows with size, true) findings of recall against class size.
- bench: what `bench diff` says of a true change.
- rounds: a ratio's interval and verdict where an arm's rounds end once it is narrow, and where all are run.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from resnet_lab.bench import results
from resnet_lab.bench.config import INTERVAL, ROUNDS
from resnet_lab.bench.statistics import FEWEST, Timing, is_narrow, timing
from resnet_lab.evaluation.metrics.abundance import abundance
from resnet_lab.evaluation.metrics.headline import LEVEL, FiguresOf, accelerated, headline, intervals, resampled
from resnet_lab.evaluation.metrics.proportions import (
    bonett_price,
    bonett_price_over_classes,
    effective_images,
    wilson,
    wilson_over_classes,
)

Floats = NDArray[np.float64]
Sizes = NDArray[np.int64]

UP_TO_3 = np.array([1, 2, 3] * 17)[:50]
LONG_TAIL = np.maximum(1, np.geomspace(100, 1, 20).astype(int))
MIXED = np.array([2, 3, 4] + [40] * 7)
ONE_SMALL = np.array([4] + [500] * 9)


def _by_size(sizes: Sizes, small: float, large: float) -> Floats:
    return np.where(sizes < 5, small, large)


MACRO: dict[str, tuple[Sizes, Floats]] = {
    "50 classes of 1 to 3, all 0.7": (UP_TO_3, np.full(50, 0.7)),
    "50 classes of 1 to 3, all 0.95": (UP_TO_3, np.full(50, 0.95)),
    "50 classes of 1 to 3, 0.3 to 1": (UP_TO_3, np.random.default_rng(0).permutation(np.linspace(0.3, 1, 50))),
    "10 classes of 1 to 3, all 0.8": (UP_TO_3[:10], np.full(10, 0.8)),
    "20 classes of 4, all 0.8": (np.full(20, 4), np.full(20, 0.8)),
    "20 classes of 1 to 100, rare ones harder": (LONG_TAIL, np.linspace(0.95, 0.4, 20)),
    "20 classes of 1 to 100, rare ones easier": (LONG_TAIL, np.linspace(0.6, 0.95, 20)),
    "3 classes of 2 to 4 at 0.4, 7 of 40 at 0.85": (MIXED, _by_size(MIXED, 0.4, 0.85)),
    "1 class of 4 at 0.5, 9 of 500 at 0.9": (ONE_SMALL, _by_size(ONE_SMALL, 0.5, 0.9)),
}

FIGURES: dict[str, tuple[Sizes, Floats]] = {
    "4 classes of 30, 0.8": (np.full(4, 30), np.full(4, 0.8)),
    "4 classes of 25, 0.95": (np.full(4, 25), np.full(4, 0.95)),
    "10 classes of 10 to 100, 0.6 to 0.95": (np.linspace(10, 100, 10).astype(int), np.linspace(0.6, 0.95, 10)),
    "20 classes of 5, 0.8": (np.full(20, 5), np.full(20, 0.8)),
    "20 classes of 10, 0.5 to 1": (np.full(20, 10), np.linspace(0.5, 1, 20)),
    "50 classes of 1 to 3, 0.7": (UP_TO_3, np.full(50, 0.7)),
}

PAIRED: dict[str, tuple[Sizes, Any, Any]] = {
    "4 classes of 30, 2% fixed, 2% broken": (np.full(4, 30), 0.02, 0.02),
    "4 classes of 30, 5% fixed, none broken": (np.full(4, 30), 0.05, 0.0),
    "4 classes of 30, 20% fixed, 10% broken": (np.full(4, 30), 0.2, 0.1),
    "10 classes of 100, 0.3% fixed, 0.1% broken": (np.full(10, 100), 0.003, 0.001),
    "50 classes of 1 to 3, 10% fixed, 5% broken": (UP_TO_3, 0.1, 0.05),
    "20 classes of 1 to 100, 5% and 5%": (LONG_TAIL, 0.05, 0.05),
    "3 classes of 2 to 4 30% and 10%, 7 of 40 5% and 5%": (
        MIXED,
        _by_size(MIXED, 0.3, 0.05),
        _by_size(MIXED, 0.1, 0.05),
    ),
    "1 class of 4 30% fixed, 9 of 500 2% and 2%": (
        ONE_SMALL,
        _by_size(ONE_SMALL, 0.3, 0.02),
        _by_size(ONE_SMALL, 0, 0.02),
    ),
}

Recalls = Callable[[np.random.Generator, Sizes], Floats]
SIZE: dict[str, Recalls] = {
    "all 0.8": lambda draw, sizes: np.full(len(sizes), 0.8),
    "all 0.95": lambda draw, sizes: np.full(len(sizes), 0.95),
    "Beta(8, 2)": lambda draw, sizes: draw.beta(8, 2, len(sizes)),
    "Beta(2, 1)": lambda draw, sizes: draw.beta(2, 1, len(sizes)),
    "0.5 to 0.95 by size": lambda draw, sizes: np.linspace(0.5, 0.95, len(sizes)),
}


def macro(name: str, parts: int) -> dict[str, Any]:
    """Coverage of intervals of the macro accuracy, and the widths of ours and of Wilson's."""
    sizes, recalls = MACRO[name]
    draw, truth, labels = np.random.default_rng(1), recalls.mean(), np.repeat(np.arange(len(sizes)), sizes)
    held: Counter[str] = Counter()
    widths: Counter[str] = Counter()
    weights, without = np.concatenate(list(resampled(len(labels), 1000))), 1 - np.eye(len(labels))
    for _ in range(parts):
        right = draw.random(len(labels)) < recalls[labels]
        mean = float((np.bincount(labels, weights=right) / sizes).mean())
        found = {
            "ours": wilson_over_classes(mean, sizes, LEVEL),
            "Wilson": wilson(mean, effective_images(sizes), LEVEL),
        }
        if len(labels) < 1000:
            figure = FiguresOf(
                labels, _certain(np.where(right, labels, (labels + 1) % len(sizes)), len(sizes)), ["macro_accuracy"]
            )
            drawn, left = (figure(each)["macro_accuracy"] for each in (weights, without))
            found["bootstrap"] = accelerated(mean, drawn, left, LEVEL)
        for method, (low, high) in found.items():
            held[method] += low <= truth <= high
            widths[method] += high - low
    return {
        "coverage": {method: count / parts for method, count in held.items()},
        "width": {method: width / parts for method, width in widths.items()},
    }


def _certain(predicted: Sizes, classes: int) -> NDArray[np.float32]:
    return np.eye(classes, dtype=np.float32)[predicted]


def figures(name: str, parts: int) -> dict[str, Any]:
    """Coverage of each figure's interval, and the share of parts in which it has one."""
    sizes, recalls = FIGURES[name]
    draw, labels = np.random.default_rng(2), np.repeat(np.arange(len(sizes)), sizes)
    many = np.repeat(labels, 200_000 // len(labels))
    truth = headline(many, _predicted(draw, many, recalls))
    held: Counter[str] = Counter()
    given: Counter[str] = Counter()
    for _ in range(parts):
        for figure, each in intervals(labels, _predicted(draw, labels, recalls), resamples=1000).items():
            if each.ends is not None:
                given[figure] += 1
                held[figure] += each.ends[0] <= truth[figure] <= each.ends[1]
    return {
        "coverage": {figure: held[figure] / given[figure] for figure in truth if given[figure]},
        "given": {figure: given[figure] / parts for figure in truth},
    }


def _predicted(draw: np.random.Generator, labels: Sizes, recalls: Floats) -> NDArray[np.float32]:
    """Probabilities (N, K): a class that is not recognised is taken for another at random, with less confidence."""
    n, classes = len(labels), len(recalls)
    right = draw.random(n) < recalls[labels]
    predicted = np.where(right, labels, (labels + draw.integers(1, classes, n)) % classes)
    confidence = np.maximum(draw.beta(np.where(right, 8, 4), 2), 1.5 / classes)
    found = np.repeat(((1 - confidence) / (classes - 1))[:, None], classes, axis=1)
    found[np.arange(n), predicted] = confidence
    return found.astype(np.float32)


def paired(name: str, parts: int) -> dict[str, Any]:
    """Coverage of intervals of the differences of accuracy and macro accuracy."""
    sizes, fixing, breaking = PAIRED[name]
    fixing, breaking = (np.broadcast_to(each, sizes.shape) for each in (fixing, breaking))
    draw, n = np.random.default_rng(3), int(sizes.sum())
    truth, macro_truth = float(sizes @ (fixing - breaking)) / n, float((fixing - breaking).mean())
    held: Counter[str] = Counter()
    for _ in range(parts):
        counts = np.array(
            [
                draw.multinomial(size, (f, b, 1 - f - b))[:2]
                for size, f, b in zip(sizes.tolist(), fixing, breaking, strict=True)
            ]
        )
        fixed, broken = counts.sum(0)
        low, high = bonett_price((fixed - broken) / n, (fixed + broken) / n, n, LEVEL)
        held["accuracy"] += low <= truth <= high
        drawn = draw.multinomial(n, (fixed / n, broken / n, 1 - (fixed + broken) / n), size=1000)
        low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / n, (0.025, 0.975))
        held["accuracy, bootstrap"] += low <= truth <= high
        low, high = bonett_price_over_classes(
            (counts[:, 0] - counts[:, 1]) / sizes, counts.sum(1) / sizes, sizes, LEVEL
        )
        held["macro accuracy"] += low <= macro_truth <= high
    return {"coverage": {method: count / parts for method, count in held.items()}}


def size(name: str, parts: int) -> dict[str, Any]:
    """Findings at the 5% level with 10, 30 and 50 classes of 1 to 100 images; and of recalls permuted over classes."""
    found = {}
    for classes in (10, 30, 50):
        draw = np.random.default_rng(4)
        sizes = np.maximum(1, np.geomspace(1, 100, classes).astype(int))
        train, names = (10 * np.arange(1, classes + 1)).tolist(), list(map(str, range(classes)))
        orders = draw.permuted(np.tile(_standardised(np.arange(classes)), (999, 1)), axis=1)
        spoken: Counter[str] = Counter()
        for _ in range(parts):
            recalls = draw.binomial(sizes, SIZE[name](draw, sizes)) / sizes
            p_value = abundance(names, train, recalls.tolist(), sizes.tolist()).p_value
            spoken["ours"] += p_value is not None and p_value <= 0.05
            ranks = _standardised(recalls)
            own = ranks @ _standardised(np.arange(classes))
            permuted = orders @ ranks
            tail = 1 + min(np.sum(permuted <= own + 1e-9), np.sum(permuted >= own - 1e-9))
            spoken["over classes"] += 2 * tail / 1000 <= 0.05
        found[f"{classes} classes"] = {method: count / parts for method, count in spoken.items()}
    return {"findings": found}


def _standardised(values: Floats) -> Floats:
    ranks = rankdata(values) - (len(values) + 1) / 2
    return ranks / max(float(np.linalg.norm(ranks)), 1e-9)


def bench(name: str, parts: int) -> dict[str, Any]:
    """Verdicts about a true change, of two benches of 15 rounds whose ratios vary by so much, and by process."""
    change, spread, process = map(float, name.split(", "))
    draw = np.random.default_rng(5)
    verdicts: Counter[str] = Counter()
    held = 0
    for _ in range(parts):
        old, new = (_measured(draw, ratio, spread, process) for ratio in (1.2, 1.2 * (1 + change)))
        (found,) = results.diff(old, new, ("old", "new"))
        verdicts[found.verdict] += 1
        assert found.interval is not None
        held += found.interval[0] <= 1 + change <= found.interval[1]
    return {"coverage": held / parts, "verdicts": {verdict: count / parts for verdict, count in verdicts.items()}}


def _measured(draw: np.random.Generator, ratio: float, spread: float, process: float) -> dict[str, Any]:
    found = timing(ratio * np.exp(draw.normal(draw.normal(0, process), spread, 15)), np.ones(15))
    arm = dict.fromkeys(("name", "maker", "spec_hash", "batch", "dtype", "channels_last", "compile"), "")
    return {"machine": {}, "arms": [{**arm, "infer": {"ratio": found.ratio, "interval": found.interval}}]}


def rounds(name: str, parts: int) -> dict[str, Any]:
    """Benches of an arm with a true ratio, whose rounds spread by so much and have Student's t of so many degrees."""
    ratio, spread, freedom = map(float, name.split(", "))
    draw = np.random.default_rng(6)
    held, wrong, taken = Counter[str](), Counter[str](), []
    for _ in range(parts):
        noise = draw.standard_t(freedom, ROUNDS) * np.sqrt((freedom - 2) / freedom)
        samples = (ratio * np.exp(spread * noise)).tolist()
        number = next(k for k in range(FEWEST, ROUNDS + 1) if k == ROUNDS or is_narrow(_of(samples[:k]), INTERVAL))
        taken.append(number)
        for rule, found in (("narrow", _of(samples[:number])), ("all", _of(samples))):
            assert found.interval is not None
            held[rule] += found.interval[0] <= ratio <= found.interval[1]
            wrong[rule] += found.verdict in ("faster", "slower") and ratio == 1
    return {
        "rounds": float(np.mean(taken)),
        "coverage": {rule: held[rule] / parts for rule in ("narrow", "all")},
        "false": {rule: wrong[rule] / parts for rule in ("narrow", "all")},
    }


def _of(samples: list[float]) -> Timing:
    return timing(samples, [1.0] * len(samples))


TURNS = [
    f"{ratio}, {spread}, {freedom}"
    for ratio in (1.0, 1.03, 1.5)
    for spread in (0.003, 0.01, 0.015, 0.02, 0.03, 0.06)
    for freedom in (3, 100)
]
BENCH = [
    f"{change}, {spread}, {process}"
    for change in (0.0, 0.05, 0.1)
    for spread, process in ((0.01, 0), (0.03, 0), (0.03, 0.01))
]
CASES: dict[Callable[[str, int], dict[str, Any]], list[str]] = {
    macro: list(MACRO),
    figures: list(FIGURES),
    paired: list(PAIRED),
    size: list(SIZE),
    bench: BENCH,
    rounds: TURNS,
}


def measure(task: tuple[Callable[[str, int], dict[str, Any]], str, int]) -> dict[str, Any]:
    """A case's result with its name."""
    kind, name, parts = task
    return {"kind": kind.__name__, "case": name, **kind(name, parts)}


def main(out: str, parts: int = 2000, processes: int = 1, *kinds: str) -> None:
    """Measure every case, or those of some kinds, print it, and write all."""
    start, found = time.perf_counter(), []
    tasks = [
        (kind, name, parts) for kind, names in CASES.items() for name in names if kind.__name__ in kinds or not kinds
    ]
    with ProcessPoolExecutor(processes) as pool:
        for result in pool.map(measure, tasks):
            found.append(result)
            print(json.dumps(result), flush=True)
    content = {
        "parts": parts,
        "numpy": np.__version__,
        "seconds": round(time.perf_counter() - start),
        "cases": found,
    }
    Path(out).write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:4]), *sys.argv[4:])
