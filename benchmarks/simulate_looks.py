"""Sequential studies against fixed ones, by simulation: false verdicts, verdicts found, and trainings to a verdict.

usage: python benchmarks/simulate_looks.py OUT.json [STUDIES] [PROCESSES] [KIND ...]

Every study is judged by the program's own functions (`judge_at_looks`, and `judge` with all 20 seeds), on the same
scores. A run's score has a standard deviation such that a difference within a seed has 1: sizes are in standard
deviations of the paired differences of the effect that is there.

- pair: two arms, whose difference is 0, 0.5, 0.7, 1 or 2.
- equivalence: two arms without a difference, at a margin of 1; and with a difference exactly as large as the margin.
- null: 2 x 2 x 2 arms and their half fraction without any effect.
- partial: both with each set of effects of `simulate_verdicts.partial` (at 1 and at 3).
- arms: 5 named arms and 8, some of them better.
- images: 2 x 2 x 2 arms without an effect, with verdicts about new images; two seeds' differences correlate by rho.
"""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simulate_verdicts import DESIGNS, Case, is_false, partial, simulated

from resnet_lab.study import statistics
from resnet_lab.study.contrasts import Contrast, arm_contrasts
from resnet_lab.study.estimand import SeedImages
from resnet_lab.study.looks import DEFAULT, Schedule
from resnet_lab.study.sequential import Evidence, judge_at_looks
from resnet_lab.study.statistics import Effect, judge

SEEDS = DEFAULT[-1]
FACTORIALS = {"2 x 2 x 2": 8, "half fraction": 4}
"""Designs and their arms."""


@dataclass(frozen=True)
class Looked:
    """One kind of study.

    Attributes:
        means: true score of each arm.
        rho: correlation of two seeds' differences on new images; None for verdicts about the images at hand.
    """

    kind: str
    design: str
    means: tuple[float, ...]
    margin: float | None = None
    rho: float | None = None
    part: str = "random"

    @property
    def families(self) -> list[list[Contrast]]:
        return DESIGNS.get(self.design, [arm_contrasts(["one", "other"])])


def cases() -> Iterator[Looked]:
    """All of them."""
    for size in (0.0, 0.5, 0.7, 1.0, 2.0):
        yield Looked("pair", "2 named arms", (0.0, size))
    for size in (0.0, 1.0):
        yield Looked("equivalence", "2 named arms", (0.0, size), margin=1.0)
    for rho, part in product((0.0, 0.04, 0.10), ("random", "fixed", "folds")):
        yield Looked("images", "2 named arms", (0.0, 0.0), rho=rho, part=part)
        yield Looked("images", "2 x 2 x 2", (0.0,) * 8, rho=rho, part=part)
    for design, number in FACTORIALS.items():
        yield Looked("null", design, (0.0,) * number)
    for number in (5, 8):
        name = {5: "1 x 5", 8: "8 named arms"}[number]
        yield Looked("arms", name, (0.0,) * number)
        for changed, size in product(range(1, number), (1.0, 3.0)):
            yield Looked("arms", name, (0.0,) * (number - changed) + (size,) * changed)
    for design in FACTORIALS:
        for means, size in product(sorted(partial(design)), (1.0, 3.0)):
            yield Looked("partial", design, tuple(size * mean for mean in means))


def drawn(case: Looked, draw: np.random.Generator) -> tuple[NDArray[np.float64], SeedImages]:
    """Scores (S, A) with a standard deviation of a single run of 1 / sqrt(2), and the images that were tested."""
    if case.rho is None:
        scores = draw.normal(0, np.sqrt(0.5), (SEEDS, len(case.means))) + case.means
        return scores, SeedImages((None,) * SEEDS)
    return simulated(Case("global", case.design, SEEDS, case.rho, case.part, case.means), draw)  # type: ignore[arg-type]


def measure(task: tuple[Looked, int, int]) -> dict[str, Any]:
    """Shares of the studies of a case, sequential and fixed: with a false verdict, and with every effect found.

    `trainings`: by those of the fixed study. `found` of effects that are there and `equivalent` of those that are not
    are shares of the first family's effects.
    """
    case, studies, number = task
    statistics.sign_flip_test = lambda differences: 1.0  # stands beside, decides nothing, and takes most of the time
    draw, schedule, families = np.random.default_rng([number, studies]), Schedule(DEFAULT), case.families
    truths = [float(contrast.weights @ case.means) for family in families for contrast in family]
    truths = [0.0 if abs(truth) < 1e-9 else truth for truth in truths]
    arms = len(case.means)
    totals = {name: {"false": 0, "found": 0, "equivalent": 0, "futile": 0} for name in ("sequential", "fixed")}
    trainings = 0
    for _ in range(studies):
        scores, images = drawn(case, draw)
        population = "pool" if case.rho is None else "new"
        everywhere = np.ones(scores.shape, dtype=bool)
        evidence = Evidence(scores, everywhere, ~everywhere, images)
        progress = judge_at_looks(schedule, evidence, families, margin=case.margin, population=population)
        fixed = judge(scores, families, margin=case.margin, population=population, images=images)
        trainings += sum(DEFAULT[progress.stopped[arm] - 1] for arm in range(arms))
        for name, judged in (("sequential", progress.families), ("fixed", fixed)):
            effects = [effect for family in judged for effect in family]
            totals[name]["false"] += any(map(is_wrong(case), effects, truths))
            first = list(zip(judged[0], truths, strict=False))
            totals[name]["found"] += sum(
                effect.verdict in ("better", "worse") and truth != 0 for effect, truth in first
            )
            totals[name]["equivalent"] += sum(effect.verdict == "equivalent" for effect, _ in first)
            totals[name]["futile"] += sum(
                effect.standing is not None and effect.standing.state == "futile" for effect, _ in first
            )
    there = sum(truth != 0 for truth in truths[: len(families[0])])
    return {
        **asdict(case),
        "studies": studies,
        "trainings": trainings / studies / arms / SEEDS,
        **{
            name: {
                "false_verdicts": each["false"] / studies,
                "found": each["found"] / studies / there if there else None,
                "equivalent": each["equivalent"] / studies / len(families[0]),
                "futile": each["futile"] / studies / len(families[0]),
            }
            for name, each in totals.items()
        },
    }


def is_wrong(case: Looked) -> Any:
    """Function of an effect and its truth: whether the verdict is false."""
    if case.margin is None:
        return is_false

    def wrong(effect: Effect, truth: float) -> bool:
        assert case.margin is not None
        return is_false(effect, truth) or (effect.verdict == "equivalent" and abs(truth) >= case.margin)

    return wrong


def line(result: dict[str, Any]) -> str:
    """Figures of a case for the screen."""
    one, other = result["sequential"], result["fixed"]
    found = "" if one["found"] is None else f"found {one['found']:.3f} ({other['found']:.3f}) "
    return (
        f"{result['kind']:11} {result['design']:13} {result['means']} rho {result['rho']} {result['part']} "
        f"false {one['false_verdicts']:.4f} ({other['false_verdicts']:.4f}) {found}"
        f"equivalent {one['equivalent']:.3f} ({other['equivalent']:.3f}) trainings {result['trainings']:.3f}"
    )


def main(out: str, studies: str = "4000", processes: str = "1", *kinds: str) -> None:
    """Measure every case, or those of some kinds, print a line of each, and write all."""
    tasks = [(case, int(studies), number) for number, case in enumerate(cases()) if not kinds or case.kind in kinds]
    found = []
    with ProcessPoolExecutor(int(processes)) as pool:
        for result in pool.map(measure, tasks):
            found.append(result)
            print(line(result), flush=True)
            content = {"studies": int(studies), "numpy": np.__version__, "looks": DEFAULT, "cases": found}
            Path(out).write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
