"""Figures of docs/questions.md, computed from the files in benchmarks/results/."""

from statistics import fmean
from typing import Any

import torch
from scipy.stats import ttest_1samp
from torch.nn import functional as F

from tests.figures.pages import Section, adjusted, between, effect, stored


def p_value(p: float) -> str:
    if p < 0.01:
        return f"{p:.0e}".replace("e-0", "e-") if p < 1e-4 else f"{p:.1g}"
    return f"{p:.2f}" if p > 0.1 else f"{p:.3f}"


def accuracy(found: dict[str, Any], arm: dict[str, Any]) -> str:
    return f"{fmean(row['scores']['macro_accuracy'] for row in found['trials'] if row['arm'] == arm['name']):.3f}"


def interval(found: dict[str, Any]) -> Any:
    return ttest_1samp(found["differences"], 0).confidence_interval()


def rows(found: dict[str, Any], *more: str) -> list[list[Any]]:
    """An arm a row; `more` are columns between its name and its score."""
    baseline, *others = found["arms"]
    p_values = [arm["p_holm"] for arm in others] if found["effects"] else adjusted(others)
    made = []
    for arm in found["arms"]:
        columns = {"rate": f"{arm['lr']:g}", "macs": f"{arm['macs'] / 1e6:.1f}"}
        judged: list[str] = ["", "", "", ""]
        if arm is not baseline:
            p = p_values[others.index(arm)]
            judged = [*effect(arm), p_value(p), arm["verdict"]]
        made.append([None, *(columns[name] for name in more), f"{arm['mean']:.3f}", *judged, accuracy(found, arm)])
    return made


def test_pretrained_weights() -> None:
    section = Section("questions", "Pretrained weights")
    louvre, half = stored("2026-12-01-cpu-cifar-transfer-louvre"), stored("2026-12-01-cpu-cifar-transfer-half")
    section.table(rows(louvre, "rate"))
    section.table(rows(half, "rate"))
    four, three = ({arm["name"]: arm for arm in found["arms"]} for found in (louvre, half))
    (rate,) = {arm["epochs"] for arm in louvre["arms"]}
    section.says(
        f"in four genres at 32 pixels, {rate} epochs",
        f"on small paintings {100 * four['fine-tuned']['difference']:.0f} points",
        f"the classifier alone is {-100 * four['frozen-1-3']['difference']:.0f} points behind",
        f"test images, {half['arms'][0]['epochs']} epochs",
    )
    assert 0.22 < four["frozen-1-2"]["time_ratio"] < 0.28
    assert {each["arm"] for each in half["trials"]} == set(three)
    section.conditions(
        "the 50,000 training images", "frozen 1-3", "frozen 1-4", "0.001, 0.003 and 0.01", "1,150 of the Louvre",
        "1,000 of the 2,000", "to 800 training images",
    )  # fmt: skip
    section.done()


def test_gelu_and_the_scale_of_weights() -> None:
    section = Section("questions", "GELU and the scale of weights")
    found = stored("2026-12-01-cpu-gelu-scale")
    section.table(rows(found))
    _, gelu, gain = found["arms"]
    x = torch.randn(10**6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scale = (F.relu(x).square().mean() / F.gelu(x).square().mean()).sqrt()
    beyond = max(abs(end) for end in interval(gelu)) - found["margin"]
    section.says(
        f"{scale:.2f} times that of ReLU",
        f"{gelu['epochs']} epochs, rate {gelu['lr']:g} for all arms, not tuned; equivalence margin "
        f"{100 * found['margin']:.0f} points",
        f"within {100 * found['margin']:.0f} points of it",
        f"open by {100 * beyond:.1f} points",
        f"took {gelu['time_ratio']:.2f} and {gain['time_ratio']:.2f} times",
    )
    section.done()


def test_depthwise() -> None:
    section = Section("questions", "Depthwise convolutions at equal multiply-adds")
    found, other = stored("2026-12-01-cpu-depthwise-equal-macs"), stored("2026-12-01-cpu-gelu-scale")
    section.table(rows(found, "rate", "macs"))
    dense, depthwise, wide = found["arms"]

    def scores(study: dict[str, Any], arm: str) -> list[float]:
        trials = sorted((row for row in study["trials"] if row["arm"] == arm), key=lambda row: row["seed"])
        return [fmean(scores["mean_p_true"] for scores in row["last_scores"]) for row in trials]

    apart = [a - b for a, b in zip(scores(found, "depthwise-wide"), scores(other, "relu"), strict=True)]
    low, high = ttest_1samp(apart, 0).confidence_interval()

    section.says(
        f"costs {depthwise['macs'] / dense['macs']:.2f} times the multiply-adds",
        f"has {wide['macs'] / dense['macs']:.3f} times the dense one's multiply-adds",
        f"{wide['parameters'] / dense['parameters']:.2f} times its parameters",
        f"{dense['epochs']} epochs; every arm",
        f"margin {100 * found['margin']:.0f} points",
        f"(p = {wide['p_holm']:.3f}), and took {wide['time_ratio']:.2f} times the training time",
        f"has {other['arms'][0]['mean']:.3f} on the same folds, {100 * fmean(apart):.1f} points below the wide "
        f"one ({between((low, high), '+.1f', 100)}; seen afterwards",
    )
    section.conditions(
        "Widened 2.8125 times, to 45, 90 and 180 channels", "(a test asserts 2%)", "rates 0.003 and 0.01",
        "its rate of 0.003", "network of 45 channels",
    )  # fmt: skip
    section.done()


def test_transfer_attention() -> None:
    section = Section("questions", "CBAM on a pretrained network")
    found = stored("2026-12-01-cpu-transfer-attention")
    section.table(rows(found, "rate"))
    section.table(
        [None, *effect(each), f"{p:.4f}" if p < 0.01 else f"{p:.2f}", each["verdict"]]
        for each, p in ((each, each["p_holm"]) for each in found["effects"])
    )
    low, high = interval(found["effects"][2])
    train, latency = (found["arms"][1]["costs"][mode] for mode in ("train", "latency"))
    reach = max(abs(end) for end in interval(found["effects"][1]))
    section.says(
        f"stays open: {100 * high:.1f} points more to {-100 * low:.1f} points less",
        f"within {100 * reach:.1f} points of nothing",
        f"at {train['ratio']:.1f} times the time of a training step ({between(train['ratio_interval'], '.1f')})",
        f"{latency['ratio']:.1f} times the latency of one image ({between(latency['ratio_interval'], '.1f')})",
        f"{found['arms'][0]['epochs']} epochs; every arm",
        f"margin {100 * found['margin']:.0f} points",
    )
    section.conditions("rates 0.001 and 0.01", "gates start at 1,", "to leave 1.")
    section.done()


def test_cbam_place() -> None:
    section = Section("questions", "CBAM's place")
    found = stored("2026-12-01-cpu-cbam-place")
    first, *others = found["arms"]
    steps = [
        f"{arm['costs']['train']['ratio']:.2f} ({between(arm['costs']['train']['ratio_interval'])})" for arm in others
    ]
    section.table([*row, step] for row, step in zip(rows(found), ["1", *steps], strict=True))
    none, output, late, last = others
    ratios = sorted(arm["costs"]["train"]["ratio"] for arm in (late, last))
    margin = f"{100 * found['margin']:.0f}"
    section.says(
        f"{first['epochs']} epochs, rate {first['lr']:g} for all arms, not tuned; margin {margin} points",
        f"within {margin} points of CBAM everywhere, at {between(ratios, '.1f')} of the training step",
        f"the mean is {-100 * output['difference']:.0f} points lower",
        f"(p = {output['p_holm']:.3f};",
    )
    assert 0.45 < none["costs"]["train"]["ratio"] < 0.55
    section.says(f"| {late['name']}", f"| {last['name']}")
    section.done()
