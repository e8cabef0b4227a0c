"""Remarks for a reader of a study, in addition to its verdicts."""

from collections.abc import Mapping, Sequence

from resnet_lab.core.size_schedule import SizeSchedule
from resnet_lab.core.wording import counted
from resnet_lab.study.declaration import changes
from resnet_lab.study.design import Study
from resnet_lab.study.endpoint import endpoint
from resnet_lab.study.estimand import smallest_p
from resnet_lab.study.grid import Grid
from resnet_lab.study.outcome import Outcome
from resnet_lab.study.plan import FEWEST, Plan
from resnet_lab.study.spread import unseen
from resnet_lab.study.statistics import ALPHA, Effect
from resnet_lab.study.trials import StudyFolder, orphaned

POPULATIONS = {"new": "new images", "pool": "these images"}
"""In words."""

FAILURES = {
    "withhold": "it is compared at the other seeds alone",
    "worst": "it has a score of 0 there",
}
"""What becomes of a trial that failed."""

WITHHELD = (
    "failures are unequal between the arms that are compared, and a seed that is left out favours the arm that failed"
)
"""Why a verdict is withheld."""


def claim(study: Study) -> str:
    """Sentence about what the verdicts of a study are about."""
    plan, folds = study.plan, study.folds
    shared = "what seeds share by testing the same images is part of every interval"
    if folds is not None and study.seeds[0] // folds == study.seeds[-1] // folds:
        about, shared = f"every seed tests another of {folds} folds", "no image is tested at two seeds"
        pool = f"the images of this data set, of whose {folds} folds each seed tests one"
    elif folds is not None:
        about = f"{folds} seeds at a time test the {folds} folds of one split"
        pool = f"the images of this data set, of whose {folds} folds each seed tests one"
    elif "split" in plan.vary:
        about = "every seed has a test part of its own"
        pool = "the images of this data set, from which each seed draws its test part"
    else:
        about = "every seed has the same split, so they are of networks trained on this one training part"
        pool = "the images of this one test part"
    if plan.population == "pool":
        return f"verdicts are about {pool}; they claim nothing about other images"
    return f"verdicts are about new images like these: {about}, and {shared}"


def scored_at(plan: Plan) -> str:
    """Statement of what trials are scored by, in one sentence."""
    statement = f"trials are scored by {endpoint(plan)}"
    if plan.last_epochs:
        several = "that epoch" if plan.last_epochs == 1 else "each of these epochs"
        statement += (
            f": the test part is seen after {several}, and chooses none; classes, fixed and broken works are those of "
            "the epoch that is best on the validation part"
        )
    return statement


def sizes_of_arms(study: Study) -> list[str]:
    """A sentence for the arms that are trained on smaller images first."""
    shares = {arm.name: ", ".join(f"{share:g}" for share in arm.train.progressive_size) for arm in study.arms}
    smaller = sorted({each for each in shares.values() if each})
    return [
        f"trained on smaller images in the first epochs (progressive_size {each}): "
        + (
            "all arms alike"
            if len(set(shares.values())) == 1
            else ", ".join(arm for arm, own in shares.items() if own == each)
        )
        for each in smaller
    ] + [
        f"{arm.name}: its last {last} epochs, by which it is scored, take in epochs of smaller images"
        for arm in study.arms
        if (last := study.plan.last_epochs)
        and SizeSchedule.of(arm.train.progressive_size, arm.spec.input_size, arm.train.epochs).smaller_epochs
        > arm.train.epochs - last
    ]


def diverged_at(arm: str, outcomes: Grid[Outcome]) -> tuple[int, ...]:
    """Seeds at which an arm diverged."""
    return tuple(seed for seed, outcome in outcomes.of_arm(arm).items() if outcome.diverged)


def never_finished(outcomes: Grid[Outcome]) -> list[str]:
    """Names of arms that failed at every seed, without which no block of a factorial is whole."""
    failed = outcomes.map(lambda outcome: outcome.problem)
    return [arm for arm in outcomes.arms if len(failed.of_arm(arm)) == len(outcomes.seeds)]


def happened(arm: str, what: str, seeds: Sequence[int]) -> str:
    """Seeds at which an arm `diverged`, `failed` or `collapsed`, in words; "arm" tells one called none from nobody."""
    return f"arm {arm} {what} at seed{'s' if len(seeds) != 1 else ''} {', '.join(map(str, seeds))}"


def skew_of_verdict(effect: Effect) -> str | None:
    """Sentence about a verdict of skewed differences; None about any other."""
    if effect.verdict not in ("better", "worse") or not effect.is_skewed:
        return None
    return (
        f"{effect.name}: the verdict rests on skewed differences (skewness {effect.skew:+.1f}): t tests of few seeds "
        f"are then false more often than in {ALPHA:.0%}; read the median and the worst seed too"
    )


def remarks(
    study: Study,
    folder: StudyFolder,
    outcomes: Grid[Outcome],
    collapsed: Mapping[str, Sequence[int]],
    effects: Sequence[Effect],
) -> list[str]:
    """All of them.

    Args:
        collapsed: seeds at which each arm did.
    """
    split = "split" if study.folds is None else "test fold"
    varied = ", ".join({"init": "initial weights", "split": split, "order": "order"}[what] for what in study.plan.vary)
    found, number = [f"varied across seeds: {varied}", claim(study), scored_at(study.plan)], len(study.seeds)
    found += sizes_of_arms(study)
    if study.plan.more_seeds:
        found.append(
            "seeds may be added at any time: adjusted p-values and intervals hold at every number of seeds, about the "
            "images that were tested where seeds share them"
        )
    if study.plan.looks:
        found.append(
            f"looks after {', '.join(map(str, study.plan.looks))} seeds: adjusted p-values and intervals allow for all "
            "of them, whichever the study ended at"
        )
    if "population" in (declared := folder.declared()) and declared["population"] is None:
        found.append(
            "the study was recorded before designs had a population: it is judged for "
            f"{POPULATIONS[study.plan.population]}; --population chooses the other"
        )
    found += map(str, changes(declared, study))
    if aliased := [f"{effect.name} with {', '.join(effect.aliases)}" for effect in effects if effect.aliases]:
        found.append(f"this design cannot tell apart {'; '.join(aliased)}")
    for arm in outcomes.arms:
        if seeds := diverged_at(arm, outcomes):
            left = "" if len(seeds) == number else f"; {FAILURES[study.plan.failures]}"
            found.append(f"{happened(arm, 'diverged', seeds)} of {number}{left}")
    found += [
        f"{happened(arm, 'collapsed', seeds)}: at chance level, or far below the other runs"
        for arm, seeds in collapsed.items()
        if seeds
    ]
    if withheld := list(dict.fromkeys(effect.name for effect in effects if effect.verdict == "withheld")):
        found.append(f"{WITHHELD}: no verdict on {', '.join(withheld)}")
    skewed = (skew_of_verdict(effect) for effect in effects)
    found += dict.fromkeys(text for text in skewed if text is not None)
    if study.plan.factors and (hopeless := never_finished(outcomes)):
        of_factors = [effect for effect in effects if effect.kind != "arm"]
        gone = dict.fromkeys(effect.name for effect in of_factors if effect.difference is None)
        what = ", ".join(gone) if len(gone) < len(of_factors) else "no effect of a factor"
        cannot = "cannot" if len(gone) < len(of_factors) else "can"
        found.append(f"{what} {cannot} be estimated, since an arm failed at every seed: {', '.join(hopeless)}")
    if number < FEWEST:
        found.append(
            f"{counted(number, 'seed is', 'seeds are')} too few for a verdict ({FEWEST} at least): this is exploratory"
        )
    else:
        found.append(
            f"runs that collapse rarely go unseen: where none of {number} seeds does, up to "
            f"{unseen(number):.0%} of an arm's runs may (at {1 - ALPHA:.0%})"
        )
        found.append(
            f"with {number} seeds the sign-flip test alone can give p = {smallest_p(number):.2g} "
            f"at least; verdicts rest on t tests, adjusted for all tests of the study at {ALPHA:.0%}"
        )
    if others := orphaned(study, folder):
        found.append(
            f"{len(others)} trials in the folder are of other arms or seeds than this design and are ignored: "
            + ", ".join(others[:3])
        )
    versions = {tuple(sorted(outcome.versions.items())) for outcome in outcomes.values() if outcome.versions}
    if len(versions) > 1:
        common = frozenset.intersection(*map(frozenset, versions))
        differing = sorted({name for each in versions for name, _ in frozenset(each) - common})
        found.append(f"trials were run with different versions of {', '.join(differing)}: do not mix them in a verdict")
    if study.plan.budget.macs or study.plan.budget.seconds:
        found.append("arms had the same budget, and so different numbers of epochs")
    return found
