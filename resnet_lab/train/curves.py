"""curves.png: what metrics.csv says, as a picture."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resnet_lab.train.loop import Epoch

BLUE, ORANGE = "#0072B2", "#D55E00"  # Okabe and Ito's palette, told apart by colour-blind eyes


def draw_curves(epochs: Sequence["Epoch"], title: str, best_epoch: int) -> bytes:
    """PNG of losses and macro-averaged accuracies against epochs, the best one marked."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(1, 2)
    numbers = [epoch.epoch for epoch in epochs]
    for panel, label, train, val in (
        (panels[0], "cross-entropy (nats)", "train_loss", "val_loss"),
        (panels[1], "macro-averaged accuracy", "train_macro_accuracy", "val_macro_accuracy"),
    ):
        for name, key, colour, marker in (("training", train, BLUE, "o"), ("validation", val, ORANGE, "s")):
            values = [getattr(epoch, key) for epoch in epochs]
            panel.plot(numbers, values, marker=marker, markersize=3.5, color=colour, label=name)
        panel.axvline(best_epoch, color="0.5", linestyle=":", label=f"best epoch ({best_epoch})")
        panel.set(xlabel="epoch", ylabel=label)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.3)
    panels[0].set_ylim(bottom=0)
    panels[1].set_ylim(top=1.01)
    panels[1].legend(frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    return content.getvalue()
