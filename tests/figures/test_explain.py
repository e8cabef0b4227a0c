"""Figures of docs/explain.md, computed from the files in benchmarks/results/."""

from statistics import fmean
from typing import Any

from resnet_lab.cli.explain import ALIKE
from tests.figures.pages import Section, between, spread, stored


def test_sanity_check() -> None:
    section = Section("explain", "Sanity check")
    networks = stored("2026-12-01-cpu-explanation-sanity")["networks"]
    paintings, cifar = networks[:2], networks[2:]

    def single(found: list[dict[str, Any]], *methods: str) -> list[float]:
        rows = [
            network[method][kind]["values"]
            for network in found
            for method in methods
            for kind in ("trained", "untrained")
        ]
        return [value for row in rows for values in row for value in values if value is not None]

    def means(found: list[dict[str, Any]], kind: str, *methods: str) -> list[float]:
        rows = [values for network in found for method in methods for values in network[method][kind]["values"]]
        return [fmean(value for value in values if value is not None) for values in rows]

    methods = (("grad-cam", "hires-cam"), ("occlusion",), ("integrated-gradients",))
    section.table(
        [
            None, None,
            *(between((min(found), max(found))).replace("-0.00 ", "0.00 ") for found in (means(of, kind, *names) for kind in ("trained", "untrained"))),
            f"{max(single(of, *names)):.2f}",
        ]
        for names in methods
        for of in (paintings, cifar)
    )  # fmt: skip
    above = [sum(value > ALIKE for value in single(networks, name)) for (name, *_) in methods]
    assert above == [sum(value > ALIKE for value in single(networks, "hires-cam")), 0, 0]
    numbers = {len(single(networks, name)) for (name,) in methods[1:]}
    section.says(
        f"Above {ALIKE} a warning",
        f"So {ALIKE} is far above",
        f"{above[0]} of {len(single(networks, 'grad-cam'))} exceed it by Grad-CAM or HiResCAM, and none of {numbers.pop()} by each",
    )
    section.unstored("validation accuracy 0.66 and 0.69", "had 0.06 and 0.22")
    section.conditions("on 20 images", "over 20 images", "for 6 epochs", "of 64 points")
    section.done()


def test_speed() -> None:
    section = Section("explain", "Speed")
    found, (cost,) = stored("2026-11-25-cpu-grad-cam"), stored("2026-12-01-cpu-explanation-cost")["networks"]
    rates, alike = found["one class"]["images a second"], found["one class"]["correlation"]
    names = ("ours bf16", "ours fp32", "theirs", "theirs channels-last")
    section.table([None, spread(rates[name], ".1f")] for name in names)

    def seconds(name: str) -> str:
        value = cost[name]["seconds per image"]["median"]
        return f"{value:.2f}" if value > 0.1 else f"{value:.3f}"

    methods = ("grad-cam", "hires-cam", "occlusion", "integrated-gradients")
    section.table(
        [
            f"`{name}`", seconds(name),
            "1" if name == "grad-cam" else spread(cost[name]["over grad-cam"], ".2f" if name == "hires-cam" else ".0f"),
            seconds(f"{name}, checked"),
        ]
        for name in methods
    )  # fmt: skip
    assert alike["ours fp32"] > 0.999
    section.says(f"above 0.999 in float32; {alike['ours bf16']:.4f} in bf16")
    section.unstored("takes 1 ms per image", "takes 0.2 s more")
    section.conditions(
        "`2026-11-25-cpu-grad-cam.json`; 5 interleaved", "3 interleaved rounds", "pytorch-grad-cam 1.5.7"
    )
    section.done()
