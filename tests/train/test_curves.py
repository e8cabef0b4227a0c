import io

import pytest
from matplotlib.figure import Figure
from PIL import Image

from resnet_lab.train.curves import draw_curves
from resnet_lab.train.loop import Epoch

HISTORY = [
    Epoch(number, 1e-3, 1 / number, 0.5 + number / 10, 1.2 / number, 0.5, 0.4 + number / 10, 1.0, 100.0)
    for number in (1, 2, 3)
]


def test_lines_are_the_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *arguments: object, **options: object) -> None:
        figures.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    png = draw_curves(HISTORY, "resnet20 on digits", best_epoch=3)
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.size) == ("PNG", (1350, 540))
    losses, accuracies = figures[0].axes
    assert figures[0].get_suptitle() == "resnet20 on digits"
    drawn = {line.get_label(): list(line.get_ydata()) for line in losses.lines}
    assert drawn["training"] == [1, 1 / 2, 1 / 3]
    assert drawn["validation"] == [1.2, 1.2 / 2, 1.2 / 3]
    drawn = {line.get_label(): list(line.get_ydata()) for line in accuracies.lines}
    assert drawn["training"] == pytest.approx([0.6, 0.7, 0.8])
    assert drawn["validation"] == pytest.approx([0.5, 0.6, 0.7])
    assert list(accuracies.lines[2].get_xdata()) == [3, 3]
    assert (losses.get_xlabel(), losses.get_ylabel()) == ("epoch", "cross-entropy (nats)")
    assert accuracies.get_ylabel() == "macro-averaged accuracy"


def test_a_single_epoch_can_be_drawn() -> None:
    assert draw_curves(HISTORY[:1], "x", 1).startswith(b"\x89PNG")
