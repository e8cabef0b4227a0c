"""One page about a bench."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from resnet_lab.bench.config import Mode
from resnet_lab.bench.report_contents import BenchArmRow, BenchContents, BenchTiming
from resnet_lab.core.errors import printable
from resnet_lab.core.wording import counted, three_digits
from resnet_lab.report.bench_plots import MODES, SIZES, Size, machine_text, roofline, time_against, time_of_stages
from resnet_lab.report.figure_style import PAGE, inline_svg, styled
from resnet_lab.report.pages import render
from resnet_lab.report.text import device_text

SIZES_OF_OTHERS: tuple[Size, ...] = ("macs",)
"""Sizes that the times of all modes but the first are drawn against."""

HEADINGS: dict[Mode, str] = {"latency": "one image", "infer": "a batch", "train": "training step"}
"""Modes above columns, as of a study's table of costs."""

ROOFLINES = 6
"""Arms whose roofline is drawn."""

SIGNS = {"faster": "▲", "slower": "▼", "same": "■", "undecided": "○", "baseline": ""}
CLASSES = {"faster": "better", "slower": "worse", "same": "equivalent"}
"""Styles of verdicts, those of a study's."""


def bench_page(contents: BenchContents) -> str:
    """The HTML of one self-contained page."""
    with styled(PAGE):
        plots = _plots(contents)
    machine = contents.machine
    return render(
        "bench_page.html.j2",
        bench=contents,
        opening=opening(contents),
        modes={mode: MODES[mode] for mode in contents.modes},
        headings=HEADINGS,
        sizes=SIZES,
        machine_of={mode: machine_text(contents, mode) for mode in contents.modes},
        plots=plots,
        signs=SIGNS,
        classes=CLASSES,
        remarks=[printable(text) for text in contents.remarks],
        provenance=[
            ("measured", printable(contents.created)),
            ("device", printable(device_text({**machine.model_dump(include={"name", "type", "threads"})}))),
            ("machine", printable(", ".join(f"{name} {value}" for name, value in (machine.model_extra or {}).items()))),
            ("torch", printable(machine.torch)),
            ("bandwidth", f"{contents.roof.bandwidth / 1e9:.3g} GB/s, of a large copy"),
            *(
                (f"peak rate, {printable(name)}", f"{rate / 1e9:.3g} G multiply-adds per second")
                for name, rate in contents.roof.macs.items()
            ),
        ],
    )


def opening(contents: BenchContents) -> str:
    """How the arms compare with the baseline, in one or two sentences, by the first mode that was timed."""
    baseline, modes = contents.arms[0], contents.modes
    if not modes:
        return f"{printable(baseline.name)} could not be timed, so there is nothing to compare."
    mode, threads = modes[0], counted(contents.machine.threads, "thread")
    what = {"latency": "Inference of one image", "infer": f"Inference of {baseline.batch} images"}.get(
        mode, f"A training step of {counted(baseline.batch, 'image')}"
    )
    own = baseline.timing(mode)
    first = (
        f"{what} takes {three_digits(0.0 if own is None else own.median_ms)} ms with {printable(baseline.name)} on "
        f"{printable(contents.machine.name)} ({threads})."
    )
    others = [(arm, timing) for arm in contents.arms[1:] if (timing := arm.timing(mode)) is not None]
    if not others:
        return first
    if len(others) == 1:
        arm, timing = others[0]
        undecided = ": these rounds cannot tell whether that is a difference" if timing.verdict == "undecided" else ""
        return f"{first} {printable(arm.name)} takes {_ratio(timing)}{undecided}."
    return f"{first} {_of_many(others)}."


def _of_many(others: Sequence[tuple[BenchArmRow, BenchTiming]]) -> str:
    if all(timing.verdict == "undecided" for _, timing in others):
        return f"These rounds cannot tell whether any of {len(others)} other networks is faster or slower"
    parts = []
    for verdict, what in (("faster", "faster"), ("slower", "slower"), ("same", "as fast, to within 2%")):
        arms = [(arm, timing) for arm, timing in others if timing.verdict == verdict]
        if arms:
            arm, timing = max(arms, key=lambda each: abs(each[1].ratio - 1))
            most = "" if verdict == "same" else f", {printable(arm.name)} most with {_ratio(timing)}"
            parts.append(f"{len(arms)} {'is' if len(arms) == 1 else 'are'} {what}{most}")
    if undecided := sum(timing.verdict == "undecided" for _, timing in others):
        parts.append(f"of {undecided} these rounds cannot tell")
    return f"Of {len(others)} other networks {'; '.join(parts)}"


def _ratio(timing: BenchTiming) -> str:
    ends = "" if timing.interval is None else " (95% interval {:.2f} to {:.2f})".format(*timing.interval)
    return f"{timing.ratio:.2f} times as long{ends}"


def _plots(contents: BenchContents) -> dict[str, Any]:
    """Every drawing of the page; to be called in its style."""
    times: list[tuple[Mode, Size, Markup]] = []
    for mode in contents.modes:
        for size in SIZES if mode == contents.modes[0] else SIZES_OF_OTHERS:
            figure, tooltips = time_against(contents, mode, size, PAGE)
            alt = f"Time of {MODES[mode]} against {SIZES[size]}: {'; '.join(tooltips.values())}"
            times.append((mode, size, inline_svg(figure, f"{mode}-{size}", alt, tooltips)))
    plots: dict[str, Any] = {"times": times, "rooflines": []}
    if any(arm.profile for arm in contents.arms):
        stages = "Time of each stage, operators one by one"
        plots["stages"] = inline_svg(time_of_stages(contents, PAGE), "stages", stages)
    for number, arm in enumerate(contents.arms[:ROOFLINES]):
        if (found := roofline(contents.roof, arm, PAGE)) is not None:
            figure, tooltips = found
            alt = f"Roofline of {arm.name}: {'; '.join(tooltips.values())}"
            plots["rooflines"].append((arm.name, inline_svg(figure, f"roofline{number}", alt, tooltips)))
    return plots
