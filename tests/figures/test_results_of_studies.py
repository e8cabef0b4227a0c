"""Figures of the studies on docs/results.md, computed from the files in benchmarks/results/."""

from statistics import fmean, variance
from typing import Any

from scipy.stats import binom, kstest, ttest_1samp, uniform

from resnet_lab.study.statistics import power, seeds_needed
from tests.figures.pages import Section, adjusted, between, effect, stored


def p_value(p: float) -> str:
    return "1" if p > 0.995 else f"{p:.2f}"


def test_digits_parts() -> None:
    section = Section("results", "digits-parts")
    found, half = stored("2026-11-28-cpu-digits-parts"), stored("2026-11-30-cpu-digits-parts-half")
    section.table(
        [
            each["name"], *effect(each), p_value(p),
            f"{each['time_ratio']:.2f}" if each["kind"] == "main" else "", each["verdict"],
        ]
        for each, p in zip(found["effects"], adjusted(found["effects"]), strict=True)
    )  # fmt: skip
    first, *others = found["arms"]
    modes = ("latency", "infer", "train")
    section.table(
        [
            arm["name"],
            *(
                f"{arm['costs'][mode]['ratio']:.2f} ({between(arm['costs'][mode]['ratio_interval'])})"
                for mode in modes
            ),
        ]
        for arm in others
    )  # fmt: skip
    section.table(
        [each["name"], *effect(each), p_value(p), each["verdict"]]
        for each, p in zip(half["effects"], adjusted(half["effects"]), strict=True)
    )
    times = stored("2026-11-30-cpu-study-time")["runs"]
    later, earlier = times
    section.table(
        [
            [None, *(f"{earlier[part]:.0f} s" for part in ("trials", "costs", "seconds"))],
            [
                None, *(f"{later[part]:.0f} s" for part in ("trials", "costs")),
                f"{later['seconds']:.0f} s, {later['seconds'] / earlier['seconds']:.2f} times as long",
            ],
        ]
    )  # fmt: skip
    seeds, epochs = {len(each["differences"]) for each in found["effects"]}, {arm["epochs"] for arm in found["arms"]}
    minutes = sum(trial["seconds"] for trial in found["trials"]) / 60
    one, batch, step = (
        f"{first['costs'][mode]['median_ms']:.{digits}f}" for mode, digits in zip(modes, (2, 1, 1), strict=True)
    )
    section.says(
        f"{len(found['arms'])} arms, {seeds.pop()} seeds, {epochs.pop()} epochs, "
        f"equivalence margin {100 * found['margin']:.0f} point",
        f"{len(found['trials'])} trainings took {minutes:.0f} minutes",
        f"({100 * first['mean']:.1f}% by the baseline)",
        f"({one} ms per image, {batch} ms per batch of 32, {step} ms per training step)",
        f"{len(half['arms'])} arms, 6 seeds in folds, {len(half['trials'])} trainings in place of "
        f"{len(found['trials'])}",
    )
    assert 1 / 6.5 < found["arms"][2]["macs"] / first["macs"] < 1 / 5.5
    section.conditions("180 test images", "15 rounds", "(torch 2.14.1, n = 1 each")
    section.done()


def test_depth_attention() -> None:
    section = Section("results", "depth-attention")
    found = stored("2026-11-28-cpu-depth-attention")
    section.table(
        [each["name"], *effect(each), p_value(p), each["verdict"]]
        for each, p in zip(found["effects"], adjusted(found["effects"]), strict=True)
    )
    rows = []
    for arm in found["arms"]:
        scores = [trial["scores"]["macro_accuracy"] for trial in found["trials"] if trial["arm"] == arm["name"]]
        interval = ttest_1samp(scores, 0).confidence_interval()
        costs = arm["costs"]
        ratio = f"{costs['train']['ratio']:.2f}" if arm is not found["arms"][0] else "1"
        rows.append(
            [
                arm["name"], f"{sum(scores) / len(scores):.3f}", between(interval, ".3f"),
                f"{costs['latency']['median_ms']:.1f}", f"{costs['train']['median_ms']:.0f}", ratio,
            ]
        )  # fmt: skip
    section.table(rows)
    spread = fmean(variance(each["differences"]) for each in found["effects"]) ** 0.5
    tests, seeds = len(found["effects"]), found["effects"][0]["n"]
    times = [found["arms"][number]["costs"]["train"]["ratio"] for number in (2, 0)]
    assert 1.7 < times[0] / times[1] < 1.8
    section.says(
        f"{len(found['arms'])} arms, {seeds} seeds, {found['arms'][0]['epochs']} epochs",
        f"these differences ({100 * spread:.1f} points) `study plan --pilot` computes a power of "
        f"{100 * power(0.02, spread, seeds, tests):.0f}% for a true difference of two points, and of 80% with "
        f"{seeds_needed(0.02, spread, tests)} seeds",
    )
    section.conditions("ResNet-18 and 34", "on 1,150 paintings", "training step of 32 (ms)")
    section.done()


def test_studies_with_known_outcomes() -> None:
    section = Section("results", "Studies with known outcomes")
    found = stored("2026-11-28-cpu-study-checks")
    names = {arm["name"]: arm for arm in found["same"]["arms"]}
    rows: list[list[Any]] = []
    for name in ("saved-less-often", "other-layout"):
        arm = names[name]
        assert set(arm["differences"]) == {0}
        rows.append([None, arm["n"], "exactly 0 at every seed", "0 to 0", arm["verdict"]])
    for name in ("hundredth-of-the-rate", "random-stages"):
        for study in ("handicapped", "handicapped-again"):
            (arm,) = (arm for arm in found[study]["arms"] if arm["name"] == name)
            difference, interval = effect(arm)
            rows.append([None, arm["n"], difference, interval.replace("+", ""), arm["verdict"]])
    section.table(rows)
    times = [found[name] for name in ("same", "handicapped", "handicapped-again")]
    assert {round(100 * (each["seconds"] / each["seconds_in_trainings"] - 1), 1) for each in times} == {0.1}
    lasted, trained = ([each[name] for each in times] for name in ("seconds", "seconds_in_trainings"))
    section.says(
        f"took 0.1% longer than their trainings ({lasted[0]:.1f} s of {trained[0]:.1f} s, {lasted[1]:.1f} of "
        f"{trained[1]:.1f}, {lasted[2]:.1f} of {trained[2]:.1f})"
    )
    equal = stored("2026-11-30-cpu-equal-arms")
    studies = equal["studies"]
    worse = [study for study in studies if study["verdict"] == "worse"]
    p = sorted((study["p"] for study in worse), reverse=True)
    several = 1 - binom.cdf(len(worse) - 1, len(studies), 0.05)
    losses = sorted(100 * abs(fmean(study["differences"])) for study in worse)
    uniformity = kstest([study["p"] for study in studies], uniform.cdf).pvalue
    assert {study["metric"] for study in worse} == {"macro_accuracy"}
    assert [sum(study["metric"] == metric for study in studies) for metric in ("macro_accuracy", "log_loss")] == [
        10,
        10,
    ]
    section.says(
        f"Of {len(studies)} studies",
        f"{len(worse)} called one arm worse (p = {p[0]:.4f} and {p[1]:.3f}, by {losses[0]:.1f} and "
        f"{losses[1]:.1f} points",
        f"{sum(study['verdict'] == 'undecided' for study in studies)} were undecided",
        f"two or more come in {100 * several:.0f}% of such twenties; the {len(studies)} p-values",
        f"p = {uniformity:.2f}",
    )
    section.unstored("takes 16.5 s from the start", "(14.3 to 19.2, n = 11; 2 cores")
    section.conditions(
        "1,024 finished trials (32 arms at 32 seeds, 200 test images of 10 classes)",
        "stages 1 and 2 frozen", "2 epochs, 6 seeds in folds", "At a level of 5% one",
    )  # fmt: skip
    section.done()
