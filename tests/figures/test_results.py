"""Figures of docs/results.md, computed from the files in benchmarks/results/."""

import re
from decimal import ROUND_HALF_UP, Decimal
from math import inf
from pathlib import Path
from statistics import fmean, median, quantiles, stdev
from typing import Any

from scipy.stats import binomtest, ttest_1samp

from tests.figures.pages import FIGURE, NO_FIGURES, ROOT, Section, between, points, quartiles_of, spread, stored

OTHER_SCORES = ("normalized_margin", "confidence_weighted_entropy")


def wilson(found: int, of: int) -> tuple[float, float]:
    """95% interval of a share."""
    interval = binomtest(found, of).proportion_ci(method="wilson")
    return interval.low, interval.high


def test_introduction() -> None:
    section = Section("results", "Measured results")
    section.conditions("with 2 cores", "or 2.15")
    section.done()


def test_no_section_is_left_out() -> None:
    page = (ROOT / "docs" / "results.md").read_text()
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_results*.py"))
    for heading in re.findall(r"^#+ (.*)", re.sub(r"```.*?```", "", page, flags=re.DOTALL), re.MULTILINE):
        if f'Section("results", "{heading}")' not in tests:
            Section("results", heading).done()


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
            *([seed, f"{scores[seed]:.3f}", f"{seconds[seed]:.0f} s"] for seed in range(len(runs))),
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
        f"`paintings-adamw`, {epochs} epochs",
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
        f"{warm['median']:.1f} times their images per second ({quartiles_of(warm, '.1f')})",
        f"a gather {gather['median']:.2f} of a memory copy ({quartiles_of(gather)})",
        f"first epochs {cold['median']:.2f} ({quartiles_of(cold)})",
        f"in fp32 {step['median']:.2f} ({quartiles_of(step)})",
    )
    warm, gather, cold = (after[name]["ratio"] for name in ("warm", "gather", "cold"))
    section.says(
        f"a third time: {warm['median']:.1f} times ({quartiles_of(warm, '.1f')}), "
        f"{gather['median']:.2f} ({quartiles_of(gather)}) and "
        f"{cold['median']:.2f} ({quartiles_of(cold)})"
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
        f"{max(seconds):.1f}, on a busy machine), {median(ratios):.2f} times as long as without the most similar ones "
        f"below 0.85 ({between((min(ratios), max(ratios)))}, {len(turns)} interleaved rounds)",
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
    small_network, large_network = digits["settings"], louvre["settings"]
    section.says(
        f"{100 * fmean(seed['accuracy'] for seed in digits['seeds']):.0f}% of the digits and of {min(right)}% to "
        f"{max(right)}% of the paintings",
        f"{flagged} flagged paintings",
        f"all 270 too, and 152 of {part['of']} each",
        f"another seed ({pilots['digits']['seeds'][0]['seed']}), where 48 pixels found {large['found']} of "
        f"{large['of']} and 32 pixels {small['found']}",
        f"{minutes[0]:.1f} to {minutes[-1]:.1f} minutes",
        f"digits, {digits['seeds'][0]['images']:,} images",
        f"the Louvre, {louvre['seeds'][0]['images']:,} in four",
        f"at {small_network['size']} pixels, {small_network['epochs']} epochs",
        f"at {large_network['size']} pixels, stages {large_network['freeze'].replace('-', ' and ')} frozen, "
        f"{large_network['epochs']} epochs",
    )
    section.conditions("5% of the labels", "the first 10%", "at 95% over", "would have 10% of them")
    section.done()


def rates(found: dict[str, Any], first: str) -> list[object]:
    """Cells of a row of ratios: how many times as fast, quartiles, and how many."""
    ratios = [a / b for a, b in zip(found["ours"], found["theirs"], strict=True)]
    low, _, high = quantiles(ratios, n=4)
    return [first, f"{median(ratios):.2f}", between((low, high)), len(ratios)]


def test_training_speed() -> None:
    section = Section("results", "Training speed")
    first, later = stored("2026-11-25-cpu-training-speed"), stored("2026-12-01-cpu-training-speed")
    section.table(
        [
            rates(first["epoch beside the usual way"], "epochs per second, ours over theirs"),
            rates(
                first["loop beside a bare one"],
                "our loop over a plain PyTorch loop on the same preloaded batches (ResNet-18 at 64 pixels)",
            ),
        ]
    )
    rows = [
        rates(later[f"epoch of {network} in {precision} beside the usual way"], precision)
        for network in ("ResNet-18", "ResNet-18 with GELU and CBAM")
        for precision in ("bf16", "fp32")
    ]
    section.table([None, *row] for row in rows)
    again = stored("2026-12-01-cpu-training-speed-compiled")
    section.table(
        [
            None,
            precision,
            *(
                cell
                for mode in ("", ", compiled,")
                for cell in rates(again[f"epoch of {network} in {precision}{mode} beside the usual way"], "")[1:3]
            ),
        ]
        for network in ("ResNet-18", "ResNet-18 with GELU and CBAM")
        for precision in ("bf16", "fp32")
    )
    assert {found["ratio"]["n"] for name, found in again.items() if name.startswith("epoch")} == {5}
    single = sorted(float(str(row[1])) for row in rows if row[0] == "fp32")
    assert first["setting"]["images"] == 384
    section.says(
        f"with epochs of {later['setting']['images']} images",
        f"the rest (decoded images, memory layout, operators) {single[0]} to {single[1]}",
    )
    section.conditions("384 training and 64 validation images", "(n = 5 each)")
    section.done()


def contrast(found: dict[str, Any]) -> str:
    return f"{points(found['mean'], 1)} ({between(found['interval'], '+.1f', 100)})"


def last_seconds(seeds: list[dict[str, Any]], arm: str) -> list[float]:
    return [seed[arm]["seconds"][-1] for seed in seeds]


def test_time_to_accuracy() -> None:
    section = Section("results", "Time to accuracy")
    found = stored("2026-11-30-cpu-time-to-accuracy")
    summary, seeds, arms = found["summary"], found["seeds"], ("usual", "quick", "equal time")
    quick, equal = summary["beside the usual way"]
    section.table(
        [
            ["epochs", *(found["epochs"][arm] for arm in arms)],
            ["seconds, median", *(f"{median(last_seconds(seeds, arm)):.0f}" for arm in arms)],
            [None, *(f"{fmean(seed[arm]['test'] for seed in seeds):.3f}" for arm in arms)],
            [None, "", contrast(quick), contrast(equal)],
            [None, "", *(f"{each['p']:.2f}, {each['verdict']}" for each in (quick, equal))],
        ]
    )
    ratios = summary["ratios where both reach it"]
    target = median(seed["usual"]["validation"][-1] for seed in seeds)
    alone = ttest_1samp([seed["equal time"]["test"] - seed["usual"]["test"] for seed in seeds], 0).pvalue
    section.says(
        f"ours in {median(last_seconds(seeds, 'quick')) / median(last_seconds(seeds, 'usual')):.1f} of its time",
        f"The usual way has {found['epochs']['usual']} epochs",
        f"at its end, {target:.3f}. Ours reached it in "
        + ", ".join(f"{ratio:.2f}" for ratio in ratios[:-1])
        + f" and {ratios[-1]:.2f} of the seconds",
        f"in median {median(ratios):.2f}, at four seeds",
        f"alone, the second contrast would have p = {alone:.2f}",
        f"which counted {found['tuning']['epochs']['ours']} epochs of ours",
    )
    section.conditions("the 1,150 paintings", ": 6 seeds")
    at_128(section)
    on_cifar(section)
    section.done()


def at_128(section: Section) -> None:
    found = stored("2026-12-01-cpu-time-to-accuracy-128")
    summary, seeds, arms = found["summary"], found["seeds"], ("usual", "quick")
    (quick,) = summary["beside the usual way"]
    usual, ours = (last_seconds(seeds, arm) for arm in arms)
    whole = [b / a for a, b in zip(usual, ours, strict=True)]
    section.table(
        [
            ["epochs", *(found["epochs"][arm] for arm in arms)],
            [
                "seconds, median", f"{median(usual):.0f}",
                f"{median(ours):.0f}: {median(whole):.2f} of the usual way's ({between((min(whole), max(whole)))})",
            ],
            [None, *(f"{fmean(seed[arm]['validation'][-1] for seed in seeds):.3f}" for arm in arms)],
            [None, *(f"{fmean(seed[arm]['test'] for seed in seeds):.3f}" for arm in arms)],
            [None, "", contrast(quick)],
            [None, "", f"{quick['p']:.2f}, {quick['verdict']}"],
        ]
    )  # fmt: skip
    target = median(seed["usual"]["validation"][-1] for seed in seeds)

    def reached(arm: str) -> list[float | None]:
        crossings = [zip(seed[arm]["seconds"], seed[arm]["validation"], strict=True) for seed in seeds]
        return [next((second for second, score in crossing if score >= target), None) for crossing in crossings]

    slower, quicker = reached("usual"), reached("quick")
    first, second = (b / a for a, b in zip(slower, quicker, strict=True) if a and b)
    to_theirs = [time for time in slower if time]
    to_ours = [time for time in quicker if time]
    shares = [(time or inf) / total for time, total in zip(quicker, usual, strict=True)]
    assert sum(seed["quick"]["test"] > seed["usual"]["test"] for seed in seeds) == 5
    assert (len(to_ours), len(to_theirs)) == (5, 3)
    tried = found["tuning"]["usual"]["tried"], found["tuning"]["ours"]["tried"]
    assert [len(each) for each in tried] == [4, 3]
    theirs, chosen = found["chosen"]["usual"], found["chosen"]["ours"]
    assert theirs["batch"] == chosen["batch"]
    section.says(
        f"({theirs['batch']} for both; rates of {1e4 * theirs['rate']:.0f}e-4 for the",
        f"of {1e3 * chosen['rate']:.0f}e-3 for ours",
        f"{found['epochs']['usual']} epochs of the usual way and {found['epochs']['quick']} of ours",
        f"validation accuracy at its end ({target:.3f}), was reached by ours at five seeds, after "
        f"{between((min(to_ours), max(to_ours)), '.0f')} s, and by the usual way at three, after "
        f"{between((min(to_theirs), max(to_theirs)), '.0f')} s",
        f"ours took {first:.2f} and {second:.2f} of the usual way's seconds",
        f"and {median(shares):.2f} of the usual way's whole training in median",
    )


def on_cifar(section: Section) -> None:
    found = stored("2026-12-01-cpu-time-to-accuracy-cifar")
    summary, seeds, arms = found["summary"], found["seeds"], ("usual", "quick", "equal time")
    quick, equal = summary["beside the usual way"]
    usual, short, long = (last_seconds(seeds, arm) for arm in arms)
    section.table(
        [
            ["epochs", *(found["epochs"][arm] for arm in arms)],
            ["seconds, median", *(f"{median(last_seconds(seeds, arm)):.0f}" for arm in arms)],
            [None, *(f"{fmean(seed[arm]['test'] for seed in seeds):.3f}" for arm in arms)],
            [None, "", contrast(quick), contrast(equal)],
            [None, "", f"{quick['p']:.2f}, {quick['verdict']}", f"{equal['p']:.4f}, {equal['verdict']}"],
        ]
    )
    whole, less = ([b / a for a, b in zip(usual, each, strict=True)] for each in (long, short))
    assert all(seed["equal time"]["test"] > seed["usual"]["test"] for seed in seeds)
    first, second = summary["ratios where both reach it"]
    assert f"{median(less):.1f}" == "0.6"  # in the head of this table too
    section.says(
        f"ours in {median(whole):.2f} of its time",
        f"({between((min(whole), max(whole)))} of the usual way's: eleven epochs",
        f"in {median(less):.2f} of it ({between((min(less), max(less)))})",
        f"a validation accuracy of {summary['target']:.3f}, was reached by each at three seeds",
        f"where ours took {first:.2f} and {second:.2f} of the usual",
    )
    section.conditions("On the 2,000 test images", "the last stage has 1 x 1 pixels")


PARTS = ("plain", "gelu", "cbam", "gelu cbam")


def test_gradients_in_one_memory_layout() -> None:
    section = Section("results", "Gradients in one memory layout")
    cases = stored("2026-11-30-cpu-gradient-layouts")["cases"]
    networks = (
        ("ResNet-20 (option A), 16 px, batch 32", "resnet20 at 16 px, batch 32"),
        ("ResNet-18, 96 px, batch 32", "resnet18 at 96 px, batch 32"),
        ("ResNet-50, 224 px, batch 8", "resnet50 at 224 px, batch 8"),
    )
    section.table(
        [
            "" if precision == "fp32" else shown, precision,
            *(f"{cases[f'{name}, {parts}, {precision}']['ratio']:.2f}" for parts in PARTS),
        ]
        for shown, name in networks
        for precision in ("bf16", "fp32")
    )  # fmt: skip
    plain = [case["ratio"] for name, case in cases.items() if "plain" in name and "resnet20" not in name]
    section.says(f"came out at {between((min(plain), max(plain)))}")
    section.conditions("64-bit integers")
    section.done()


def test_inference_speed() -> None:
    section = Section("results", "Inference speed")
    two, one, single = (
        stored(name)
        for name in ("2026-11-25-cpu-inference", "2026-11-30-cpu-inference-one-core", "2026-12-01-cpu-inference-fp32")
    )

    def found(file: dict[str, Any], network: str, batch: int) -> dict[str, Any]:
        ratios: dict[str, Any] = file[f"{network}, batch {batch}"]["ratios"]["timm as it comes"]
        return ratios

    def ms(row: dict[str, Any], *arms: str) -> str:
        found = (Decimal(str(row["milliseconds"][arm])) for arm in arms)  # stored with two decimals
        return ", ".join(str(each.quantize(Decimal("0.1"), ROUND_HALF_UP)) for each in found)

    networks = (("ResNet-50", "resnet50"), ("with GELU and CBAM", "resnet50, GELU and CBAM"))
    section.table(
        [
            shown if batch == 1 else "", batch, spread(row["ours compiled over timm compiled"]),
            ms(row, "ours eager", "ours compiled"), ms(row, "timm eager", "timm compiled"),
        ]
        for shown, name in networks
        for batch in (1, 8, 32)
        for row in (found(two, name, batch),)
    )  # fmt: skip
    rows = [found(one, "resnet50", batch) for batch in (1, 8)]

    def ratio(row: dict[str, Any]) -> str:
        return f"{row['median']:.2f} ({between(row['interval'])})"

    section.table(
        [
            [None, *(ms(row, "ours eager", "ours compiled") for row in rows)],
            [None, *(ms(row, "timm eager", "timm compiled") for row in rows)],
            [None, *(ms(row, "ours onnx", "ONNX Runtime") for row in rows)],
            [None, *(ms(row, "ours int8") for row in rows)],
            [None, *(ratio(row[row["ours over theirs"]]) for row in rows)],
            [None, *(ratio(row["ours int8 over timm frozen"]) for row in rows)],
        ]
    )
    section.table(
        [
            shown if batch == 1 else "", batch, ms(row, "ours eager", "ours compiled", "ours onnx"),
            ms(row, "timm eager", "timm compiled"), ms(row, "ONNX Runtime"), ms(row, "ours int8"),
            ratio(row[row["ours over theirs"]]),
        ]
        for shown, name in networks
        for batch in (1, 8, 32)
        for row in (found(single, name, batch),)
    )  # fmt: skip
    rows = [found(two, name, batch) for _, name in networks for batch in (1, 8, 32)]
    assert {row["ours compiled over timm compiled"]["n"] for row in rows} == {5}
    apart = max(abs(row["ours compiled over timm frozen"]["median"] - 1) for row in rows)
    plain, changed = ([found(single, name, batch) for batch in (1, 8, 32)] for _, name in networks)
    gains = [row[row["ours over theirs"]]["median"] - 1 for row in changed]
    frozen = [row["milliseconds"]["timm frozen"] for row in plain + changed]
    ratios = [row["ours compiled over timm frozen"]["median"] for row in plain + changed]
    section.says(
        "quartiles of 5 quiet rounds",
        f"is within {100 * apart:.0f}% of ours",
        f"compiled code is {between((min(gains), max(gains)), '.0f', 100)}% faster",
        f"takes {between((min(frozen), max(frozen)), '.1f')} ms: {between((min(ratios), max(ratios)))} times as long",
    )
    assert one["setting"]["rounds"] == single["setting"]["rounds"]
    section.says(f"medians of {one['setting']['rounds']} interleaved rounds", "| arm | batch 1 | batch 8 |")
    section.done()


def test_start_of_a_command() -> None:
    section = Section("results", "Start of a command")
    seconds = stored("2026-12-01-cpu-start-time")["seconds"]
    imported = seconds["import torch, torchvision"]

    def ratio(command: str) -> str:
        return f"{median(a / b for a, b in zip(seconds[f'resnet-lab {command}'], imported, strict=True)):.2f}"

    section.says(
        f"({median(imported):.1f} s; ratios, median of {len(imported)} interleaved rounds",
        f"`predict` on one image {ratio('predict')}",
        f"`eval` that recalls its predictions {ratio('eval')}",
        f"`--help` {ratio('--help')} ({median(seconds['resnet-lab --help']):.1f} s)",
    )
    section.done()


def test_cached_output_of_frozen_stages() -> None:
    section = Section("results", "Cached output of frozen stages")
    found = stored("2026-11-24-cpu-frozen")
    rows = []
    for name, form in (
        ("freeze 1-3, bf16", ".2f"), ("freeze 1-3, bf16, beside other work", ".1f"),
        ("freeze 1-3, fp32, beside other work", ".1f"), ("freeze 1-4, bf16, beside other work", ".0f"),
        ("freeze 1-4, fp32, beside other work", ".0f"),
    ):  # fmt: skip
        row = found[name]
        ratio, images = row["ratio"], row["images"]["train"]
        frozen = f"stem and stages 1 to {name[9]}" + (f", {images} images" if images != 32 else "")
        low_high = between((ratio["low"], ratio["high"]), form)
        difference = f"{row['largest relative difference of a loss']:g}"
        rows.append([frozen, name[12:16], f"{ratio['median']:{form}}", low_high, ratio["n"], difference])
    section.table(rows)
    section.conditions("rotations by 90 degrees", "(32 training images per epoch, in one case 128;")
    section.done()


def test_damaged_files() -> None:
    section = Section("results", "Damaged files")
    images, records = stored("2026-12-01-cpu-fuzz-images"), stored("2026-11-29-cpu-fuzz-records")
    read = sum(kind["read"] for kind in records["kinds"].values())
    refused = sum(kind["refused"] for kind in records["kinds"].values())
    assert {sum(kind.values()) for kind in records["kinds"].values()} == {1000}
    check = images["data_check"]
    assert (check["accepted"], check["listed"]) == (images["accepted"], images["listed"])
    memory = stored("2026-12-01-cpu-data-check-memory")
    now, before = memory["runs"]
    section.says(
        f"{images['images']:,} mutated JPEG, PNG, WebP and GIF files: {images['accepted']:,} decode, "
        f"{images['listed']:,} are",
        f"with a peak of {check['peak_rss_mib']:.0f} MiB",
        f"slowest took {images['slowest_seconds']:.2f} s",
        f"below {images['peak_rss_mib']:.0f} MiB",
        f"{records['records']:,} mutated records, 1,000 of each",
        f"{read:,} are read, {refused:,} are refused",
        f"slowest took {records['slowest_seconds']:.2f} s on a busy machine",
        f"below {records['peak_rss_mib']:,.0f} MiB",
    )
    section.says(
        f"`data check` of {memory['pictures']:,} sound pictures",
        f"takes {now['peak_mib']:.0f} MiB at most, before {before['peak_mib']:.0f} ({before['commit'][:7]}; n = 1",
    )
    section.conditions("of 200 to 400 pixels")
    section.done()


def test_a_bench_of_eight_networks() -> None:
    section = Section("results", "A bench of eight networks")
    runs = stored("2026-12-01-cpu-bench-time")["runs"]
    now, then = (
        sorted(run["seconds"] for run in runs if run["commit"].startswith("6e309af") == before)
        for before in (False, True)
    )
    section.says(
        "{:.0f}, {:.0f} and {:.0f} s now".format(*now),
        "{:.0f}, {:.0f} and {:.0f} s then".format(*then),
        f"{median(now) / median(then):.2f} of the time (medians)",
    )
    section.conditions("ran 15 rounds")
    section.done()


def section_of(page: str, anchor: str) -> str:
    """The text below the heading that a link leads to."""
    for heading, text in re.findall(
        r"^#+ ([^\n]*)\n(.*?)(?=^#+ |\Z)", (ROOT / "docs" / f"{page}.md").read_text(), re.MULTILINE | re.DOTALL
    ):
        if re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) == anchor:
            return " ".join(text.split())
    raise AssertionError(f"{page}.md has no heading for #{anchor}")


def test_beside_earlier_versions() -> None:
    """Each figure stands in the section that its row, or one before it, links to; those are checked."""
    section = Section("results", "Beside earlier versions and other programs")
    for what, *cells in section.tables[0]:
        if links := re.findall(r"\]\(([a-z]*)(?:\.md)?#([a-z-]+)\)", what):
            known = " ".join(section_of(page or "results", anchor) for page, anchor in links)
        for figure in FIGURE.findall(NO_FIGURES.sub(" ", " ".join(cells[:2]))) + re.findall(r"\d+\.\d+", what):
            assert re.search(rf"(?<![\d.]){re.escape(figure)}(?!\d)", known), (what, figure)


def test_ratios_beside_earlier_versions() -> None:
    now = [row[1] for row in Section("results", "Beside earlier versions and other programs").tables[0]]
    one, single = (stored(f"2026-{name}") for name in ("11-30-cpu-inference-one-core", "12-01-cpu-inference-fp32"))

    def ratios(file: dict[str, Any], network: str, batches: tuple[int, ...]) -> list[str]:
        rows = [file[f"{network}, batch {batch}"]["ratios"]["timm as it comes"] for batch in batches]
        return [f"{row[row['ours over theirs']]['median']:.2f}" for row in rows]

    alone, eight = ratios(one, "resnet50", (1, 8))
    small, large = (
        f"{one[f'resnet50, batch {batch}']['ratios']['timm as it comes']['ours int8 over timm frozen']['median']:.2f}"
        for batch in (1, 8)
    )
    times = stored("2026-11-30-cpu-time-to-accuracy")["summary"]["ratios where both reach it"]
    assert f"{stored('2026-11-29-cpu-data-rate-after')['warm']['ratio']['median']:.1f} times" in now
    assert f"{median(times):.2f}, n = {len(times)}" in now
    assert now[-5:] == [
        f"{alone} times as fast",
        f"{eight} times",
        f"{small} and {large} times",
        *(", ".join(ratios(single, name, (1, 8, 32))) for name in ("resnet50", "resnet50, GELU and CBAM")),
    ]
