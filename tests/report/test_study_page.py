"""The page of a study as a parser reads it."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from resnet_lab.evaluation.gallery import GalleryPicture
from resnet_lab.report.study_building import make_study_report, write_study_plots
from resnet_lab.report.study_page import study_page
from resnet_lab.study.analyses import analyse
from resnet_lab.study.costs import ArmCost, Costs
from resnet_lab.study.pictures import WorkGallery
from resnet_lab.study.report_contents import gather_study
from resnet_lab.study.results import StudyFindings
from resnet_lab.study.trials import StudyFolder
from resnet_lab.study.writing import in_words, method
from tests.report.parsing import Page, require_readable_aloud, require_self_contained
from tests.study.fabricated import REGISTRY, by_chance, design, found

SHARES = {"relu none": 0.5, "relu eca": 0.5, "gelu none": 0.8, "gelu eca": 0.8}
Opened = tuple[StudyFindings, StudyFolder]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Four arms, six seeds, of which one trial failed and one has not finished."""
    return found(
        tmp_path_factory.mktemp("study"),
        design(seeds=6, margin=0.001, name="<b>acts", description="Does GELU & ECA help?"),
        by_chance(SHARES, 0.005),
        n=300,
        failed={("relu eca", 1): "the loss is <nan>"},
        waiting=(("gelu eca", 2),),
    )


@pytest.fixture(scope="module")
def html(opened: Opened) -> str:
    return make_study_report(gather_study(*opened, REGISTRY)).html


def test_one_readable_file_that_fetches_nothing(html: str) -> None:
    require_self_contained(html)
    require_readable_aloud(html)
    assert len(html) < 10_000_000
    assert "<b>acts" not in html


def test_the_answer_and_what_is_wrong_come_first(opened: Opened, html: str) -> None:
    page = Page(html)
    assert " ".join(page.texts["h1"]) == "<b>acts"
    text = " ".join(page.texts["header"][0].split())
    assert {each.verdict for each in opened[0].effects} == {"withheld"}
    assert (
        "So far, for new images like those of digits, none of two changes has a verdict, since failures are unequal "
        "between the arms compared."
    ) in text
    assert (
        "Verdicts are withheld where failures are unequal between the arms that are compared, and a seed that is "
        "left out favours the arm that failed."
    ) in text
    assert "Does GELU & ECA help?" in text
    assert "The study is not finished: 1 of 24 trials is missing, and the results are those of the others." in text
    assert "1 of 24 trials failed, and is left out of all figures." in text


def test_the_picture_follows_the_first_sentence_and_each_figure_is_explained(html: str) -> None:
    page = Page(html)
    tags = [(tag, attributes.get("class", "")) for tag, attributes in page.elements]
    lead = tags.index(("p", "lead"))
    assert tags[lead + 1 : lead + 4] == [("div", "scroll"), ("figure", "broad"), ("svg", "plot")]
    explained = [text for text in page.texts["summary"] if text.startswith("What is this? ")]
    assert explained[:2] == ["What is this? the differences", "What is this? the differences"]
    assert {"the interaction", "score against cost", "the learning curves", "works fixed and broken"} <= {
        text.removeprefix("What is this? ") for text in explained
    }


def test_verdicts_are_the_sentences_of_the_terminal(opened: Opened, html: str) -> None:
    items = [" ".join(text.split()) for text in Page(html).texts["li"]]
    signs = {"withheld": "✕"}
    for effect in opened[0].effects:
        words = in_words(effect, "macro_accuracy", opened[0].time_ratios.get(effect.name))
        assert f"{words.removesuffix(effect.verdict)}{signs[effect.verdict]} {effect.verdict}" in items


def test_tables_hold_the_numbers(opened: Opened, html: str) -> None:
    rows = [" ".join(row) for row in Page(html).rows()]
    for effect in (each for family in opened[0].families for each in family):
        low, high = (f"{100 * end:+.2f}".replace("-", "−") for end in effect.interval)
        difference = f"{100 * effect.difference:+.2f}".replace("-", "−")
        assert any(row.startswith(effect.name) and f"{difference} {low} to {high}" in row for row in rows)
    for row in opened[0].arms:
        assert any(text.startswith(row.arm.name) and f"{row.mean:.4f}" in text for text in rows)
    for outcome in opened[0].outcomes.values():
        state = "finished" if outcome.problem is None else "failed"
        (line,) = [row for row in rows if row.startswith(f"{outcome.arm} {outcome.seed} {state}")]
        if outcome.problem is None:
            assert f"{outcome.scores['macro_f1']:.4f}" in line
    assert "gelu eca 2 not finished" in rows


def test_failures_method_and_origin(opened: Opened, html: str) -> None:
    page = Page(html)
    assert "relu eca, seed 1: the loss is <nan>" in [" ".join(text.split()) for text in page.texts["li"]]
    assert method(opened[0]) in page.texts["p"]
    assert str(opened[1].folder) in page.texts["dd"]
    assert "torch 2.99, resnet-lab 1.0" in page.texts["dd"]
    assert "a processor (type cpu)" in page.texts["dd"]


def test_measured_costs_are_in_the_table_of_arms(opened: Opened, html: str) -> None:
    assert "Latency, throughput and memory were not measured" in Page(html).prose()
    cost = ArmCost(2.5, (2.4, 2.6), 1.25, None, 1, 3 * 2**20)
    modes = {"latency": cost, "infer": replace(cost, images=16), "train": cost}
    costs = Costs({"relu none": modes, "gelu none": modes}, {"name": "one machine"}, ["remark on costs"])
    made = replace(opened[0], costs=costs)
    page = Page(make_study_report(gather_study(made, opened[1], REGISTRY)).html)
    (row,) = [" ".join(row) for row in page.rows() if row[:3] == ["gelu", "none", "▲"] and "MiB" in row] or [""]
    (row,) = [text for text in (" ".join(row) for row in page.rows()) if text.startswith("gelu none") and "MiB" in text]
    assert "2.5 2.4 to 2.6 6,400 time 1.25× 2.5 1.25× 3.0 MiB" in row
    assert "medians on one machine" in page.prose()
    assert "remark on costs" in page.prose()
    assert "Not shown, without a score or a time: relu eca and gelu eca." in page.prose()


def test_works_with_and_without_pictures(opened: Opened, html: str) -> None:
    assert (
        "The works cannot be shown: " in Page(html).prose()
        or "Some of the works cannot be shown: " in Page(html).prose()
    )
    analyses = analyse(*opened)
    works = {each.arm: (each.fixed[:2], each.broken[:1]) for each in analyses.paired_errors}
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, format="WEBP")
    paths = {work.path for both in works.values() for kind in both for work in kind}
    gallery = WorkGallery(works, {path: GalleryPicture(path, 8, 8, content.getvalue()) for path in paths}, "")
    shown = study_page(replace(gather_study(*opened, REGISTRY), analyses=analyses, gallery=gallery))
    require_self_contained(shown)
    require_readable_aloud(shown)
    page = Page(shown)
    work = analyses.paired_errors[1].fixed[0]
    assert f"The work {work.path}: {work.true}" in [image["alt"] for image in page.all("img")]
    assert len(page.all("img")) == sum(len(kind) for both in works.values() for kind in both)
    assert "cannot be shown" not in page.prose()
    items = [" ".join(text.split()) for text in page.texts["li"]]
    assert any(text.startswith(f"Fixed in {work.fixed} of {work.tested} seed") for text in items)


def test_two_seeds_are_exploratory_and_one_factor_is_listed_once(tmp_path: Path) -> None:
    study = design(factors={"attn": ["none", "eca"]}, seeds=2)
    opened = found(tmp_path, study, by_chance({"none": 0.5, "eca": 0.9}))
    page = Page(make_study_report(gather_study(*opened, REGISTRY)).html)
    header = " ".join(page.texts["header"][0].split())
    assert "attention eca instead of none has no verdict, since that takes three seeds at least: " in header
    assert "This is exploratory: with fewer than 3 seeds nothing is called better or worse" in header
    assert "With one factor, these are also the arms against the baseline, none." in page.prose()
    assert not [attributes for attributes in page.all("h2") if attributes.get("id") == "interactions"]


@pytest.mark.slow
def test_many_arms_keep_the_page_small_and_fold_what_is_not_decided(tmp_path: Path) -> None:
    arms = {f"arm {number}": {"train.lr": 0.0011 + 0.0001 * number} for number in range(24)}
    study = design(arms=arms, seeds=3)
    opened = found(tmp_path, study, by_chance(dict.fromkeys(arms, 0.7)), n=100, classes=10)
    html = make_study_report(gather_study(*opened, REGISTRY)).html
    require_readable_aloud(html)
    assert len(html) < 3_000_000
    page = Page(html)
    assert any(text.startswith("Show ") and text.endswith("more that are undecided") for text in page.texts["summary"])
    assert "All 72 trials" in [text.strip() for text in page.texts["summary"]]
    assert (
        sum(drawing.get("aria-label", "").startswith("Validation macro accuracy of arm") for drawing in page.all("svg"))
        == 24
    )


@pytest.mark.slow
def test_plots_are_written_as_files(opened: Opened, tmp_path: Path) -> None:
    written = write_study_plots(make_study_report(gather_study(*opened, REGISTRY)), tmp_path / "plots")
    names = {path.name for path in written}
    expected = {"effects", "arms", "interaction-act-attn", "pareto", "learning-accuracy", "learning-loss", "errors"}
    assert {f"{name}.{kind}" for name in expected for kind in ("png", "svg")} <= names
    assert "classes-1-act-gelu.svg" in names
    assert all(path.stat().st_size > 1000 for path in written)
