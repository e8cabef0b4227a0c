"""Sequential studies: effects judged at looks fixed in advance, and arms that run on. Legend: S seeds, A arms.

Jennison and Turnbull 1999, "Group Sequential Methods with Applications to Clinical Trials"; Spiegelhalter, Freedman and
Blackburn 1986, "Monitoring clinical trials: conditional or predictive power?", doi:10.1016/0197-2456(86)90003-6.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from resnet_lab.study.contrasts import Contrast
from resnet_lab.study.estimand import SeedImages
from resnet_lab.study.looks import Schedule, Standing, State
from resnet_lab.study.plan import Population
from resnet_lab.study.statistics import ALPHA, Effect, estimate, is_asked_once, with_verdicts

UNLIKELY = 0.1
"""Predictive probability of a verdict by the last look, below which an effect is futile."""

DECIDED = ("better", "worse", "equivalent")

Families = Sequence[Sequence[Contrast]]
Place = tuple[int, int]
"""Numbers of a family and of an effect in it."""


@dataclass(frozen=True)
class Evidence:
    """All that verdicts rest on.

    Attributes:
        scores: shape (S, A); NaN where a trial is left out or has not finished.
        finished: trials that have finished, or failed, shape (S, A).
        failed: trials that are left out since they failed, shape (S, A).
        images: that each seed tested.
    """

    scores: NDArray[np.float64]
    finished: NDArray[np.bool_]
    failed: NDArray[np.bool_]
    images: SeedImages

    def first(self, n: int) -> "Evidence":
        """That of the first n seeds."""
        images = SeedImages(self.images.blocks[:n], self.images.ratio)
        return Evidence(self.scores[:n], self.finished[:n], self.failed[:n], images)


@dataclass(frozen=True)
class StudyProgress:
    """Progress of a sequential study.

    Attributes:
        families: of effects, as of the last look; exploratory before the first.
        seeds: up to which trials have run or are to be run.
        running: arms that are needed up to these seeds, shape (A,); none where the study is over.
        stopped: of every other arm, the number of the look after which it stopped, from 1.
    """

    families: list[list[Effect]]
    seeds: int
    running: NDArray[np.bool_]
    stopped: dict[int, int]


def judge_at_looks(
    schedule: Schedule,
    evidence: Evidence,
    families: Families,
    *,
    margin: float | None = None,
    higher_is_better: bool = True,
    population: Population = "pool",
    seeds: Sequence[int] | None = None,
) -> StudyProgress:
    """Judge like `statistics.judge`, at every look whose trials have finished.

    p-values allow for all looks (`Schedule.overall`) before they are adjusted for all tests, so that the chance of any
    false verdict of the study is that of a fixed one. An effect keeps the estimate with which it was decided. An arm
    runs until all effects of the first family that need it are decided, withheld or futile; a later family is judged by
    what there is.
    """
    about = _About(schedule, families, margin, higher_is_better, population, seeds)
    running = np.ones(evidence.scores.shape[1], dtype=bool)
    state, stopped, reached = _State({}, {}), dict[int, int](), schedule.looks[0]
    for look, n in enumerate(schedule.looks, 1):
        reached = n
        if not evidence.finished[:n, running].all():
            break
        state = state.after(look, running, evidence.first(n), about)
        needed = np.any([_needs(families, place) for place in state.open_places()] or [running & False], axis=0)
        stopped |= {int(arm): look for arm in np.flatnonzero(running & ~needed)}
        running = running & needed
        if not running.any():
            break
    if state.effects:
        return StudyProgress(state.families(about, is_over=not running.any()), reached, running, stopped)
    return StudyProgress(_before_the_first(evidence, about), reached, running, stopped)


@dataclass(frozen=True)
class _About:
    """Common arguments of all looks, named as in `judge_at_looks`."""

    schedule: Schedule
    families: Families
    margin: float | None
    higher_is_better: bool
    population: Population
    seeds: Sequence[int] | None

    @cached_property
    def is_asked_once(self) -> bool:
        """Whether both families ask the same."""
        return is_asked_once(self.families)

    def leads(self, place: Place) -> bool:
        """Whether an effect keeps arms running while it is open."""
        return place[0] == 0 or self.is_asked_once

    def estimated(self, evidence: Evidence, n: int) -> list[list[Effect]]:
        """Estimates from these seeds, with intervals as of a look after n."""
        return estimate(
            evidence.scores,
            self.families,
            higher_is_better=self.higher_is_better,
            population=self.population,
            images=evidence.images,
            failed=evidence.failed,
            seeds=None if self.seeds is None else self.seeds[: len(evidence.scores)],
            nominal=partial(self.schedule.nominal, seeds=n),
        )


@dataclass(frozen=True)
class _State:
    """Effects after a look.

    Attributes:
        smallest: scaled p so far, and whether the difference was positive then.
    """

    effects: dict[Place, Effect]
    smallest: dict[Place, tuple[float, bool]]

    def after(self, look: int, running: NDArray[np.bool_], evidence: Evidence, about: _About) -> "_State":
        """Effects after one more look: those that are open and whose arms have run up to it are estimated again."""
        n = about.schedule.looks[look - 1]
        effects, smallest = dict(self.effects), dict(self.smallest)
        for place, found in _by_place(about.estimated(evidence, n)).items():
            known = effects.get(place)
            if (known is None or not _is_decided(known)) and running[_needs(about.families, place)].all():
                scaled = about.schedule.scaled(1.0 if found.p_t is None else found.p_t, n)
                smallest[place] = min(smallest.get(place, (1.0, True)), (scaled, (found.difference or 0.0) > 0))
                effects[place] = replace(found, p_looks=about.schedule.overall(smallest[place][0]))
        judged = _State(effects, smallest)._judged(about)
        level, with_standings = judged._level(about), {}
        for place, each in judged.effects.items():
            is_new = bool(running[_needs(about.families, place)].all())
            with_standings[place] = replace(
                each, standing=_standing(each, look, is_new, level if about.leads(place) else None, about)
            )
        return _State(with_standings, smallest)

    def open_places(self) -> list[Place]:
        """Effects of the first family that keep the study going."""
        return [
            place
            for place, each in self.effects.items()
            if place[0] == 0 and each.standing is not None and each.standing.state == "open"
        ]

    def families(self, about: _About, *, is_over: bool) -> list[list[Effect]]:
        """Families as of the last look."""

        def at_the_end(effect: Effect) -> Effect:
            standing = effect.standing
            if is_over and standing is not None and standing.state == "open":
                return replace(effect, standing=replace(standing, state="ended"))
            return effect

        return [
            [at_the_end(self.effects[number, place]) for place in range(len(family))]
            for number, family in enumerate(about.families)
        ]

    def _judged(self, about: _About) -> "_State":
        """Add verdicts; there is none where the difference has another sign now than when p was smallest."""
        judged = with_verdicts(
            self.families(about, is_over=False),
            about.families,
            about.margin,
            higher_is_better=about.higher_is_better,
        )
        effects = {}
        for place, each in _by_place(judged).items():
            turned = each.difference is not None and (each.difference > 0) != self.smallest[place][1]
            contradicts = turned and each.verdict in ("better", "worse")
            effects[place] = replace(each, verdict="undecided") if contradicts else each
        return _State(effects, self.smallest)

    def _level(self, about: _About) -> float:
        """Alpha of the first family's next effect: by Bonferroni's procedure where another follows, else by Holm's."""
        first = [each for place, each in self.effects.items() if place[0] == 0]
        if len(about.families) > 1 and not about.is_asked_once:
            return ALPHA / len(first)
        return ALPHA / max(1, sum(not each.differs for each in first))


def _standing(effect: Effect, look: int, is_new: bool, level: float | None, about: _About) -> Standing:
    """Standing of an effect that was judged at a look.

    Args:
        is_new: whether its arms have run up to it.
        level: alpha of its test; None where it keeps no arm running.
    """
    looks, before = about.schedule.looks, effect.standing
    n = looks[look - 1]
    state: State = "open"
    if effect.verdict in DECIDED:
        state = "decided"
    elif not is_new and before is not None:
        return before
    elif effect.verdict == "withheld":
        state = "withheld"
    elif look == len(looks):
        state = "ended"
    elif level is not None and likely(effect, n, about.schedule, level, about.margin) < UNLIKELY:
        state = "futile"
    if before is not None and before.state == state != "open":
        return before
    return Standing(look, len(looks), n, state)


def summary(progress: StudyProgress, looks: Sequence[int]) -> str:
    """Progress of the first family in a sentence."""
    standings = [effect.standing for effect in progress.families[0]]
    known = [each for each in standings if each is not None]
    if not known:
        return f"looks at {', '.join(map(str, looks))} seeds, at each of which the study may end"
    last = max(known, key=lambda each: each.look)
    states = [f"{effect.name} {effect.verdict}" for effect in progress.families[0] if _is_decided(effect)]
    for state, what in (("futile", "futile"), ("withheld", "withheld"), ("open", "open"), ("ended", "undecided")):
        names = [
            each.name for each in progress.families[0] if each.standing is not None and each.standing.state == state
        ]
        states += [f"{', '.join(names)} {what}"] if names else []
    next_ = (
        f"{int(progress.running.sum())} arms run on to {progress.seeds} seeds"
        if progress.running.any()
        else "the study is over"
    )
    return f"look {last.look} of {last.looks} ({last.seeds} seeds): {'; '.join(states)}: {next_}"


def likely(effect: Effect, n: int, schedule: Schedule, alpha: float, margin: float | None) -> float:
    """Predictive probability that an effect is better, worse or equivalent at the last look.

    The mean of all seeds is predicted from those so far by Student's t, as if nothing else was known of the effect, and
    the spread between seeds as it was. What seeds share by their images stays as it is.

    Args:
        n: seeds at this look, of which failed ones are left out of the effect.
        alpha: of the test, over all looks.
    """
    difference = effect.difference
    if difference is None or effect.n < 2:
        return 1.0
    missing, last = n - effect.n, schedule.looks[-1]
    seeds, deviation = last - missing, float(np.std(effect.differences, ddof=1))
    if seeds <= effect.n or deviation == 0:
        return float(difference != 0)
    shared = effect.covariance or 0.0 if effect.population == "new" else 0.0

    def reach(level: float) -> float:
        freedoms = np.array([seeds - 1, np.inf])
        quantiles = stdtrit(freedoms, schedule.nominal(level, last) / 2)
        return float(np.sqrt(quantiles**2 @ [deviation**2 / seeds, shared]))

    spread = deviation * np.sqrt(1 / effect.n - 1 / seeds)

    def below(value: float) -> float:
        return float(stdtr(effect.n - 1, (value - difference) / spread))

    rejected = reach(alpha)
    found = below(-rejected) + 1 - below(rejected)
    within = 0.0 if margin is None else margin - reach(ALPHA)
    return found + (below(within) - below(-within) if within > 0 else 0.0)


def _before_the_first(evidence: Evidence, about: _About) -> list[list[Effect]]:
    families = about.estimated(evidence, about.schedule.looks[0])
    return [[replace(effect, verdict="exploratory") for effect in family] for family in families]


def _is_decided(effect: Effect) -> bool:
    return effect.standing is not None and effect.standing.state == "decided"


def _needs(families: Families, place: Place) -> NDArray[np.bool_]:
    """Arms that an effect needs, shape (A,)."""
    needed: NDArray[np.bool_] = families[place[0]][place[1]].weights != 0
    return needed


def _by_place(families: Sequence[Sequence[Effect]]) -> dict[Place, Effect]:
    return {(number, place): each for number, family in enumerate(families) for place, each in enumerate(family)}
