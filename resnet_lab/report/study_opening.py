"""First sentences of a study's page, for a reader who knows nothing of it."""

from collections.abc import Sequence
from pathlib import PurePath

from resnet_lab.core.errors import printable
from resnet_lab.core.wording import counted
from resnet_lab.report.study_plots import scale_of
from resnet_lab.report.text import joined, signed
from resnet_lab.study.changes import StudyChange, StudyImages, TimeRatio
from resnet_lab.study.plan import FEWEST
from resnet_lab.study.remarks import never_finished
from resnet_lab.study.results import StudyFindings
from resnet_lab.study.statistics import Effect

NUMBERS = (
    "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip
NAMED = 3
"""Changes with the same verdict that are named; of more, those with the largest difference."""


def opening(found: StudyFindings, changes: Sequence[StudyChange], images: StudyImages | None) -> str:
    """Findings of a study, the images that they are about, and costs, in one to three sentences."""
    hopeless = never_finished(found.outcomes)
    failed = f"{joined([printable(name) for name in hopeless])} failed at every seed." if hopeless else ""
    judged = [change for change in changes if change.effect.difference is not None]
    if not judged and found.effects and hopeless:
        baseline, *others = found.outcomes.arms
        compared = baseline not in hopeless and not set(others) <= set(hopeless)
        rest = "; the others are compared with the baseline." if compared else "."
        return f"No effect of a factor can be estimated, since {failed.removesuffix('.')}{rest}"
    if not judged:
        return f"Nothing can be compared: {failed or 'no seed has all its trials.'}"
    told = _of_one(judged[0], found) if len(judged) == 1 else _of_many(judged, found)
    where = _about(found, judged, images)
    first = f"So far, {where[0].lower()}{where[1:]}" if found.missing else where
    sentences = [f"{first}, {told}.", _cost(judged), _interactions(found), failed]
    return " ".join(sentence for sentence in sentences if sentence)


def _about(found: StudyFindings, judged: Sequence[StudyChange], images: StudyImages | None) -> str:
    """The images that all of it holds for: new ones only where every effect is about those."""
    source = found.study.arms[0].data.source
    name = printable(PurePath(source).name or source)
    if all(change.effect.population == "new" for change in judged):
        return f"For new images like {'those' if images is None else f'the {images.total:,}'} of {name}"
    if "split" not in found.study.plan.vary:
        return f"On the {'' if images is None else f'{images.test:,} '}test images of {name} alone"
    return f"On the {'' if images is None else f'{images.total:,} '}images of {name} alone"


def _of_one(change: StudyChange, found: StudyFindings) -> str:
    effect, words, seeds = change.effect, printable(change.words), _seeds([change])
    scale, unit = scale_of(found.study.plan.metric)
    difference = f"{signed(scale * (effect.difference or 0.0), 2)} {unit}"
    low, high = (signed(scale * end, 2) for end in effect.interval or (0.0, 0.0))
    if effect.verdict in ("better", "worse"):
        return f"{words} is {effect.verdict}: {difference} over {seeds} (95% interval {low} to {high})"
    if effect.verdict == "equivalent":
        margin = scale * (found.study.plan.margin or 0.0)
        within = f"the 95% interval, {low} to {high}, is within the margin of {margin:g}"
        return f"{words} makes no difference that matters: {difference} over {seeds}, and {within}"
    if effect.verdict == "undecided":
        anything = f"the difference may be anything from {low} to {high} {unit} (95% interval)"
        return f"{words} brought nothing that {seeds} could show: {anything}"
    return f"{words} has no verdict, {_why_none(effect)}: {difference} over {seeds}"


def _why_none(effect: Effect) -> str:
    if effect.verdict == "withheld":
        return "since failures are unequal between the arms compared"
    if effect.n < FEWEST:
        return f"since that takes {NUMBERS[FEWEST]} seeds at least"
    return "since the study was changed after its first trial"


def _of_many(judged: Sequence[StudyChange], found: StudyFindings) -> str:
    total = _number(len(judged))
    by_verdict: dict[str, list[StudyChange]] = {}
    for change in judged:
        by_verdict.setdefault(change.effect.verdict, []).append(change)
    if len(by_verdict) == 1 and (of_all := _of_all(judged, found)):
        return of_all
    parts = [
        _part(by_verdict[verdict], verdict, found)
        for verdict in ("better", "worse", "equivalent", "withheld", "exploratory")
        if verdict in by_verdict
    ]
    if undecided := by_verdict.get("undecided"):
        they = "it helps or harms" if len(undecided) == 1 else "they help or harm"
        parts.append(f"for {_number(len(undecided))}, {_seeds(undecided)} cannot show whether {they}")
    return f"of {total} changes {joined(parts)}"


def _of_all(judged: Sequence[StudyChange], found: StudyFindings) -> str:
    """All changes with the same verdict, which is none; empty for others."""
    total, effect = _number(len(judged)), judged[0].effect
    scale, unit = scale_of(found.study.plan.metric)
    ends = [scale * end for change in judged for end in change.effect.interval or ()]
    if effect.verdict == "undecided" and ends:
        reach = f"the differences may be anything from {signed(min(ends), 2)} to {signed(max(ends), 2)} {unit}"
        return f"none of {total} changes brought anything that {_seeds(judged)} could show; {reach} (95% intervals)"
    if effect.verdict in ("withheld", "exploratory"):
        return f"none of {total} changes has a verdict, {_why_none(effect)}"
    return ""


def _part(changes: Sequence[StudyChange], verdict: str, found: StudyFindings) -> str:
    """`two are worse (A, −3.00 points of accuracy, and B, −1.00)`."""
    scale, unit = scale_of(found.study.plan.metric)
    largest = sorted(changes, key=lambda change: -abs(change.effect.difference or 0.0))[:NAMED]
    named = [
        f"{printable(change.words)}, {signed(scale * (change.effect.difference or 0.0), 2)}"
        + (f" {unit}" if change is largest[0] else "")
        for change in largest
    ]
    if more := len(changes) - len(named):
        named.append(f"{_number(more)} more")
    one = len(changes) == 1
    what = {
        "equivalent": f"{'makes' if one else 'make'} no difference that matters",
        "withheld": f"{'has' if one else 'have'} no verdict, since failures are unequal",
        "exploratory": f"{'has' if one else 'have'} no verdict, {_why_none(changes[0].effect)}",
    }.get(verdict, f"{'is' if one else 'are'} {verdict}")
    return f"{_number(len(changes))} {what} ({'; '.join(named)})"


def _cost(judged: Sequence[StudyChange]) -> str:
    """How many times as long training and inference take."""
    if len(judged) == 1:
        change = judged[0]
        training, inference = change.training, change.inference
        if training is not None and not training.is_timed:
            return f"An epoch took {training.value:.2f} times as long in its trials."
        known = [
            f"{ratio.value:.2f} times the time of {what}{_ends(ratio)}"
            for what, ratio in (("a training step", training), ("inference", inference))
            if ratio is not None
        ]
        return f"It costs {joined(known)}." if known else ""
    ratios = [change.training for change in judged if change.training is not None]
    if len(ratios) < len(judged):
        return ""
    timed = [ratio.value for ratio in ratios if ratio.is_timed]
    others = [ratio.value for ratio in ratios if not ratio.is_timed]
    if not others:
        return f"A training step takes {_span(timed)} times as long as with the baseline."
    in_trials = f"{_span(others)} times as long as the baseline's in the trials"
    if not timed:
        return f"An epoch took {in_trials}."
    return (
        f"A training step takes {_span(timed)} times as long as with the baseline; of {_number(len(others))} not "
        f"timed, an epoch took {in_trials}."
    )


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def _ends(ratio: TimeRatio) -> str:
    return "" if ratio.interval is None else " ({:.2f} to {:.2f})".format(*ratio.interval)


def _interactions(found: StudyFindings) -> str:
    """How many interactions are decided, where one is."""
    kinds = [effect for effect in found.effects if effect.kind == "interaction"]
    decided = [effect for effect in kinds if effect.verdict in ("better", "worse")]
    if not decided:
        return ""
    are = "is" if len(decided) == 1 else "are"
    return f"{_number(len(decided)).capitalize()} of {counted(len(kinds), 'interaction')} between them {are} decided."


def _number(number: int) -> str:
    return NUMBERS[number] if number < len(NUMBERS) else f"{number:,}"


def _seeds(changes: Sequence[StudyChange]) -> str:
    fewest, most = (end(change.effect.n for change in changes) for end in (min, max))
    if fewest == most:
        return f"{_number(fewest)} seed{'' if fewest == 1 else 's'}"
    return f"{_number(fewest)} to {_number(most)} seeds"
