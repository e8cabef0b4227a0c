"""Figures of docs/results.md, computed from the files in benchmarks/results/."""

from statistics import fmean, median, quantiles, stdev
from typing import Any

from scipy.stats import binomtest

from tests.figures.pages import Section, between, stored

OTHER_SCORES = ("normalized_margin", "confidence_weighted_entropy")


def wilson(found: int, of: int) -> tuple[float, float]:
    """95% interval of a share."""
    interval = binomtest(found, of).proportion_ci(method="wilson")
    return interval.low, interval.high


def test_digits() -> None:
    section = Section("results", "Digits: the default command")
    found = stored("2026-11-24-cpu-digits")
    scores = [run["test"]["macro_accuracy"] for run in found["runs"]]
    seconds = [run["seconds"] for run in found["runs"]]
    errors = round((1 - min(scores)) * 180)
    section.table(
        [
            ["0, the default", f"{scores[0]:.3f}", f"{seconds[0]:.0f} s"],
            [
                f"0 to {len(scores) - 1}", f"mean {fmean(scores):.3f}, lowest {min(scores):.3f} (five errors of 180)",
                f"median {median(seconds):.1f} s, longest {max(seconds):.1f} s",
            ],
        ]
    )  # fmt: skip
    assert errors == 5
    section.conditions("15 epochs", "80% of 1,797 images for training, 10% each")
    section.unstored("0.985, 0.994 and 0.973")
    section.done()


def test_louvre_genres() -> None:
    section = Section("results", "Paintings: ResNet-18 on four genres")
    ours, plain = stored("2026-11-24-cpu-louvre-genres"), stored("2026-11-24-cpu-louvre-plain")
    runs, values = ours["runs"], plain["macro_accuracy"]["values"]
    scores, seconds = ([run["test"]["macro_accuracy"] for run in runs], [run["seconds"] for run in runs])
    section.table(
        [
            *([str(run["config"]["seed"]), f"{score:.3f}", f"{run['seconds']:.0f} s"] for run, score in zip(runs, scores)),
            ["mean", f"{fmean(scores):.3f} (standard deviation {stdev(scores):.3f})", f"{fmean(seconds):.0f} s"],
            [
                f"plain PyTorch, {len(values)} seeds",
                f"{fmean(values):.3f} (standard deviation {stdev(values):.3f})", f"{median(plain['seconds']):.0f} s",
            ],
        ]
    )  # fmt: skip
    tests = [run["test"]["n"] for run in runs]
    ends = [run["metrics"]["val_loss"][-1] for run in runs]
    assert 0.5 < min(ends) < max(ends) < 1
    assert all(run["metrics"]["train_loss"][-1] < 0.05 for run in runs)
    section.says(
        f"with {min(tests)} to {max(tests)} test images one image is about a point",
        f"the plain loop took its {median(plain['seconds']):.0f} s",
        "levels off between 0.5 and 1",
    )
    section.conditions("1,150 paintings", "260 to 300 each", "15 epochs, Adam at 1e-3", "approximately 920 paintings")
    section.done()


def test_recipes_on_the_paintings() -> None:
    section = Section("results", "Recipes on the paintings")
    found = stored("2026-11-25-cpu-louvre-recipes")
    names = ("scratch", "modified", "strong", "half from scratch", "fine-tuned", "frozen 1-3", "frozen 1-4")
    runs = [found[name] for name in names]
    section.table([None, f"{run['test']['macro_accuracy']:.3f}", run["best_epoch"]] for run in runs)
    (four,), (two,) = ({run["test"]["n"] for run in part} for part in (runs[:3], runs[3:]))
    epochs = found["strong"]["config"]["epochs"]
    section.says(
        f"all four genres ({four} test images)",
        f"(then called `strong`) with {epochs} epochs rather than 100, batches of "
        f"{found['strong']['config']['batch_size']} and an average of {found['strong']['config']['ema']}",
        f"still lifes alone ({two} test images)",
        f"portraits for {found['other classes']['config']['epochs']} epochs",
    )
    section.conditions("about 60 to 130 test images", "15 epochs take hours")
    section.done()


def test_public_cifar_resnets() -> None:
    section = Section("results", "Public CIFAR ResNets")
    found = stored("2026-11-29-cpu-cifar-resnets")
    section.table(
        ["ResNet-" + row["network"].removeprefix("resnet"), f"{row['both']:.4f}", f"{row['end']:.4f}"]
        for row in found["networks"]
    )
    section.says(f"the first {found['images'] // 10} test images", f"({found['images']:,} images)")
    section.conditions("CIFAR-10 class", "JPEG of quality 75", "91.7, 92.6, 93.1 and 93.4%")
    section.done()


def test_eager_speed() -> None:
    section = Section("results", "Speed: our ResNet-50 and torchvision's")
    rows = []
    for benchmark in stored("2026-11-24-cpu-eager")["benchmarks"]:
        samples = benchmark["extra_info"]
        ratios = [a / b for a, b in zip(samples["ours_seconds"], samples["torchvision_seconds"], strict=True)]
        low, _, high = quantiles(ratios, n=4)
        assert samples["batch"] == 4
        rows.append([None, f"{median(ratios):.3f}", between((low, high), ".3f"), len(ratios)])
    section.table(rows)
    section.conditions("batch 4")
    section.done()


def test_the_command_line() -> None:
    section = Section("results", "The command line")
    section.unstored("0.10 s of user CPU time (median of 7)")
    section.conditions("under 0.4 s")
    section.done()


def test_data_loading() -> None:
    section = Section("results", "Data loading")
    first, large = stored("2026-11-24-cpu-data-rate"), stored("2026-11-24-cpu-data-rate-1000")
    again, after = stored("2026-11-29-cpu-data-rate"), stored("2026-11-29-cpu-data-rate-after")
    section.table(
        [
            [None, f"{found['median']:{form}}", between((found["low"], found["high"]), form), found["n"]]
            for found, form in (
                (first["warm"]["ratio"], ".1f"), (large["warm"]["ratio"], ".0f"), (first["cold"]["ratio"], ".2f"),
                (first["gather"]["ratio"], ".2f"), (first["training_step"]["ratio"], ".2f"),
            )
        ]
    )  # fmt: skip
    warm, gather, cold, step = (again[name]["ratio"] for name in ("warm", "gather", "cold", "training_step"))
    section.says(
        f"{warm['median']:.1f} times their images per second ({between((warm['low'], warm['high']), '.1f')}, n = {warm['n']})",
        f"a gather {gather['median']:.2f} of a memory copy ({between((gather['low'], gather['high']))}, n = {gather['n']})",
        f"first epochs {cold['median']:.2f} ({between((cold['low'], cold['high']))}, n = {cold['n']})",
        f"in fp32 {step['median']:.2f} ({between((step['low'], step['high']))}, n = {step['n']})",
    )
    warm, gather, cold = (after[name]["ratio"] for name in ("warm", "gather", "cold"))
    section.says(
        f"a third time: {warm['median']:.1f} times ({between((warm['low'], warm['high']), '.1f')}, n = {warm['n']}), "
        f"{gather['median']:.2f} ({between((gather['low'], gather['high']))}, n = {gather['n']}) and "
        f"{cold['median']:.2f} ({between((cold['low'], cold['high']))}, n = {cold['n']})"
    )
    ours, theirs = ([median(found["warm"][who]) for found in (first, large)] for who in ("ours", "theirs"))
    few, many = (first["memory"][number]["peak_mib"] for number in ("1000", "20000"))
    section.says(
        f"Ours are {round(ours[0], -2):,.0f} images per second from pictures of 500 pixels, and "
        f"{round(ours[1], -2):,.0f} from pictures of 1,000 (medians)",
        f"{round(theirs[0], -1):.0f} and {round(theirs[1], -1):.0f}",
        f"was {few:.0f} MiB at 1,000 images and {many:.0f} MiB at 20,000: about {1024 * (many - few) / 19_000:.1f} KiB",
    )
    section.conditions("rotations by 90 degrees", "1,150 JPEGs of 500 x 500 pixels", "less than 100 bytes per image")
    section.done()


def test_near_copies() -> None:
    section = Section("results", "Near copies")
    found = stored("2026-11-29-cpu-near-copies")
    before, after, time = found["before"], found["after"], found["time"]
    copies = [name for name in after if "found" in after[name]]
    section.table([name, before[name]["found"], after[name]["found"]] for name in copies)
    sets = [name for name in after if name not in copies and not name.endswith("as JPEG")]

    def groups(where: dict[str, Any], name: str) -> str:
        if name not in where:
            return "–"
        row = where[name]
        return f"{row['groups']} ({row['grouped']})" if row["groups"] else "0"

    section.table(
        [name, *(groups(where, name + ending) for ending in ("", ", as JPEG") for where in (before, after))]
        for name in sets
    )
    decoding, searching = time["decoding"], time["searching"]
    wall, processor = (
        [now[which] / then[which] for then, now in zip(*decoding["ms, processor ms"], strict=True)] for which in (0, 1)
    )
    wall, processor = ([1 / each for each in ratios] for ratios in (wall, processor))
    turns = searching["in turns with and without the most alike ones below 0.85: s, processor s"]
    ratios, seconds = [a[0] / b[0] for a, b in turns], [a[0] for a, _ in turns]
    section.says(
        f"{median(wall):.2f} times as long as with the earlier method",
        f"median of {len(wall)} interleaved rounds of {decoding['pictures']} each, {between((min(wall), max(wall)))}",
        f"in CPU time {median(processor):.2f}, {between((min(processor), max(processor)))}",
        f"among {searching['pictures']:,} pictures takes {median(seconds):.1f} s (median, n = {len(turns)}, up to "
        f"{max(seconds):.1f}, on a busy machine), {median(ratios):.2f} times as long as without the most similar ones below "
        f"0.85 ({between((min(ratios), max(ratios)))}, {len(turns)} interleaved rounds)",
        f"{median(searching['again']):.3f} s from the cache (n = {len(searching['again'])})",
        f"100,000 would take about {(100_000 / searching['pictures']) ** 2 * median(seconds) / 60:.0f} minutes",
    )
    section.conditions(
        "100 of 1,150 paintings", "how many of the 100", "copies of 100 other", "0.78 to 0.85", "8 x 8 grey levels",
        "JPEG of quality 75", "all 1,797",
    )  # fmt: skip
    section.done()


def test_label_errors() -> None:
    section = Section("results", "Label errors")
    digits, louvre = stored("2026-12-01-cpu-planted-labels-digits"), stored("2026-12-01-cpu-planted-labels-louvre")
    pilots = stored("2026-12-01-cpu-planted-labels-pilots")

    def row(found: dict[str, Any], share: str) -> list[Any]:
        score, seeds = found["first_tenth"]["self_confidence"], found["seeds"]
        low, high = wilson(score["found"], score["of"])
        ends = f"({100 * low:.1f}% to {100 * high:.{0 if high == 1 else 1}f}%)"
        assert score["of"] == sum(seed["planted"] for seed in seeds)
        return [
            None,
            None,
            f"{len(seeds)} x {seeds[0]['planted']}",
            f"{score['found']} of {score['of']}{share} {ends}",
            *(
                ", ".join(str(seed[name]) for seed in seeds)
                for name in ("self_confidence", "flagged", "flagged_planted")
            ),
        ]

    part = louvre["first_tenth"]["self_confidence"]
    section.table([row(digits, ""), row(louvre, f": {100 * part['found'] / part['of']:.1f}%")])
    seeds = [seed for found in (digits, louvre) for seed in found["seeds"]]
    right = [round(100 * seed["accuracy"]) for seed in louvre["seeds"]]
    flagged = sum(seed["flagged"] - seed["flagged_planted"] for seed in louvre["seeds"])
    others = {found["first_tenth"][name]["found"] for found in (digits,) for name in OTHER_SCORES}
    assert others == {270}
    assert {louvre["first_tenth"][name]["found"] for name in OTHER_SCORES} == {152}
    large, small = (pilots[f"louvre at {size} px"]["first_tenth"]["self_confidence"] for size in (48, 32))
    minutes = sorted(seed["seconds"] / 60 for seed in seeds)
    section.says(
        f"{100 * fmean(seed['accuracy'] for seed in digits['seeds']):.0f}% of the digits and of {min(right)}% to "
        f"{max(right)}% of the paintings",
        f"{flagged} flagged paintings",
        f"all 270 too, and 152 of {part['of']} each",
        f"another seed ({pilots['digits']['seeds'][0]['seed']}), where 48 pixels found {large['found']} of {large['of']} "
        f"and 32 pixels {small['found']}",
        f"{minutes[0]:.1f} to {minutes[-1]:.1f} minutes",
    )
    section.conditions("5% of the labels", "first 10% of the list", "at 95% over", "would have 10% of them")
    section.done()
