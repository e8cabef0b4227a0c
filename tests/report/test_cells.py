"""Fragments of HTML for the cells of notebooks."""

import re
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from resnet_lab.evaluation.comparison import compare
from resnet_lab.report.cells import (
    ProgressBar,
    comparison_cell,
    figures_cell,
    message_cell,
    progress_cell,
    run_cell,
    study_cell,
)
from resnet_lab.study.changes import changes_of
from resnet_lab.study.learning_curves import learning_curves
from resnet_lab.study.writing import in_words
from tests.report.made_up_runs import ANIMALS, made_up_run
from tests.report.parsing import Page, require_self_contained
from tests.study.fabricated import by_chance, design, found

EVIL = "<script>alert(1)</script>"
RUNS = (made_up_run(), made_up_run(seed=1, name="gelu"))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple:
    folder = tmp_path_factory.mktemp("study")
    shares = {"relu none": 0.5, "relu eca": 0.5, "gelu none": 0.8, "gelu eca": 0.8}
    return found(folder, design(seeds=6, name="<b>acts"), by_chance(shares, 0.005), n=300)


def fragments(study: tuple) -> dict[str, str]:
    """Each kind, with names that are HTML wherever a name can be."""
    evil = made_up_run([EVIL, *ANIMALS[1:]], name=EVIL)
    comparison = compare(RUNS[0].predictions, RUNS[1].predictions, ("a", "b"))
    findings, folder = study
    return {
        "run": run_cell(evil, f"runs/{EVIL}/report.html"),
        "unfinished": run_cell(replace(evil, history=(), predictions=None, summary=None)),
        "figures": figures_cell(evil.summary, EVIL),
        "comparison": comparison_cell([replace(RUNS[0], name=EVIL), RUNS[1]], [comparison]),
        "study": study_cell(findings, learning_curves(findings, folder), EVIL, changes=changes_of(findings)),
        "progress": progress_cell(ProgressBar(EVIL, 3, 8, EVIL, 70.0), [EVIL]),
        "message": message_cell(EVIL),
    }


def test_fragments_fetch_nothing_run_nothing_and_escape_names(study: tuple) -> None:
    for name, html in fragments(study).items():
        require_self_contained(html)
        tags = {tag for tag, _ in Page(html).elements}
        assert not tags & {"html", "head", "body", "script", "a", "img"}, name
        assert not re.search(r"url\(http|@import", html), name
        assert "&lt;" in html, name


def test_the_style_is_of_the_fragment_alone() -> None:
    """Every selector begins with the fragment's class; a notebook stays as it is."""
    style = files("resnet_lab.report").joinpath("templates", "cell.css").read_text()
    selectors = [each.strip() for rule in re.findall(r"([^{}]+)\{[^{}]*\}", style) for each in rule.split(",")]
    assert len(selectors) > 20
    assert [each for each in selectors if not re.match(r"\.resnet-lab\.shown(?![-\w])", each)] == []
    assert re.findall(r"background:(?! none)", style) == []  # light or dark is the notebook's


def test_ids_are_of_one_fragment(study: tuple) -> None:
    """Two runs of other curves in one document; an SVG refers to its own parts."""
    ids = [set(re.findall(r'\bid="([^"]+)"', run_cell(each))) for each in RUNS]
    assert all(ids)
    assert not ids[0] & ids[1]
    for html in fragments(study).values():
        assert set(re.findall(r'(?:url\(|href=")#([^")]+)', html)) <= set(re.findall(r'\bid="([^"]+)"', html))


def test_a_run_has_scikit_learn_s_figures() -> None:
    scored = RUNS[0].predictions
    assert scored is not None
    labels, named = scored.labels, scored.probabilities.argmax(1)
    page = Page(run_cell(RUNS[0]))
    facts = dict(zip((text.strip() for text in page.texts["dt"]), page.texts["dd"], strict=True))
    for name, value in {
        "accuracy": accuracy_score(labels, named),
        "macro accuracy": recall_score(labels, named, labels=np.unique(labels), average="macro"),
        "macro F1": f1_score(labels, named, labels=range(len(ANIMALS)), average="macro", zero_division=0),
    }.items():
        assert facts[name].split()[0] == f"{value:.3f}", name


def test_figures_have_every_class() -> None:
    summary = RUNS[0].summary
    assert summary is not None
    rows = Page(figures_cell(summary, "a title")).rows()
    for each in summary.classes:
        assert [
            *each.name.split(),
            f"{each.recall:.3f}",
            f"{each.precision:.3f}",
            f"{each.f1:.3f}",
            str(each.support),
        ] in rows


def test_a_comparison_has_the_differences_between_runs() -> None:
    comparison = compare(RUNS[0].predictions, RUNS[1].predictions, ("a", "b"))
    rights = [each.predictions.probabilities.argmax(1) == each.predictions.labels for each in RUNS if each.predictions]
    fixed, broken = int((~rights[0] & rights[1]).sum()), int((rights[0] & ~rights[1]).sum())
    text = Page(comparison_cell(RUNS, [comparison], "page.html")).prose()
    assert f"B gelu fixed {fixed} and broke {broken} of 120 images" in text
    assert "Whole page: page.html" in text


def test_a_study_has_the_sentences_of_the_terminal(study: tuple) -> None:
    findings, folder = study
    page = Page(study_cell(findings, learning_curves(findings, folder), "studies/a", changes=changes_of(findings)))
    items = [" ".join(text.split()) for text in page.texts["li"]]
    for effect in findings.effects:
        words = in_words(effect, "macro_accuracy", findings.time_ratios.get(effect.name))
        assert any(
            item.startswith(words.removesuffix(effect.verdict)) and item.endswith(effect.verdict) for item in items
        )
    assert [row[:2] for row in page.rows()[1:]] == [arm.name.split() for arm in findings.study.arms]


def test_a_bar_in_words() -> None:
    bar = ProgressBar("epoch 1", 3, 1200, "loss 0.5", 70.0)
    assert str(bar) == "epoch 1: 3 of 1,200 · 1 min 10 s · loss 0.5"
    (progress,) = Page(progress_cell(bar, [])).all("progress")
    assert progress == {"max": "1200", "value": "3"}
    assert Page(progress_cell(None, ["done"])).all("progress") == []
