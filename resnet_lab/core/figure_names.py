"""Names of headline figures as people write them."""

NAMES = {
    "log_loss": "log loss (nats)",
    "top5_accuracy": "top-5 accuracy",
    "brier": "Brier score",
    "mean_p_true": "mean p(true class)",
}


def figure_name(figure: str) -> str:
    """A headline figure's name: `macro F1`, `Brier score`."""
    return NAMES.get(figure, figure.replace("_f1", " F1").replace("_", " "))
