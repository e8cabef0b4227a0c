"""Figures of docs/evaluation.md, computed from the file in benchmarks/results/ and from the program."""

from typing import Any

from resnet_lab.evaluation.metrics.headline import RESAMPLES
from tests.figures.pages import Section, percent, percents, stored

SHARES = ("accuracy", "macro_accuracy", "macro_recall", "weighted_recall", "top5_accuracy")


def simulated(kind: str) -> list[dict[str, Any]]:
    return [case for case in stored("2026-11-30-cpu-simulated-figures")["cases"] if case["kind"] == kind]


def range_of(coverage: dict[str, float], names: tuple[str, ...]) -> str:
    found = sorted(percent(coverage[name]) for name in names if name in coverage)
    if not found:
        return "none"
    text = percents(coverage[name] for name in names if name in coverage)
    return found[0] if found[0] == found[-1] else text


def test_few_images() -> None:
    section = Section("evaluation", "Few images")
    section.table([None, None, None] for _ in range(4))  # words
    section.table(
        [
            case["case"],
            *(
                percent(case["coverage"][name]) if name in case["coverage"] else ""
                for name in ("ours", "Wilson", "bootstrap")
            ),
        ]
        for case in simulated("macro")
    )
    figures = simulated("figures")
    section.table(
        [
            case["case"], range_of(case["coverage"], SHARES),
            range_of(case["coverage"], ("macro_precision", "weighted_precision")),
            range_of(case["coverage"], ("macro_f1", "weighted_f1")), percent(case["coverage"]["log_loss"]),
        ]
        for case in figures
    )  # fmt: skip
    classes = ("10 classes", "30 classes", "50 classes")
    section.table(
        [
            case["case"],
            *(percent(case["findings"][number][which]) for which in ("ours", "over classes") for number in classes),
        ]
        for case in simulated("size")
    )
    (given,) = {case["given"]["log_loss"] for case in figures if case["case"] == "4 classes of 25, 0.95"}
    parts = f"{stored('2026-11-30-cpu-simulated-figures')['parts']:,}"
    section.says(
        f"have intervals in {percent(given, 0)} of the parts",
        f"in {parts} simulated test parts each",
        f"Findings in {parts} test parts each",
    )
    section.conditions(
        "fewer than 5 images, or fewer than 5 answers", "| figures | fewer than 5 wrong, or right | a class with fewer than 5 images |",
        "top-5 accuracy", "p(1 - p)", "(1/n) images, which", "of K² / Σ(1/n) images |", "nominal 95% intervals",
        "With 4 classes of 25 at 0.95,", "5 mistakes or more", "(0, 1/2 or 1)", "by chance, 95% of the time", "2007, doi:10.1175/WAF993.1",
        "of 1 to 100 images: p up to 0.05 | 10 classes | 30 | 50 |", "over classes: 10 | 30 | 50 |", "is never 0 on",
    )  # fmt: skip
    section.done()


def test_metrics() -> None:
    section = Section("evaluation", "Metrics")
    section.says(f"from {RESAMPLES:,} resamples")


def test_compare() -> None:
    section = Section("evaluation", "`compare`")
    paired = simulated("paired")
    section.table(
        [
            case["case"],
            *(percent(case["coverage"][name]) for name in ("accuracy", "accuracy, bootstrap", "macro accuracy")),
        ]
        for case in paired
    )
    section.says(f"({stored('2026-11-30-cpu-simulated-figures')['parts']:,} simulated pairs each")
    section.conditions(
        "Mood 1946", "Price 2012", "top-5 accuracy", "K² / Σ(1/n)", "fewer than 5 images", "on fewer than 10",
    )  # fmt: skip
    section.done()
