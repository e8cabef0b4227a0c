"""Figures of docs/paintings.md, computed from the file in benchmarks/results/."""

from statistics import fmean

from scipy.stats import ttest_1samp

from tests.figures.pages import ROOT, Section, adjusted, between, effect, stored


def test_measured_on_another_set() -> None:
    section = Section("paintings", "Measured on another set")
    found = stored("2026-11-28-cpu-paintings-five")
    rows = []
    for arm in found["arms"]:
        scores = [trial["scores"]["macro_accuracy"] for trial in found["trials"] if trial["arm"] == arm["name"]]
        interval = ttest_1samp(scores, 0).confidence_interval()
        rows.append([arm["name"], f"{fmean(scores):.3f}", between(interval, ".3f"), f"{arm['seconds_an_epoch']:.1f}"])
    section.table(rows)
    text = (ROOT / "docs" / "paintings.md").read_text()
    _, *others = found["arms"]
    for arm, p in zip(others, adjusted(others), strict=True):
        assert arm["in_words"] in text
        difference, interval = effect(arm)
        assert (
            f"{arm['name']}: {difference} points macro accuracy, 95% interval [{interval.replace(' to ', ', ')}]"
            in text
        )
        assert (p < 0.05) == (arm["verdict"] == "worse")
    ahead = {arm["name"]: [100 * each for each in arm["differences"]] for arm in others}
    modified, tuned = (ahead[name] for name in ("modified", "fine-tuned"))
    alone = ttest_1samp(others[0]["differences"], 0).pvalue
    section.says(
        f"{found['arms'][0]['epochs']} epochs, {found['arms'][0]['trials']} seeds",
        f"is {between((min(modified), max(modified)), '.0f')} points ahead of the one from scratch, the fine-tuned one "
        f"{between((min(tuned), max(tuned)), '.0f')}",
        f"(p = {alone:.3f} by itself)",
    )
    section.conditions("1,150 paintings", "3,000 drawn shapes")
    section.done()
