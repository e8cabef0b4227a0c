"""The comparing page as a parser reads it, against numpy and scipy."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import binomtest
from sklearn.metrics import recall_score

from resnet_lab.evaluation.comparison import compare
from resnet_lab.report import comparison_plots
from resnet_lab.report.comparison_page import comparison_page, letters
from resnet_lab.report.figure_style import PAPER, styled
from tests.report.made_up_runs import ANIMALS, contrasted, history, made_up_run
from tests.report.parsing import Page, require_readable_aloud, require_self_contained

RUNS = (made_up_run(), made_up_run(seed=1, name="gelu"), made_up_run(seed=2, name="<b>se"))
SCORED = [made.predictions for made in RUNS]
COMPARED = tuple(compare(SCORED[0], other, ("a", "b")) for other in SCORED[1:])
TWO = comparison_page(RUNS[:2], COMPARED[:1], contrasted(COMPARED[0]))
THREE = comparison_page(RUNS, COMPARED, None)


@pytest.mark.parametrize("html", [TWO, THREE], ids=["two", "three"])
def test_one_readable_file_that_fetches_nothing(html: str) -> None:
    require_self_contained(html)
    require_readable_aloud(html)


def test_runs_have_letters_even_where_folders_have_one_name() -> None:
    assert letters(RUNS) == ["A relu", "B gelu", "C <b>se"]
    assert letters([RUNS[0]] * 28)[25:] == ["Z relu", "27 relu", "28 relu"]


def test_figures_and_differences_are_those_of_the_predictions() -> None:
    rights = [scored.probabilities.argmax(1) == scored.labels for scored in SCORED]
    rows = Page(THREE).rows()
    (accuracy,) = [row for row in rows if row[0] == "accuracy" and len(row) > 8]
    assert [accuracy[place] for place in (1, 5, 9)] == [f"{right.mean():.3f}" for right in rights]
    differences = [row[1] for row in rows if row[0] == "accuracy" and len(row) == 5]
    expected = [f"{right.mean() - rights[0].mean():+.3f}".replace("-", "−") for right in rights[1:]]
    assert differences == expected
    prose = Page(THREE).prose()
    for right in rights[1:]:
        fixed, broken = int(np.sum(right & ~rights[0])), int(np.sum(~right & rights[0]))
        p_value = binomtest(fixed, fixed + broken).pvalue
        assert f"It fixed {fixed} and broke {broken} of 120 images; exact sign test: p = {p_value:.2g}" in prose


def test_recalls_are_side_by_side() -> None:
    rows = Page(TWO).rows()
    both = [
        recall_score(each.labels, each.predicted, labels=np.arange(5), average=None, zero_division=0)
        for each in SCORED[:2]
    ]
    for name, first, second in zip(ANIMALS, *both, strict=True):
        (row,) = [row for row in rows if row[0] == name]
        assert row[1:3] == [f"{first:.3f}", f"{second:.3f}"]
        assert row[3] in (f"{second - first:+.3f}".replace("-", "−"), "0.000")


def test_works_fixed_and_broken_with_both_predictions() -> None:
    headings = [" ".join(text.split()) for text in Page(TWO).texts["h3"]]
    number = int(COMPARED[0].paired.fixed[0])
    first, second = SCORED[:2]
    true = ANIMALS[first.labels[number]]
    assert (
        f"Fixed: {true}. A says {ANIMALS[first.predicted[number]]} with {first.confidences[number]:.3f}, "
        f"B says {true} with {second.confidences[number]:.3f}"
    ) in headings
    assert sum(text.startswith("Broken: ") for text in headings) == 2
    assert not [text for text in Page(THREE).texts["h3"] if "Fixed" in text]
    assert [image["alt"] for image in Page(TWO).all("img")][1] == (
        f"Where A relu sees {ANIMALS[first.predicted[number]]} in the work"
    )


def drawn() -> dict[str, Figure]:
    names = letters(RUNS)
    histories = {name: history((1.0, 0.5 + number)) for number, name in enumerate(names)}
    headlines = {name: made.summary.headline for name, made in zip(names, RUNS, strict=True) if made.summary}
    found = {name: each.paired.differences for name, each in zip(names[1:], COMPARED, strict=True)}
    recalls = {name: [(0.1, 0.2 + number / 10, 0.9)] * 5 for number, name in enumerate(names)}
    with styled(PAPER):
        return {
            "losses": comparison_plots.losses(histories, PAPER, "losses"),
            "accuracies": comparison_plots.accuracies(histories, PAPER, "accuracies"),
            "headlines": comparison_plots.headlines(headlines, PAPER, "headlines"),
            "differences": comparison_plots.differences(found, PAPER, "differences"),
            "recalls": comparison_plots.recalls(ANIMALS, recalls, PAPER, "recalls"),
        }


def test_plots_have_titles_labels_and_a_line_or_dot_for_each_run() -> None:
    for name, figure in drawn().items():
        (axes,) = figure.axes
        assert figure.get_suptitle() == name
        assert axes.get_xlabel()
        (legend,) = [each for each in (axes.get_legend(), *figure.legends) if each is not None]
        expected = letters(RUNS)[1:] if name == "differences" else letters(RUNS)
        assert [text.get_text() for text in legend.get_texts()] == expected
    figures = drawn()
    lines = figures["losses"].axes[0].get_lines()
    assert [line.get_ydata().tolist() for line in lines] == [[1.1, 0.6 + number] for number in range(3)]
    dots = [line for line in figures["recalls"].axes[0].get_lines() if line.get_marker() == "o"]
    assert [list(line.get_xdata()) for line in dots] == [[0.2 + number / 10] * 5 for number in range(3)]


def test_a_run_has_the_same_colour_in_every_plot_and_no_two_are_alike() -> None:
    figures = drawn()
    colours = {
        name: {line.get_label(): line.get_color() for line in figure.axes[0].get_lines() if line.get_label()[0] != "_"}
        for name, figure in figures.items()
    }
    for name in letters(RUNS)[1:]:
        assert len({found[name] for found in colours.values()}) == 1
    looks = comparison_plots.looks(PAPER)
    assert len(set(looks)) == len(looks) == 24


def test_differences_of_few_images_say_how_their_intervals_were_made() -> None:
    runs = [made_up_run(n=12, seed=seed) for seed in range(2)]
    compared = compare(runs[0].predictions, runs[1].predictions, ("a", "b"))
    html = comparison_page(runs, [compared], None)
    prose = " ".join(Page(html).prose().split())
    assert "Interval for accuracy and weighted recall: Bonett-Price." in prose
    assert "Interval for macro accuracy and macro recall: Bonett-Price over classes." in prose
    assert prose.count("Interval for accuracy and weighted recall: Wilson.") == 1, "the same of both"
    _, (_, _, *shown) = [row for row in Page(html).rows() if row[:2] == ["macro", "F1"]]
    assert len(shown) == 1, "a difference without an interval"
    with styled(PAPER):
        figure = comparison_plots.differences({"b": compared.paired.differences}, PAPER, "few")
    assert len(figure.axes[0].get_lines()) == 2, "dots and the line at 0"
