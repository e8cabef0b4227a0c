"""One page about a study."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from resnet_lab.core.errors import printable
from resnet_lab.core.figure_names import figure_name
from resnet_lab.core.wording import counted
from resnet_lab.evaluation.metrics.headline import NAMES
from resnet_lab.report import study_detail_plots, study_plots
from resnet_lab.report.data_page import Remark
from resnet_lab.report.figure_style import PAGE, inline_svg, styled
from resnet_lab.report.pages import render
from resnet_lab.report.study_opening import opening
from resnet_lab.report.study_plots import scale_of
from resnet_lab.report.text import device_text, joined, versions_text
from resnet_lab.study.analyses import StudyAnalyses
from resnet_lab.study.learning_curves import LearningCurves
from resnet_lab.study.plan import FEWEST
from resnet_lab.study.remarks import WITHHELD, claim, happened, scored_at, skew_of_verdict
from resnet_lab.study.report_contents import StudyContents
from resnet_lab.study.results import StudyFindings
from resnet_lab.study.statistics import Effect
from resnet_lab.study.writing import in_words, method

SENTENCES = 10
"""Up to which all are seen; of more, those that nothing is known of are folded."""

DRAWN = 6
"""Contrasts whose classes are drawn; the table has all."""

ROWS = 40
"""Trials up to which their table is unfolded."""

SIGNS = {"better": "▲", "worse": "▼", "equivalent": "■", "undecided": "○", "withheld": "✕", "exploratory": "◇"}
DECIDED = ("better", "worse", "equivalent")


def study_page(contents: StudyContents, reload_seconds: int | None = None) -> str:
    """The HTML of one self-contained page.

    Args:
        reload_seconds: after which the page loads itself again; None where it stays as it is.
    """
    found, analyses = contents.found, contents.analyses
    plan = found.study.plan
    scale, unit = scale_of(plan.metric)
    shown, folded = sentences(found)
    with styled(PAGE):
        plots = _plots(found, analyses)
    return render(
        "study_page.html.j2",
        found=found,
        plan=plan,
        analyses=analyses,
        gallery=contents.gallery,
        reload_seconds=reload_seconds,
        done=found.planned - len(found.missing),
        opening=opening(found, contents.changes, contents.images),
        remarks=list(remarks(found)),
        sentences=shown,
        folded_sentences=folded,
        signs=SIGNS,
        scale=scale,
        unit=unit,
        verdicts=verdicts_of_arms(found),
        arms_are_effects=bool(found.effects) and not analyses.interactions,
        plots=plots,
        in_one_figure=len(analyses.learning_curves) <= study_detail_plots.MOST_IN_ONE,
        classes=_class_table(analyses),
        trials=list(found.outcomes.items()),
        rows_unfolded=ROWS,
        figures=_figures(found),
        method=method(found),
        claim=_capitalized(claim(found.study)),
        scored_at=_capitalized(scored_at(plan)),
        provenance=provenance(found, contents.folder),
        design=json.dumps(found.study.tables, indent=2),
    )


def _figures(found: StudyFindings) -> list[str]:
    """Metrics that a trial has a score in."""
    scored = [outcome.scored(found.study.plan.last_epochs) for outcome in found.outcomes.values()]
    return [name for name in NAMES if any(name in each for each in scored)]


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def sentences(found: StudyFindings) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Texts without the verdict, and the verdict; those that are seen, and those that are folded."""

    def worded(effect: Effect) -> tuple[str, str]:
        text = in_words(effect, found.study.plan.metric, found.time_ratios.get(effect.name))
        return printable(text.removesuffix(effect.verdict)), effect.verdict

    first, others = _seen_first(found)
    return [worded(effect) for effect in first], [worded(effect) for effect in others]


def _seen_first(found: StudyFindings) -> tuple[list[Effect], list[Effect]]:
    """Effects that are seen at once, and others: all are where they are few, else main effects and those decided."""
    effects = found.effects or found.families[-1]
    if len(effects) <= SENTENCES:
        return effects, []
    seen = (*DECIDED, "withheld")
    first = [effect for effect in effects if effect.verdict in seen or effect.kind == "main"] or effects[:SENTENCES]
    return first, [effect for effect in effects if effect not in first]


def remarks(found: StudyFindings) -> Iterator[Remark]:
    """Remarks to read first."""
    for change in found.changes:
        yield Remark("warning", printable(_capitalized(f"{change}.")), "method", "Method")
    total = found.planned
    if found.missing:
        missing = len(found.missing)
        are = "is" if missing == 1 else "are"
        text = (
            f"The study is not finished: {missing:,} of {counted(total, 'trial')} {are} missing, and the results are "
            "those of the others."
        )
        yield Remark("warning", text, "trials", "Trials")
    failed = sum(len(row.problems) for row in found.arms)
    if failed:
        are = "is" if failed == 1 else "are"
        left = "have a score of 0" if found.study.plan.failures == "worst" else f"{are} left out of all figures"
        text = f"{failed:,} of {counted(total, 'trial')} failed, and {left}."
        yield Remark("warning", text, "failures", "Failures")
    for row in found.arms:
        if row.diverged:
            text = f"{happened(row.arm.name, 'diverged', row.diverged)} of {len(found.study.seeds)}."
            yield Remark("warning", printable(text), "failures", "Failures")
        if row.collapsed:
            text = (
                f"{happened(row.arm.name, 'collapsed', row.collapsed)}: at chance level, or far below the other runs."
            )
            yield Remark("warning", printable(text), "trials", "Trials")
    effects = [effect for family in found.families for effect in family]
    if any(effect.verdict == "withheld" for effect in effects):
        yield Remark("warning", f"Verdicts are withheld where {WITHHELD}.", "failures", "Failures")
    for text in dict.fromkeys(skew_of_verdict(effect) or "" for effect in effects):
        if text:
            yield Remark("warning", printable(f"{text}."), "effects", "Effects")
    fewest = min(effect.n for effect in effects)
    if fewest < FEWEST:
        text = (
            f"This is exploratory: with fewer than {FEWEST} seeds nothing is called better or worse "
            f"(there {'is' if fewest == 1 else 'are'} {fewest} where fewest)."
        )
        yield Remark("warning", text, "effects", "Effects")
    if len({tuple(sorted(each.versions.items())) for each in found.outcomes.values() if each.versions}) > 1:
        yield Remark("warning", "Trials were run with different versions of packages.", "provenance", "Provenance")


def verdicts_of_arms(found: StudyFindings) -> dict[str, Effect]:
    """Each arm's effect against the baseline, which has none."""
    return dict(zip([arm.name for arm in found.study.arms[1:]], found.families[-1], strict=True))


def _plots(found: StudyFindings, analyses: StudyAnalyses) -> dict[str, Any]:
    """Every drawing of the page; to be called in its style."""
    plan = found.study.plan
    first, others = _seen_first(found)
    plots: dict[str, Any] = {
        "first": _effects(first, found, "first"),
        "effects": _effects(found.effects, found, "effects") if found.effects and others else None,
        "arms": _effects(found.families[-1], found, "arms") if found.effects or others else None,
    }
    plots["pairs"] = [
        inline_svg(
            study_plots.interaction(pair, plan.metric, PAGE),
            f"pair{number}",
            f"Means of {figure_name(plan.metric)} at each {pair.first}, a line for each {pair.second}",
        )
        for number, pair in enumerate(analyses.interactions)
    ]
    if analyses.pareto.points:
        figure, tooltips = study_plots.pareto(analyses.pareto, plan.metric, found.study.arms[0].name, PAGE)
        front = joined([point.arm for point in analyses.pareto.points if point.is_front])
        plots["pareto"] = inline_svg(figure, "pareto", f"Score against cost; on the front: {front}", tooltips)
    curves = analyses.learning_curves
    plots["accuracy"], plots["loss"] = _curves(curves, "accuracy"), _curves(curves, "loss")
    plots["classes"] = []
    for number, each in enumerate(analyses.class_effects[:DRAWN]):
        figure, tooltips = study_detail_plots.classes(each, PAGE)
        alt = f"Differences of each class's recall by {each.name}, with their intervals"
        plots["classes"].append((each.name, inline_svg(figure, f"classes{number}", alt, tooltips)))
    if any(each.counts for each in analyses.paired_errors):
        alt = "Test works that each arm fixed and broke against the baseline, per seed on average"
        plots["errors"] = inline_svg(study_plots.errors(analyses.paired_errors, PAGE), "errors", alt)
    return plots


def _effects(effects: Sequence[Effect], found: StudyFindings, name: str) -> Markup:
    plan = found.study.plan
    figure, tooltips = study_plots.effects(effects, plan.metric, plan.margin, PAGE)
    alt = f"Differences with their intervals: {'; '.join(tooltips.values())}"
    return inline_svg(figure, name, alt, tooltips)


def _curves(found: Sequence[LearningCurves], what: study_detail_plots.Validated) -> list[tuple[str, Markup]]:
    """One drawing of a few arms, or one of each of many."""
    label = study_detail_plots.LABELS[what]
    if not any(each.accuracy.seeds for each in found):
        return []
    if len(found) <= study_detail_plots.MOST_IN_ONE:
        figure = study_detail_plots.learning(found, what, PAGE)
        return [("", inline_svg(figure, what, f"Validation {label} of each arm by epoch, all seeds and their means"))]
    drawings = study_detail_plots.LearningOfArms(found, what, PAGE)
    return [
        (each.arm, inline_svg(drawings.of(each), f"{what}{number}", f"Validation {label} of {each.arm} by epoch"))
        for number, each in enumerate(found)
    ]


def _class_table(analyses: StudyAnalyses) -> list[dict[str, Any]]:
    """Rows of classes: images per seed, and every contrast's effect."""
    return [
        {
            "name": effects[0].name,
            "images": sorted({number for effect in effects for number in effect.images}),
            "effects": effects,
        }
        for effects in zip(*(each.classes for each in analyses.class_effects), strict=True)
    ]


def provenance(found: StudyFindings, folder: str) -> list[tuple[str, str]]:
    """Origin of everything on the page, by name."""
    origins = [each.origin for each in found.predicted.values()]
    versions = {versions_text(each.versions) for each in found.outcomes.values() if each.versions}
    rows = [
        ("study folder", folder),
        ("images", found.study.arms[0].data.source),
        (
            "tested",
            f"{min(each.created for each in origins)} to {max(each.created for each in origins)}" if origins else "",
        ),
        ("tested on", "; ".join(sorted({device_text(each.device) for each in origins}))),
        ("versions", "; ".join(sorted(versions))),
    ]
    if found.costs is not None:
        rows.append(("costs were measured on", device_text(found.costs.machine)))
    return [(name, printable(text)) for name, text in rows if text]
