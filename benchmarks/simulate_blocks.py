"""How often verdicts are false where seeds share training and test images, with real learners on drawn data.

usage: python benchmarks/simulate_blocks.py OUT.json [STUDIES] [PROCESSES]

Each study has a pool of 500 images of 4 classes: 16 numbers, Gaussian around their class's centre. Two arms are
trained by stochastic gradient descent (logistic loss, 5 epochs), one on the first 8 numbers and one on the last 8. The
distribution of either half is the same, so that the arms' expected accuracies are equal, whereas on a given pool, and
on what its training parts have in common, one of them is better. Seeds draw test parts of 10% anew, or go through folds
(10, or one per seed if these are more). Studies are judged by the program's own functions; truth is that of new
training parts and new images.
"""

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import SGDClassifier

from resnet_lab.study import statistics
from resnet_lab.study.contrasts import arm_contrasts
from resnet_lab.study.estimand import Block, SeedImages, deviations
from resnet_lab.study.plan import FOLDS, Blocks
from resnet_lab.study.statistics import judge

SEEDS = (6, 10, 20)
POOL, CLASSES, NUMBERS = 500, 4, 8
DISTANCE = 0.55
"""Standard deviation of a class centre's coordinates, where an image's own is 1."""


def parts(
    blocks: Blocks, seeds: int, seed: int, order: NDArray[np.int64], draw: np.random.Generator
) -> tuple[Any, Any]:
    """Training and test images of a seed."""
    if blocks == "random":
        drawn = draw.permutation(POOL)
        return drawn[POOL // 5 :], drawn[: POOL // 10]
    folds = max(FOLDS, seeds)
    fold = np.arange(POOL) * folds // POOL
    return order[(fold != seed) & (fold != (seed + 1) % folds)], order[fold == seed]


def study(blocks: Blocks, seeds: int, draw: np.random.Generator) -> tuple[NDArray[np.float64], SeedImages]:
    """Accuracies (S, A), and the images that were tested."""
    labels = draw.permutation(np.arange(POOL) % CLASSES)
    centres = np.tile(DISTANCE * np.random.default_rng(0).normal(size=(CLASSES, NUMBERS)), 2)
    values = centres[labels] + draw.normal(size=(POOL, 2 * NUMBERS))
    order = draw.permutation(POOL)
    scores, of_seeds = np.empty((seeds, 2)), []
    for seed in range(seeds):
        train, test = parts(blocks, seeds, seed, order, draw)
        of_arms = []
        for arm, half in enumerate((slice(0, NUMBERS), slice(NUMBERS, None))):
            learner = SGDClassifier(loss="log_loss", max_iter=5, tol=None, random_state=int(draw.integers(2**31)))
            learner.fit(values[train, half], labels[train])
            probabilities = learner.predict_proba(values[test, half]).astype(np.float32)
            scores[seed, arm] = np.mean(probabilities.argmax(1) == labels[test])
            of_arms.append(deviations(labels[test], probabilities, "accuracy"))
        of_seeds.append(Block(test, np.stack(of_arms)))
    return scores, SeedImages(tuple(of_seeds))


def measure(task: tuple[Blocks, int, int]) -> dict[str, Any]:
    """Shares of false verdicts and of intervals that hold 0, and the correlation of seeds' differences."""
    blocks, seeds, studies = task
    statistics.sign_flip_test = lambda differences: 1.0
    draw = np.random.default_rng([seeds, studies, blocks == "folds"])
    false, held, differences = {"new": 0, "pool": 0}, {"new": 0, "pool": 0}, np.empty((studies, seeds))
    for number in range(studies):
        scores, images = study(blocks, seeds, draw)
        differences[number] = scores[:, 1] - scores[:, 0]
        for population in ("new", "pool"):
            ((effect,),) = judge(
                scores, [arm_contrasts(["one", "other"])], margin=None, population=population, images=images
            )
            false[population] += effect.verdict in ("better", "worse")
            interval = effect.new_interval if population == "new" else effect.pool_interval
            assert interval is not None
            held[population] += interval[0] <= 0 <= interval[1]
    covariances = np.cov(differences.T)
    off = (covariances.sum() - np.trace(covariances)) / (seeds * (seeds - 1))
    return {
        "blocks": blocks,
        "seeds": seeds,
        "studies": studies,
        "rho": float(off / np.mean(np.diag(covariances))),
        "variance_of_mean": float(differences.mean(1).var(ddof=1)),
        **{f"false_verdicts_{name}": count / studies for name, count in false.items()},
        **{f"coverage_{name}": count / studies for name, count in held.items()},
    }


def main(out: str, studies: str = "2000", processes: str = "2") -> None:
    """Measure all cases."""
    tasks = [(blocks, seeds, int(studies)) for blocks, seeds in product(("random", "folds"), SEEDS)]
    with ProcessPoolExecutor(int(processes)) as pool:
        rows = []
        for row in pool.map(measure, tasks):
            print(json.dumps(row), flush=True)
            rows.append(row)
    Path(out).write_text(json.dumps({"about": __doc__, "cases": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
