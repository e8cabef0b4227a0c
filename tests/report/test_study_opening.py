"""The first sentences of a study's page, for every verdict and for many changes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resnet_lab.report.study_opening import opening
from resnet_lab.study.changes import StudyChange, StudyImages, TimeRatio, changes_of, images_of
from resnet_lab.study.costs import ArmCost, Costs
from resnet_lab.study.grid import Grid
from resnet_lab.study.trials import trials_of
from resnet_lab.study.writing import as_markdown
from tests.report.test_study_plots import effect
from tests.study.fabricated import by_chance, design, found

IMAGES = StudyImages(1150, 115)
TIMED = TimeRatio(1.83, (1.8, 1.86), is_timed=True)


class Findings:
    """StudyFindings with what an opening needs."""

    def __init__(self, *, missing: int = 0, effects: tuple[Any, ...] = (), **plan: Any) -> None:
        self.study, self.outcomes = design(**plan), Grid((), (), ())
        self.missing, self.effects = ["trial"] * missing, list(effects)


def change(
    verdict: str, difference: float = 0.021, words: str = "attention cbam instead of none", **of: Any
) -> StudyChange:
    of = {"differences": (difference,) * 6, "population": "new", **of}
    return StudyChange(words, replace(effect("attn cbam", verdict, difference), **of), TIMED, None)


def told(*changes: StudyChange, images: StudyImages | None = IMAGES, **findings: Any) -> str:
    return opening(Findings(**findings), changes, images)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        ("better", "is better: +2.10 points of macro accuracy over six seeds (95% interval +1.10 to +3.10)"),
        ("worse", "is worse: +2.10 points of macro accuracy over six seeds (95% interval +1.10 to +3.10)"),
        (
            "equivalent",
            "makes no difference that matters: +2.10 points of macro accuracy over six seeds, and the 95% interval, "
            "+1.10 to +3.10, is within the margin of 5",
        ),
        (
            "undecided",
            "brought nothing that six seeds could show: the difference may be anything from +1.10 to +3.10 points of "
            "macro accuracy (95% interval)",
        ),
        (
            "withheld",
            "has no verdict, since failures are unequal between the arms compared: +2.10 points of macro accuracy over "
            "six seeds",
        ),
        (
            "exploratory",
            "has no verdict, since the study was changed after its first trial: +2.10 points of macro accuracy over "
            "six seeds",
        ),
    ],
)
def test_one_change(verdict: str, expected: str) -> None:
    cost = "It costs 1.83 times the time of a training step (1.80 to 1.86)."
    assert told(change(verdict), margin=0.05) == (
        f"For new images like the 1,150 of digits, attention cbam instead of none {expected}. {cost}"
    )


def test_too_few_seeds_and_unfinished_trials() -> None:
    assert told(change("exploratory", differences=(0.021,)), missing=3).startswith(
        "So far, for new images like the 1,150 of digits, attention cbam instead of none has no verdict, since that "
        "takes three seeds at least: +2.10 points of macro accuracy over one seed."
    )


def test_what_images_it_is_about() -> None:
    old = change("better", population="pool")
    assert told(old).startswith("On the 1,150 images of digits alone, ")
    assert told(old, vary=["init", "order"]).startswith("On the 115 test images of digits alone, ")
    assert told(old, images=None).startswith("On the images of digits alone, ")
    assert told(change("better"), images=None).startswith("For new images like those of digits, ")
    assert told(old, change("better")).startswith("On the 1,150 images of digits alone, "), "the weaker claim"


def test_a_metric_that_is_no_share() -> None:
    text = told(change("better", -0.05), metric="log_loss")
    assert "is better: −0.05 log loss (nats) over six seeds (95% interval −0.06 to −0.04)." in text


def test_the_cost() -> None:
    both = replace(change("better"), inference=TimeRatio(1.2, None, is_timed=True))
    assert told(both).endswith(
        " It costs 1.83 times the time of a training step (1.80 to 1.86) and 1.20 times the time of inference."
    )
    loose = replace(change("better"), training=TimeRatio(1.7, None, is_timed=False))
    assert told(loose).endswith(" An epoch took 1.70 times as long in its trials.")
    assert told(replace(change("better"), training=None)).endswith("(95% interval +1.10 to +3.10).")
    looser = replace(change("better"), training=TimeRatio(1.5, None, is_timed=False))
    assert told(loose, looser).endswith(" An epoch took 1.50 to 1.70 times as long as the baseline's in the trials.")
    assert told(both, loose).endswith(
        " A training step takes 1.83 times as long as with the baseline; of one not timed, an epoch took 1.70 times as "
        "long as the baseline's in the trials."
    )
    fast = replace(both, training=TimeRatio(0.9, (0.8, 1.0), is_timed=True))
    assert told(both, fast).endswith(" A training step takes 0.90 to 1.83 times as long as with the baseline.")


def test_many_changes_with_many_verdicts() -> None:
    changes = [
        change("better", 0.021, "A"),
        *(change("worse", -0.01 * number, f"W{number}") for number in range(1, 5)),
        change("equivalent", 0.001, "E"),
        change("undecided", 0.004, "U"),
        change("undecided", -0.004, "V"),
        change("withheld", 0.1, "X"),
    ]
    assert told(*changes).startswith(
        "For new images like the 1,150 of digits, of nine changes one is better (A, +2.10 points of macro accuracy), "
        "four are worse (W4, −4.00 points of macro accuracy; W3, −3.00; W2, −2.00; one more), one makes no difference "
        "that matters (E, +0.10 points of macro accuracy), one has no verdict, since failures are unequal (X, +10.00 "
        "points of macro accuracy) and for two, six seeds cannot show whether they help or harm. A training step takes"
    )
    assert (
        ", of two changes one is better (A, +2.10 points of macro accuracy) and for one, six seeds cannot show whether "
        "it helps or harms."
    ) in told(changes[0], changes[-2])
    fewer = change("undecided", 0.004, "U", differences=(0.004,) * 5)
    assert told(changes[0], fewer).count("and for one, five seeds cannot show whether it helps or harms.") == 1


def test_many_changes_without_a_verdict() -> None:
    undecided = [change("undecided", difference) for difference in (-0.01, 0.0, 0.02)]
    assert told(*undecided).startswith(
        "For new images like the 1,150 of digits, none of three changes brought anything that six seeds could show; "
        "the differences may be anything from −2.00 to +3.00 points of macro accuracy (95% intervals)."
    )
    few = [change("exploratory", differences=(0.01,) * seeds) for seeds in (1, 2)]
    assert "none of two changes has a verdict, since that takes three seeds at least." in told(*few)
    better = [change("better", 0.01 * number, f"B{number}") for number in (1, 2)]
    assert "of two changes two are better (B2, +2.00 points of macro accuracy; B1, +1.00)." in told(*better)


def test_interactions_that_are_decided_are_counted() -> None:
    pairs = tuple(replace(effect("a x b", verdict, 0.1), kind="interaction") for verdict in ("worse", "undecided"))
    assert told(change("better"), effects=pairs).endswith(" One of 2 interactions between them is decided.")


def test_an_arm_that_always_fails_explains_missing_effects(tmp_path: Path) -> None:
    planned = design(factors={"act": ["relu", "gelu"], "attn": ["none", "eca"]}, seeds=4)
    rights = by_chance({arm.name: 0.7 for arm in planned.arms})
    always = {("gelu eca", seed): "it diverged" for seed in range(4)}
    opened, _ = found(tmp_path / "always", planned, rights, failed=always)
    assert {effect.n for effect in opened.effects} == {0}
    assert opening(opened, changes_of(opened), None) == (
        "No effect of a factor can be estimated, since gelu eca failed at every seed; the others are compared with the "
        "baseline."
    )
    assert not any(opened.families[-1][2].differences), "the arm that failed"
    assert all(effect.n == 4 for effect in opened.families[-1][:2]), "the others"
    told_in_full = "no effect of a factor can be estimated, since an arm failed at every seed: gelu eca"
    assert told_in_full in opened.remarks
    assert told_in_full in as_markdown(opened)
    once, _ = found(tmp_path / "once", planned, rights, failed={("gelu eca", 0): "it diverged"})
    assert "failed at every seed" not in opening(once, changes_of(once), None) + " ".join(once.remarks)


@pytest.mark.parametrize(("attentions", "failing"), [(["none", "eca"], "relu none"), (["none"], "gelu")])
def test_arms_are_said_to_be_compared_only_where_they_are(tmp_path: Path, attentions: list[str], failing: str) -> None:
    factors = {"act": ["relu", "gelu"], "attn": attentions}
    planned = design(factors={name: levels for name, levels in factors.items() if len(levels) > 1}, seeds=4)
    always = {(failing, seed): "it diverged" for seed in range(4)}
    opened, _ = found(tmp_path, planned, by_chance({arm.name: 0.7 for arm in planned.arms}), failed=always)
    assert all(effect.n == 0 for effect in opened.families[-1])
    assert opening(opened, changes_of(opened), None) == (
        f"No effect of a factor can be estimated, since {failing} failed at every seed."
    )


def test_a_level_that_always_fails_hides_no_other_level(tmp_path: Path) -> None:
    planned = design(factors={"act": ["relu", "gelu", "silu"]}, seeds=4)
    always = {("silu", seed): "it diverged" for seed in range(4)}
    opened, _ = found(tmp_path, planned, by_chance({arm.name: 0.7 for arm in planned.arms}), failed=always)
    assert [effect.n for effect in opened.effects] == [4, 0]
    told_first = opening(opened, changes_of(opened), None)
    assert "activation gelu instead of relu brought nothing that four seeds could show" in told_first
    assert told_first.endswith(" silu failed at every seed.")
    assert "act silu cannot be estimated, since an arm failed at every seed: silu" in opened.remarks
    assert not any("no effect of a factor" in remark for remark in opened.remarks)


def test_named_arms_that_fail(tmp_path: Path) -> None:
    planned = design(arms={"plain": {}, "eca": {"attn": "eca"}})
    failed = {("eca", seed): "it diverged" for seed in range(3)}
    opened, _ = found(tmp_path, planned, by_chance({"plain": 0.7, "eca": 0.7}), failed=failed)
    assert opening(opened, changes_of(opened), None) == "Nothing can be compared: eca failed at every seed."


def test_changes_of_factors_in_words_with_the_cost_of_each_alone(tmp_path: Path) -> None:
    planned = design(factors={"act": ["relu", "gelu"], "attn": ["none", "eca"], "train.lr": [0.001, 0.002]})
    opened, folder = found(tmp_path, planned, by_chance({arm.name: 0.7 for arm in planned.arms}))
    cost = ArmCost(2.5, (2.4, 2.6), 1.25, (1.2, 1.3), 16, None)
    costs = Costs({"gelu none 0.001": {"train": cost}, "gelu eca 0.001": {"train": replace(cost, ratio=9.0)}}, {}, [])
    changes = changes_of(replace(opened, costs=costs))
    assert [change.words for change in changes] == [
        "activation gelu instead of relu",
        "attention eca instead of none",
        "learning rate 0.002 instead of 0.001",
    ]
    assert [change.effect.name for change in changes] == ["act gelu", "attn eca", "train.lr 0.002"]
    assert changes[0].training == TimeRatio(1.25, (1.2, 1.3), is_timed=True)
    assert changes[1].training == TimeRatio(pytest.approx(1.0), None, is_timed=False), "epochs of trials took 10 s each"
    assert changes[0].inference is None
    assert images_of(opened.study, folder) is None, "no trial recorded a split"


def test_named_arms_in_words(tmp_path: Path) -> None:
    arms = {"plain": {}, "both": {"act": "gelu", "attn": "eca"}, "much": {
        "act": "gelu", "attn": "eca", "train.lr": 0.1, "train.momentum": 0.5, "train.label_smoothing": 0.1,
    }}  # fmt: skip
    opened, _ = found(tmp_path, design(arms=arms), by_chance(dict.fromkeys(arms, 0.7)))
    assert [change.words for change in changes_of(opened)] == ["both (activation gelu, attention eca)", "much"]


def test_images_are_counted_by_the_split_of_a_trial(tmp_path: Path) -> None:
    planned = design()
    opened, folder = found(tmp_path, planned, by_chance({arm.name: 0.7 for arm in planned.arms}))
    rows = ["path,label,split", *(f"{number}.png,a,{part}" for number, part in enumerate(("train", "train", "test")))]
    folder.run(trials_of(planned)[1]).splits.write_text("\n".join(rows) + "\n")
    assert images_of(opened.study, folder) == StudyImages(3, 1)
