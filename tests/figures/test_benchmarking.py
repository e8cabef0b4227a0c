"""Figures of docs/benchmarking.md, computed from the files in benchmarks/results/ and from the program."""

from statistics import median
from typing import Any

from resnet_lab.bench.config import INTERVAL, ROUNDS
from resnet_lab.bench.results import diff, read
from resnet_lab.bench.statistics import APART, FEWEST, RESOLUTION, SPREAD, median_interval
from tests.figures.pages import RESULTS, Section, between, stored

MODES = ("latency", "infer", "train")


def timed(arm: dict[str, Any], first: dict[str, Any], mode: str) -> list[str]:
    """Milliseconds, and the ratio with its exact interval, of the samples."""
    ours, theirs = (each[mode]["samples_ms"] for each in (arm, first))
    ms = f"{median(ours):,.0f} ms"
    if arm is first:
        return [ms, "1"]
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    interval = median_interval(ratios)
    assert interval is not None
    return [ms, f"{median(ratios):.2f} ({between(interval)})"]


def test_method() -> None:
    section = Section("benchmarking", "Method")
    cases = stored("2026-11-30-cpu-simulated-rounds")
    narrow, whole = ([case["coverage"][which] for case in cases["cases"]] for which in ("narrow", "all"))
    false, rest = ([case["false"][which] for case in cases["cases"] if case["false"]] for which in ("narrow", "all"))
    ratios, spreads = (sorted({case["case"].split(", ")[place] for case in cases["cases"]}) for place in (0, 1))
    section.says(
        f"holds in {between((min(narrow), max(narrow)), '.1f', 100)}% ({between((min(whole), max(whole)), '.1f', 100)}% after",
        f"at most {100 * max(false):.2f}% of equal arms come out faster or slower ({100 * max(rest):.2f}%)",
        f"{cases['parts']:,} arms a case, true ratios of {float(ratios[0]):g}, {ratios[1]} and {ratios[2]}, spreads of "
        f"{100 * float(spreads[0]):g} to {100 * float(spreads[-1]):g}%",
        f"With fewer than {FEWEST} rounds",
        f"is {100 * INTERVAL:g}% of the ratio",
        f"or {100 * APART * INTERVAL:g}% where",
        f"after {ROUNDS} (`--rounds`)",
        f"the equivalence margin of {100 * RESOLUTION:g}%, `same` where it is within {100 * RESOLUTION:g}%",
        f"spread by more than {100 * SPREAD:g}%",
    )
    section.unstored("in simulation it covered 91%", "15 rounds)")
    section.done()


def test_eight_combinations() -> None:
    section = Section("benchmarking", "Measured: ResNet-50, eight combinations")
    found, peers = stored("2026-11-25-cpu-bench"), stored("2026-11-25-cpu-bench-peers")
    arms = found["arms"]
    section.table(
        [
            arm["name"], f"{arm['parameters']:,}", f"{arm['macs'] / 1e9:.3f}",
            *(cell for mode in MODES for cell in timed(arm, arms[0], mode)),
        ]
        for arm in arms
    )  # fmt: skip
    section.table(
        [None, *(cell for mode in ("infer", "train") for cell in timed(arm, peers["arms"][0], mode))]
        for arm in peers["arms"]
    )
    control = [
        f"{each['ratio']:.2f} ({between(each['interval'])})" for each in (found["control"][mode] for mode in MODES)
    ]
    section.says(
        f"medians of {found['rounds']} rounds, ratios to the first row with exact 95% intervals",
        f"came out at {control[0]}, {control[1]} and {control[2]}",
        f"{peers['rounds']} rounds; ratios to ours",
    )
    compiled = {arm["maker"]: arm for arm in peers["arms"] if arm["compile"] == "on"}
    ours = compiled["resnet-lab"]
    inference, training = (
        [timed(compiled[maker], ours, mode)[1] for maker in ("torchvision", "timm")] for mode in ("infer", "train")
    )
    section.says(
        f"torchvision's takes {inference[0].replace(' (', ' times (')} and timm's {inference[1].replace(' (', ' times (')} as long",
        f"compiled, {training[0]} and {training[1]} times ours",
    )
    plain, cbam, depthwise, gelu = (arms[number] for number in (0, 1, 2, 4))
    work = {
        arm["name"]: {operator["kind"]: operator for operator in arm["profile"]["operators"]}
        for arm in (plain, cbam, depthwise, gelu)
    }

    def ms(arm: dict[str, Any], kind: str) -> float:
        return 1000 * float(work[arm["name"]][kind]["seconds"])

    def floor(arm: dict[str, Any], kind: str) -> float:
        return 1000 * float(work[arm["name"]][kind]["floor"])

    assert 4 / 3 < cbam["infer"]["ratio"] < cbam["train"]["ratio"] < 1.68
    assert 7 / 6 > gelu["infer"]["ratio"] > 1.15
    section.says(
        f"CBAM adds {100 * (cbam['macs'] / plain['macs'] - 1):.1f}% of",
        f"moves {cbam['moved_bytes'] / plain['moved_bytes']:.2f} times the bytes",
        f"take {ms(cbam, 'mean') + ms(cbam, 'amax'):.0f} ms where the floor is {floor(cbam, 'mean') + floor(cbam, 'amax'):.0f}: "
        f"the mean {ms(cbam, 'mean') / floor(cbam, 'mean'):.1f} times its floor, the maximum "
        f"{ms(cbam, 'amax') / floor(cbam, 'amax'):.1f} times",
        f"has {depthwise['macs'] / plain['macs']:.2f} times the multiply-adds of the whole network and "
        f"{depthwise['infer']['ratio']:.2f} times the time",
        f"took {ms(plain, 'convolution 3x3'):.0f} ms, the depthwise ones take {ms(depthwise, 'depthwise 3x3'):.0f}: "
        f"{ms(depthwise, 'depthwise 3x3') / floor(depthwise, 'depthwise 3x3'):.1f} times their floor",
        f"at {work[depthwise['name']]['depthwise 3x3']['intensity']:.1f} multiply-adds per byte, where the device does "
        f"{found['roof']['macs']['bfloat16'] / found['roof']['bandwidth']:.0f}",
        f"at {ms(plain, 'convolution 1x1') / floor(plain, 'convolution 1x1'):.1f} times their floor",
        f"takes {ms(gelu, 'gelu'):.0f} ms where ReLU takes {ms(plain, 'relu'):.0f}",
        f"reaches {100 * plain['fused_floor_ms'] / plain['infer']['median_ms']:.0f}% of the device's peak",
        f"({plain['infer']['median_ms']:.0f} ms against {plain['fused_floor_ms']:.0f})",
    )
    assert round(ms(gelu, "gelu") / floor(gelu, "gelu")) == 4
    section.conditions("batch of 8)")
    section.conditions("MACs (10^9)")
    section.done()


def test_bytes_moved() -> None:
    section = Section("benchmarking", "Bytes moved")
    blocks = stored("2026-11-30-bytes-moved")["blocks"]

    def shares(block: dict[str, int]) -> tuple[str, str]:
        fused, compiled, convolutions = block["fused, compiled"], block["compiled"], block["convolutions"]
        return f"{fused / compiled:.3f}", f"{(fused - convolutions) / (compiled - convolutions):.3f}"

    section.table(
        [
            f"{stage}, {112 >> stage} px, {128 << stage:,} channels",
            *(f"{block[which] / 1e6:,.0f}" for which in ("eager", "compiled", "fused, eager", "fused, compiled")),
            *shares(block), *shares(blocks[f"layer{stage}, batch 32"]),
        ]
        for stage in (1, 2, 3, 4)
        for block in (blocks[f"layer{stage}, batch 256"],)
    )  # fmt: skip
    one = blocks["layer1, batch 256"]
    passes = {name: number / (256 * 256 * 56 * 56 * 2) for name, number in one.items()}
    reached = [float(shares(blocks[f"layer{stage}, batch 256"])[0]) <= 0.65 for stage in (1, 2, 3, 4)]
    assert reached == [True, False, False, False]
    section.says(
        f"Of the {passes['fused, compiled']:.0f} passes over a map of stage 1 (compiled: {passes['compiled']:.0f}) "
        f"{passes['kernels']:.1f} are the plugin's, {passes['convolutions']:.1f} those of convolutions",
    )
    section.unstored("7.5 those of the two other norms", "and 3 are where the gradients")
    section.conditions(
        "batch 256;", "The aim was 0.65", "at batch 32", "In stage 4 an image has 49 pixels", "a pretended H200",
        "passed over 13 times: 5 forward, 8 backward", "elsewhere, 4 and 6)", "7.5 to 10.0",
    )  # fmt: skip
    section.done()


def test_reliability() -> None:
    section = Section("benchmarking", "Reliability")
    same = stored("2026-12-01-cpu-same-arms")
    summary = same["summary"]
    for mode, each in summary.items():
        ratios = [run[mode]["ratio"] for run in same["runs"]]
        held = [run[mode]["interval"][0] <= 1 <= run[mode]["interval"][1] for run in same["runs"]]
        assert (sum(abs(ratio - 1) < 0.02 for ratio in ratios), sum(held)) == (
            each["within 2%"],
            each["interval holds 1"],
        )
    section.says(
        f"itself**, {len(same['runs'])} benches",
        f"within 2% of 1 in {summary['infer']['within 2%']} in inference and {summary['train']['within 2%']} in training",
        f"covered 1 in {summary['infer']['interval holds 1']} and {summary['train']['interval holds 1']}, and none",
    )
    assert {each["told apart"] for each in summary.values()} == {0}
    first, second = (read(RESULTS / f"2026-11-25-cpu-bench-repeat-{number}.json") for number in (1, 2))
    changes = [change for change in diff(first, second, ("first", "second")) if change.old["ratio"] != 1]
    moved = [change.change - 1 for change in changes]
    ends = [change.interval for change in changes if change.interval]
    widths = [high - low for low, high in ends]
    (outside,) = ((low, high) for low, high in ends if not low <= 1 <= high)
    assert (len(changes), {change.verdict for change in changes}) == (9, {"undecided"})
    section.says(
        f"changed by {100 * min(moved):.0f}% to {100 * max(moved):+.0f}%",
        f"(that one ends at {outside[1]:.3f})",
        f"they are {between((min(widths), max(widths)), '.0f', 100)}% wide",
    )
    section.conditions(
        "batch 16 (",
        "(15 rounds)",
        "slowdown** of 5%",
        "one of 1% or none",
        "40 minutes later",
        "hold 1",
    )
    section.done()
