import io
from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from resnet_lab.core.history import Epoch
from resnet_lab.train.curves import BLUE, ORANGE, draw_curves, draw_range_test
from resnet_lab.train.find_lr import RangeTest


def history(number: int) -> list[Epoch]:
    return [
        Epoch(n, 1e-3, 2 / n, 1 - 0.9 / n, 1 + 1.2 / n, 0.5, 0.8 - 0.7 / n, 1.0, 100.0) for n in range(1, number + 1)
    ]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures that are saved."""
    kept: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *arguments: object, **options: object) -> None:
        kept.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return kept


def drawn(panel: Axes) -> dict[str, list[float]]:
    return {str(line.get_label()): list(line.get_ydata()) for line in panel.lines}


def written(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_lines_are_the_epochs(figures: list[Figure]) -> None:
    epochs = history(3)
    png = draw_curves(epochs, "resnet20 on digits", best_epoch=3)
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.size) == ("PNG", (1350, 540))
    losses, accuracies = figures[0].axes
    assert figures[0].get_suptitle() == "resnet20 on digits"
    assert drawn(losses)["training"] == [2, 1, 2 / 3]
    assert drawn(losses)["validation"] == pytest.approx([2.2, 1.6, 1.4])
    assert drawn(accuracies)["training"] == pytest.approx([0.1, 0.55, 0.7])
    assert drawn(accuracies)["validation"] == pytest.approx([0.1, 0.45, 0.8 - 0.7 / 3])
    assert list(accuracies.lines[2].get_xdata()) == [3, 3]
    assert (losses.get_xlabel(), losses.get_ylabel()) == ("epoch", "cross-entropy (nats)")
    assert accuracies.get_ylabel() == "macro-averaged accuracy"
    assert written(figures[0]) == ["training", "validation", "best epoch (3)"]


@pytest.mark.parametrize(("number", "ticks", "marker"), [(1, [1], "o"), (15, range(2, 15, 2), "o"), (200, None, "")])
def test_short_and_long_trainings_are_readable(
    figures: list[Figure], number: int, ticks: list[int] | None, marker: str
) -> None:
    """Ticks are whole epochs; markers, which would hide a long line, are only on short ones."""
    draw_curves(history(number), "x", 1)
    panel = figures[0].axes[0]
    shown = [tick for tick in panel.get_xticks() if panel.get_xlim()[0] <= tick <= panel.get_xlim()[1]]
    assert all(tick == int(tick) for tick in shown)
    assert ticks is None or shown == list(ticks)
    assert panel.lines[0].get_marker() == marker


@pytest.mark.parametrize("loss", [4e5, inf, nan])
def test_an_exploding_loss_does_not_change_the_scale(figures: list[Figure], loss: float) -> None:
    """The first training loss, 2, is the largest usual one, and the scale ends at its double."""
    epochs = history(15)
    epochs[4], epochs[7] = (replace(epochs[number], val_loss=loss) for number in (4, 7))
    draw_curves(epochs, "x", 1)
    panel = figures[0].axes[0]
    assert panel.get_ylim() == (0, 4)
    marks = panel.lines[-1]
    assert (list(marks.get_xdata()), list(marks.get_ydata()), marks.get_color()) == ([5, 8], [4, 4], ORANGE)
    assert written(figures[0])[-1] == "beyond the scale"


def test_a_validation_loss_that_is_never_a_number_leaves_the_training_s(figures: list[Figure]) -> None:
    draw_curves([replace(epoch, val_loss=nan) for epoch in history(3)], "x", 1)
    panel = figures[0].axes[0]
    assert panel.get_ylim() == (0, 4)
    assert list(panel.lines[-1].get_xdata()) == [1, 2, 3]


def test_both_losses_can_explode(figures: list[Figure]) -> None:
    epochs = history(15)
    epochs[4] = replace(epochs[4], train_loss=900.0, val_loss=80.0)
    draw_curves(epochs, "x", 1)
    marks = figures[0].axes[0].lines[-2:]
    assert [(list(line.get_xdata()), line.get_color()) for line in marks] == [([5], BLUE), ([5], ORANGE)]
    assert written(figures[0]).count("beyond the scale") == 1


def test_a_loss_that_is_high_in_most_epochs_is_shown(figures: list[Figure]) -> None:
    epochs = [replace(epoch, val_loss=30.0) for epoch in history(15)]
    draw_curves(epochs, "x", 1)
    assert figures[0].axes[0].get_ylim()[1] > 30
    assert "beyond the scale" not in written(figures[0])


def test_sizes_of_images_are_written_where_they_begin(figures: list[Figure]) -> None:
    draw_curves(history(5), "x", 5, {1: 72, 3: 96, 6: 128})
    for panel in figures[0].axes:
        assert [(text.get_text(), text.xy[0]) for text in panel.texts] == [("72 px", 0.5), ("96 px", 2.5)]
        assert 2.5 in [line.get_xdata()[0] for line in panel.lines]


def test_the_range_test_is_drawn(figures: list[Figure]) -> None:
    rates = tuple(np.geomspace(1e-4, 1, 5).tolist())
    result = RangeTest(rates, (2.0, 1.5, 0.4, 0.9, 30.0), (2.0, 1.75, 1.0, 0.9, 8.0))
    png = draw_range_test(result, "range test of resnet20 on digits")
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.size) == ("PNG", (900, 540))
    (panel,) = figures[0].axes
    assert drawn(panel)["each step"] == [2.0, 1.5, 0.4, 0.9, 30.0]
    assert drawn(panel)["smoothed"] == [2.0, 1.75, 1.0, 0.9, 8.0]
    assert list(panel.lines[1].get_xdata()) == list(rates)
    assert written(figures[0]) == ["each step", "smoothed", "suggested: 0.01"]
    assert list(panel.lines[2].get_xdata()) == pytest.approx([0.01, 0.01])  # a tenth of 0.1, which has the 0.9
    assert (panel.get_xscale(), panel.get_xlabel(), panel.get_ylabel()) == (
        "log", "learning rate", "cross-entropy (nats)",
    )  # fmt: skip
    assert panel.get_ylim() == (0, 3)  # the step that exploded does not flatten the rest
    assert figures[0].get_suptitle() == "range test of resnet20 on digits"
