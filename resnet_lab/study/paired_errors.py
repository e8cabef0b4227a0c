"""Paired errors: works that an arm has right and the baseline wrong, and the other way round."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.study.results import StudyFindings

MOST = 6
"""Most works of each kind that are reported per arm."""


@dataclass(frozen=True)
class Count:
    """Test works of one seed: how many there are, and how many an arm has fixed and broken."""

    seed: int
    images: int
    fixed: int
    broken: int


@dataclass(frozen=True)
class Work:
    """A test work over all seeds in which it was tested with both networks.

    Attributes:
        digest: SHA-256 of its content.
        true: its class.
        fixed: seeds in which the baseline has it wrong and the arm right; `broken` the other way round.
        baseline, arm: the class that each mostly takes it for, and in how many seeds.
    """

    path: str
    digest: str
    true: str
    tested: int
    fixed: int
    broken: int
    baseline: tuple[str, int]
    arm: tuple[str, int]


@dataclass(frozen=True)
class PairedErrors:
    """Paired errors of one arm against the baseline.

    Attributes:
        fixed, broken: works that are so most consistently: in most seeds more than the other way round, and of equals
            those in the greatest share of the seeds.
    """

    arm: str
    counts: tuple[Count, ...]
    fixed: tuple[Work, ...]
    broken: tuple[Work, ...]


def paired_errors(found: StudyFindings, most: int = MOST) -> list[PairedErrors]:
    """Paired errors of every arm other than the baseline.

    Args:
        most: works of each kind.
    """
    first, *others = found.predicted.arms
    baselines = found.predicted.of_arm(first)
    places = {seed: {path: place for place, path in enumerate(each.paths)} for seed, each in baselines.items()}
    made = []
    for arm in others:
        tested = found.predicted.of_arm(arm)
        blocks = [_Block(seed, baselines[seed], tested[seed], places[seed]) for seed in places if seed in tested]
        made.append(_errors(arm, blocks, most))
    return made


@dataclass(frozen=True)
class _Block:
    """Predictions of one seed, of the same images, and the position of each path among them."""

    seed: int
    baseline: Predictions
    arm: Predictions
    places: Mapping[str, int]


def _errors(arm: str, blocks: Sequence[_Block], most: int) -> PairedErrors:
    counts, tally = [], _Tally()
    for block in blocks:
        was, is_ = (each.predicted == each.labels for each in (block.baseline, block.arm))
        fixed, broken = ~was & is_, was & ~is_
        counts.append(Count(block.seed, len(was), int(fixed.sum()), int(broken.sum())))
        tally.add(block.baseline.paths, fixed, broken)
    fixed_works, broken_works = (
        tuple(tally.work(path, blocks) for path in tally.leading(sign, most)) for sign in (1, -1)
    )
    return PairedErrors(arm, tuple(counts), fixed_works, broken_works)


class _Tally:
    """Seeds in which each work was tested, fixed and broken, by path."""

    def __init__(self) -> None:
        self.tested: Counter[str] = Counter()
        self.fixed: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()

    def add(self, paths: Sequence[str], fixed: NDArray[np.bool_], broken: NDArray[np.bool_]) -> None:
        self.tested.update(paths)
        self.fixed.update(paths[number] for number in np.flatnonzero(fixed).tolist())
        self.broken.update(paths[number] for number in np.flatnonzero(broken).tolist())

    def leading(self, sign: int, most: int) -> list[str]:
        """Paths of the works most consistently fixed (1) or broken (-1)."""
        found = {path: sign * (self.fixed[path] - self.broken[path]) for path in {**self.fixed, **self.broken}}
        chosen = [path for path, lead in found.items() if lead > 0]
        return sorted(chosen, key=lambda path: (-found[path], -found[path] / self.tested[path], path))[:most]

    def work(self, path: str, blocks: Sequence[_Block]) -> Work:
        given: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        true = digest = ""
        for block in blocks:
            if (place := block.places.get(path)) is not None:
                first = block.baseline
                true, digest = first.classes[first.labels[place]], first.digests[place]
                for answers, each in zip(given, (first, block.arm), strict=True):
                    answers[each.classes[each.probabilities[place].argmax()]] += 1
        baseline, arm = (answers.most_common(1)[0] for answers in given)
        return Work(path, digest, true, self.tested[path], self.fixed[path], self.broken[path], baseline, arm)
