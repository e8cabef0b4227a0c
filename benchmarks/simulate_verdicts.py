"""How often the verdicts of studies are false, and how often their intervals hold the truth, by simulation.

usage: python benchmarks/simulate_verdicts.py OUT.json [STUDIES] [PROCESSES] [KIND ...] [DESIGN ...]

Every study is judged by the program's own functions (`judge`, `image_blocks`). An image's score in an arm is the arm's
mean, what the arm makes of the image in every seed, what it makes of it in this seed, and the arm's luck in the seed;
the second of these is what seeds share. A score of one run has standard deviation 1; rho is the correlation of two
seeds' differences. Verdicts and coverage are about new images, so that truth is that of the infinite population.

- global: no arm differs from any other.
- partial: each set of effects of 2 x 2 x 2 (up to the order of factors), of arms, or of main effects of the half
  fraction is there, at 1 and at 3 standard deviations, and the others are not.
- outcomes: two arms that are right or wrong image by image, through stored predictions, by metric.
- equivalence: a difference exactly as large as the margin.
- skewed: the changed arms have as much luck as the others on average, with a long tail of bad or of good luck (an
  exponential of 3 standard deviations), which the others do not have.
- collapses: the changed arms lose 30 standard deviations in some of their runs, and are better in the others by just as
  much as that costs, so that there is no difference of means.
- failures: the changed arms fail in their worst 20%; no arm would differ if they did not. Seeds are left out, verdicts
  are withheld, or failures have a score of 0, here 45 standard deviations lower, by which the changed arms are worse.

The changed arms are the second of two, or those with the second level of the first factor.
"""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from resnet_lab.evaluation.metrics.headline import headline
from resnet_lab.evaluation.predictions import Origin, Predictions
from resnet_lab.study import statistics
from resnet_lab.study.contrasts import Contrast, arm_contrasts, factorial_contrasts
from resnet_lab.study.estimand import Block, SeedImages, image_blocks, with_failures
from resnet_lab.study.grid import Grid
from resnet_lab.study.plan import Population
from resnet_lab.study.spread import collapses
from resnet_lab.study.statistics import Effect, judge

Floats = NDArray[np.float64]
SEEDS = (6, 10, 20)
CORRELATIONS = (0.0, 0.04, 0.10)
TESTED, SHARE = 100, 0.2
"""Test images of a seed, and of how large a part of the pool where each seed draws its own."""

FACTORS = dict.fromkeys("abc", ("0", "1"))
ARMS = [dict(zip(FACTORS, levels, strict=True)) for levels in product("01", repeat=3)]
HALF = [arm for arm in ARMS if sum(map(int, arm.values())) % 2 == 0]


TAIL, DROP, WORST, FAILING = 3.0, 30.0, 45.0, 0.2
TROUBLES: dict[str, tuple[Any, ...]] = {
    "skewed": ("bad", "good"),
    "collapses": (0.02, 0.05, 0.10),
    "failures": ("left out", "withhold", "worst"),
}


def named(arms: list[dict[str, str]]) -> list[str]:
    return ["".join(arm.values()) for arm in arms]


DESIGNS: dict[str, list[list[Contrast]]] = {
    "2 x 2 x 2": [factorial_contrasts(FACTORS, ARMS), arm_contrasts(named(ARMS))],
    "half fraction": [factorial_contrasts(FACTORS, HALF), arm_contrasts(named(HALF))],
    "1 x 5": [
        factorial_contrasts({"a": tuple("01234")}, [{"a": level} for level in "01234"]),
        arm_contrasts(list("01234")),
    ],
    "8 named arms": [arm_contrasts(list("01234567"))],
}


@dataclass(frozen=True)
class Case:
    """One kind of study.

    Attributes:
        means: true score of each arm.
        metric: where outcomes are right or wrong; else scores are continuous.
        trouble: of the changed arms: a tail of luck, the share of runs that collapse, or what becomes of failures.
    """

    kind: str
    design: str
    seeds: int
    rho: float
    part: Literal["random", "fixed", "folds"]
    means: tuple[float, ...]
    margin: float | None = None
    metric: str | None = None
    trouble: Literal["bad", "good", "left out", "withhold", "worst"] | float | None = None

    @property
    def changed(self) -> NDArray[np.bool_]:
        """Arms with a trouble, shape (A,)."""
        if self.design == "2 named arms":
            return np.array([False, True])
        return np.array([arm["a"] == "1" for arm in ARMS])


@dataclass(frozen=True)
class Troubled:
    """A study of arms with a trouble.

    Attributes:
        scores: shape (S, A).
        failed, collapsed: runs, shape (S, A).
    """

    scores: Floats
    images: SeedImages
    failed: NDArray[np.bool_]
    collapsed: NDArray[np.bool_]


def cases() -> Iterator[Case]:
    """All of them."""
    for design, families in DESIGNS.items():
        nothing = (0.0,) * len(families[0][0].weights)
        for seeds, rho, part in product(SEEDS, CORRELATIONS, ("random", "fixed", "folds")):
            yield Case("global", design, seeds, rho, part, nothing)
        for means, size in product(partial(design), (1.0, 3.0)):
            yield Case("partial", design, 6, 0.04, "random", tuple(size * mean for mean in means))
    for metric, seeds, part in product(("accuracy", "macro_accuracy", "log_loss"), (6, 20), ("random", "fixed")):
        yield Case("outcomes", "2 named arms", seeds, np.nan, part, (0.0, 0.0), metric=metric)
    for seeds, rho, part in product(SEEDS, CORRELATIONS, ("random", "fixed")):
        yield Case("equivalence", "2 named arms", seeds, rho, part, (0.0, 2.0), margin=2.0)
    for design, number in (("2 named arms", 2), ("2 x 2 x 2", 8)):
        for kind, troubles in TROUBLES.items():
            for trouble, seeds in product(troubles, SEEDS):
                yield Case(kind, design, seeds, 0.04, "random", (0.0,) * number, trouble=trouble)


def partial(design: str) -> set[tuple[float, ...]]:
    """Means of the arms in which some effects are and others are not."""
    if design in ("1 x 5", "8 named arms"):
        number = len(DESIGNS[design][0][0].weights)
        return {(0.0,) * (number - changed) + (1.0,) * changed for changed in range(1, number)}
    arms = ARMS if design == "2 x 2 x 2" else HALF
    terms = [(factor,) for factor in FACTORS] + (list(combinations(FACTORS, 2)) if design == "2 x 2 x 2" else [])
    found, seen = set(), set()
    for number in range(1, len(terms) + 1):
        for chosen in combinations(terms, number):
            alike = min(
                tuple(sorted(tuple(sorted(order[each] for each in term)) for term in chosen))
                for order in (dict(zip(FACTORS, names, strict=True)) for names in permutations(FACTORS))
            )
            if alike not in seen:
                seen.add(alike)
                found.add(tuple(float(sum(_coded(arm, term) for term in chosen)) for arm in arms))
    if design == "2 x 2 x 2":  # arms that differ alone, others being like the baseline
        found |= {(0.0,) * (8 - changed) + (1.0,) * changed for changed in range(1, 8)}
    return found


def _coded(arm: dict[str, str], term: tuple[str, ...]) -> float:
    """Of an effect of 1, with levels coded -1/2 and 1/2."""
    return 2.0 ** (len(term) - 1) * float(np.prod([int(arm[factor]) - 0.5 for factor in term]))


def simulated(case: Case, draw: np.random.Generator) -> tuple[Floats, SeedImages]:
    """Scores (S, A), and the images that were tested."""
    number, seeds = len(case.means), case.seeds
    overlap = 1.0 if case.part == "fixed" else SHARE  # folds: of images that would correlate so if they were drawn
    shared = case.rho * TESTED / overlap
    own = (TESTED - shared) / 2
    pool = draw.normal(0, np.sqrt(shared), (number, TESTED * seeds if case.part == "folds" else int(TESTED / overlap)))
    scores, blocks = np.empty((seeds, number)), []
    for seed in range(seeds):
        if case.part == "random":
            images = draw.permutation(pool.shape[1])[:TESTED]
        else:
            images = np.arange(TESTED) + (seed * TESTED if case.part == "folds" else 0)
        luck = draw.normal(0, np.sqrt(1 - (shared + own) / TESTED), number)
        values = pool[:, images] + draw.normal(0, np.sqrt(own), (number, TESTED)) + (luck + case.means)[:, None]
        scores[seed] = values.mean(1)
        blocks.append(Block(images, values - values.mean(1, keepdims=True)))
    return scores, SeedImages(tuple(blocks))


def troubled(case: Case, scores: Floats, images: SeedImages, draw: np.random.Generator) -> Troubled:
    """What becomes of a study with such changed arms."""
    failed, collapsed = (np.zeros(scores.shape, dtype=bool) for _ in range(2))
    if case.kind == "skewed":
        tail = TAIL * (draw.exponential(size=scores.shape) - 1) * (1 if case.trouble == "good" else -1)
        return Troubled(scores + tail * case.changed, images, failed, collapsed)
    if case.kind == "collapses":
        assert isinstance(case.trouble, float)
        collapsed = (draw.random(scores.shape) < case.trouble) & case.changed
        return Troubled(scores + DROP * (case.trouble * case.changed - collapsed), images, failed, collapsed)
    failed = (scores < ndtri(FAILING)) & case.changed
    if case.trouble == "worst":
        shown = np.where(failed & ~failed.all(1, keepdims=True), -WORST, scores)
        return Troubled(shown, SeedImages(with_failures(images.blocks, failed)), ~failed & failed, collapsed)
    shown = np.where(failed, np.nan, scores)
    return Troubled(shown, images, failed if case.trouble == "withhold" else ~failed & failed, collapsed)


def predicted(case: Case, draw: np.random.Generator, classes: int = 10) -> tuple[Floats, SeedImages]:
    """Of two arms that are right as often, through predictions: classes have from 3 images of 100 to 20."""
    assert case.metric is not None
    overlap = 1.0 if case.part == "fixed" else SHARE
    size = int(TESTED / overlap)
    shares = np.linspace(3, 17, classes)
    labels = np.repeat(np.arange(classes), np.round(shares * size / 100).astype(int))
    easiness = draw.normal(1.2, 1.0, len(labels)) + 0.7 * draw.normal(size=(2, len(labels)))
    by_class = [np.flatnonzero(labels == k) for k in range(classes)]
    rows, scores = [], []
    for _ in range(case.seeds):
        images = np.concatenate(
            [each if case.part == "fixed" else draw.permutation(each)[: round(SHARE * len(each))] for each in by_class]
        )
        row = []
        for arm in range(2):
            logits = easiness[arm, images] + draw.normal(0, 0.7, len(images)) + draw.normal(0, 0.15)
            probabilities = np.full((len(images), classes), 0.0)
            true = 1 / (1 + np.exp(-logits))
            probabilities[np.arange(len(images)), labels[images]] = true
            probabilities[np.arange(len(images)), (labels[images] + 1) % classes] = 1 - true
            row.append(_predictions(labels[images], probabilities.astype(np.float32), images))
        rows.append(tuple(row))
        scores.append([headline(each.labels, each.probabilities)[case.metric] for each in row])
    grid = Grid(tuple(range(case.seeds)), ("one", "other"), tuple(rows))
    return np.array(scores), SeedImages(image_blocks(grid, case.metric))


def _predictions(
    labels: NDArray[np.int64], probabilities: NDArray[np.float32], images: NDArray[np.int64]
) -> Predictions:
    origin = Origin(weights="", source="", part="test", device={}, epoch=None, created="", versions={})
    names = tuple(map(str, images.tolist()))
    classes = tuple(map(str, range(probabilities.shape[1])))
    return Predictions(classes, names, names, labels, probabilities, origin)


def is_false(effect: Effect, truth: float) -> bool:
    """Whether something is called better or worse that is not, or is the other."""
    return effect.verdict in ("better", "worse") and (effect.difference or 0.0) * truth <= 0


def holds(interval: tuple[float, float] | None, truth: float) -> bool:
    """Whether the truth is in it."""
    assert interval is not None
    return interval[0] <= truth <= interval[1]


def measure(task: tuple[Case, int, int]) -> dict[str, Any]:
    """Shares of the studies of a case: with a false verdict, of either population; and of intervals that hold."""
    case, studies, number = task
    statistics.sign_flip_test = lambda differences: 1.0  # stands beside, decides nothing, and takes most of the time
    draw = np.random.default_rng([number, studies])
    families = DESIGNS.get(case.design, [arm_contrasts(["one", "other"])])
    contrasts = [contrast for family in families for contrast in family]
    truths = [float(contrast.weights @ case.means) for contrast in contrasts]
    truths = [0.0 if abs(truth) < 1e-9 else truth for truth in truths]
    false: dict[Population, int] = {"new": 0, "pool": 0}
    held = {"new": 0, "pool": 0}
    equivalent = missed = 0
    for _ in range(studies):
        scores, images = predicted(case, draw) if case.metric else simulated(case, draw)
        for population in false if case.kind == "global" else ("new",):
            judged = judge(
                scores,
                families,
                margin=case.margin,
                higher_is_better=case.metric != "log_loss",
                population=population,
                images=images if population == "new" else None,
            )
            effects = [effect for family in judged for effect in family]
            false[population] += any(map(is_false, effects, truths))
            if population == "new":
                for effect, truth in zip(effects, truths, strict=True):
                    held["new"] += holds(effect.new_interval, truth)
                    held["pool"] += holds(effect.pool_interval, truth)
                equivalent += any(effect.verdict == "equivalent" for effect in effects)
                missed += not all(
                    holds(effect.simultaneous, truth) for effect, truth in zip(judged[0], truths, strict=False)
                )
    intervals = studies * len(contrasts)
    return {
        **asdict(case),
        "rho": None if np.isnan(case.rho) else case.rho,
        "studies": studies,
        "false_verdicts": false["new"] / studies,
        "false_verdicts_pool": false["pool"] / studies if case.kind == "global" else None,
        "coverage": held["new"] / intervals,
        "coverage_pool": held["pool"] / intervals,
        "simultaneous_missed": missed / studies,
        "equivalent": equivalent / studies,
    }


def measure_trouble(task: tuple[Case, int, int]) -> dict[str, Any]:
    """Shares of the studies of a case with trouble: with a false verdict, with withheld ones, with skewed differences.

    `false_and_told`: a false verdict where a run collapsed, or whose differences are skewed, which a report says.
    `collapses_seen`: a run collapsed and is named.
    """
    case, studies, number = task
    statistics.sign_flip_test = lambda differences: 1.0
    draw = np.random.default_rng([number, studies])
    families = DESIGNS.get(case.design, [arm_contrasts(["one", "other"])])
    left = ndtri(FAILING)
    scored = np.exp(-(left**2) / 2) / np.sqrt(2 * np.pi) - WORST * FAILING  # a normal score where it is above `left`
    means = scored * case.changed if case.trouble == "worst" else np.zeros(len(case.means))
    truths = [float(contrast.weights @ means) for family in families for contrast in family]
    truths = [0.0 if abs(truth) < 1e-9 else truth for truth in truths]
    false = told = withheld = skewed = seen = held = intervals = 0
    for _ in range(studies):
        made = troubled(case, *simulated(case, draw), draw)
        judged = judge(made.scores, families, population="new", images=made.images, failed=made.failed)
        effects = [effect for family in judged for effect in family]
        wrong = [effect for effect, truth in zip(effects, truths, strict=True) if is_false(effect, truth)]
        false += bool(wrong)
        told += bool(wrong) and (made.collapsed.any() or any(effect.is_skewed for effect in wrong))
        withheld += any(effect.verdict == "withheld" for effect in effects)
        skewed += any(effect.is_skewed for effect in effects)
        seen += bool(made.collapsed.any() and (collapses(made.scores, -np.inf) & made.collapsed).any())
        spans = [(effect.interval, truth) for effect, truth in zip(effects, truths, strict=True) if effect.interval]
        held += sum(holds(span, truth) for span, truth in spans)
        intervals += len(spans)
    return {
        **asdict(case),
        "studies": studies,
        "false_verdicts": false / studies,
        "false_and_told": told / studies,
        "withheld": withheld / studies,
        "skewed": skewed / studies,
        "collapses_seen": seen / studies,
        "coverage": held / intervals,
    }


def measured(task: tuple[Case, int, int]) -> dict[str, Any]:
    """What a case comes to."""
    return measure(task) if task[0].trouble is None else measure_trouble(task)


def line(result: dict[str, Any]) -> str:
    """Figures of a case for the screen."""
    if result["trouble"] is not None:
        names = ("false_verdicts", "false_and_told", "withheld", "skewed", "collapses_seen", "coverage")
        figures = " ".join(f"{name} {result[name]:.3f}" for name in names)
        return f"{result['kind']:11} {result['design']:13} S={result['seeds']:2} {result['trouble']:8} {figures}"
    return (
        f"{result['kind']:11} {result['design']:13} S={result['seeds']:2} rho={result['rho']} "
        f"{result['part']:6} {result['metric'] or '':14} {result['means']} "
        f"false {result['false_verdicts']:.3f} "
        f"(pool {result['false_verdicts_pool']}) coverage {result['coverage']:.3f} "
        f"(pool {result['coverage_pool']:.3f}) equivalent {result['equivalent']:.3f}"
    )


def main(out: str, studies: str = "4000", processes: str = "1", *chosen: str) -> None:
    """Measure every case, or those of some kinds and of some designs, print a line of each, and write all."""
    designs = {*chosen} & {case.design for case in cases()}
    kinds = {*chosen} - designs
    if unknown := sorted(kinds - {case.kind for case in cases()}):
        sys.exit(f"no kind and no design of studies: {', '.join(unknown)}")
    tasks = [
        (case, int(studies), number)
        for number, case in enumerate(cases())
        if (not kinds or case.kind in kinds) and (not designs or case.design in designs)
    ]
    found = []
    with ProcessPoolExecutor(int(processes)) as pool:
        for result in pool.map(measured, tasks):
            found.append(result)
            print(line(result), flush=True)
            content = {
                "studies": int(studies),
                "numpy": np.__version__,
                "tested": TESTED,
                "share": SHARE,
                "cases": found,
            }
            Path(out).write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
