"""Texts and rows of pages about runs."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from resnet_lab.core.errors import printable
from resnet_lab.core.wording import counted
from resnet_lab.data.split import PARTS
from resnet_lab.evaluation.explanation.pictures import COLOURS
from resnet_lab.evaluation.metrics import Summary
from resnet_lab.evaluation.next_steps import NextStep, Regularise, TrainLonger
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.evaluation.run_summary import RunSummary
from resnet_lab.report.data_page import FEW, Remark
from resnet_lab.report.text import device_text, duration, joined, versions_text

EXPLAINED = {
    "accuracy": "share of images classified correctly",
    "macro_accuracy": "mean of the classes' recalls: all classes weigh the same",
    "macro_precision": "mean over the classes of the share of correct predictions",
    "macro_recall": "mean over all classes; those without images count as 0",
    "macro_f1": "mean over the classes of the harmonic mean of precision and recall",
    "weighted_precision": "precision, classes weighted by images",
    "weighted_recall": "recall, classes weighted by images: the accuracy",
    "weighted_f1": "F1, classes weighted by images",
    "top5_accuracy": "true class among the five most probable",
    "log_loss": "mean of −ln of the true class's probability: lower is better",
    "brier": "mean over images of the sum of squared errors of all probabilities, 0 to 2: lower is better",
    "mean_p_true": "mean probability of the true class; not a proper score, it rewards overconfidence",
}


def sentence(run: RunSummary) -> str:
    """Summarise the run: the network and its changes, the data, how long and where."""
    record = run.record
    data, images = record["data"], record["data"]["images"]
    name = printable(PurePath(data["source"]).name or data["source"])
    parts = ", ".join(
        f"{images[part]:,} {word}" for part, word in zip(PARTS, ("training", "validation", "test"), strict=True)
    )
    planned, done = record["config"]["epochs"], len(run.history)
    epochs = counted(done, "epoch") if run.finished else f"{done} of {counted(planned, 'epoch')} so far"
    seconds = sum(epoch.seconds for epoch in run.history if epoch.seconds == epoch.seconds)
    device = record["device"]
    changed = f" with {joined(list(run.changes))}," if run.changes else ""
    size = run.spec.input_size
    return (
        f"{run.spec.name}{changed} trained on {name} ({len(data['classes'])} classes; {parts} images of "
        f"{size} × {size} pixels) for {epochs}"
        + (f" in {duration(seconds)}" if seconds else "")
        + f" on {device['name']} ({device['type']}, {device.get('precision') or device['dtype']})"
        + (f", from the weights {printable(record['weights']['source'])}" if record.get("weights") else "")
        + "."
    )


def remarks(run: RunSummary) -> Iterator[Remark]:
    """Remarks to read first, the gravest first."""
    if not run.finished:
        yield Remark("warning", _unfinished(run), "figures" if run.summary else "provenance", "Status")
    if run.obstacle and run.has_weights:
        kept = "the kept predictions are shown, without pictures" if run.predictions else "nothing can be scored"
        yield Remark("warning", f"The images cannot be read now, so {kept}: {printable(run.obstacle)}.", "data", "Data")
    if run.predictions is not None:
        yield from _of_what_is_gone(run.predictions)
    if run.predictions is not None and run.predictions.origin.part == "val" and run.finished:
        text = "The best epoch was selected on this validation part, so the figures are slightly optimistic."
        yield Remark("hint", text, "curves", "Learning curves")
    if run.predictions is not None and run.predictions.origin.part == "train":
        yield Remark(
            "warning",
            "The network was trained on these images: the figures show how well it memorised them.",
            "data",
            "Data",
        )
    if run.summary is not None:
        yield from _of_small_classes(run.summary)


def next_step(step: NextStep) -> str:
    """A suggestion, with what was measured."""
    if isinstance(step, TrainLonger):
        return (
            f"Train longer: the last of {step.epochs} epochs is the best, and the validation loss still fell, from "
            f"{step.before:.3f} in epoch {step.since} to {step.after:.3f}. Whether more epochs help, "
            f"another run shows (--epochs {2 * step.epochs})."
        )
    if isinstance(step, Regularise):
        return (
            f"Augment or regularise more: after epoch {step.lowest} the validation loss rose from "
            f"{step.validation[0]:.3f} to {step.validation[1]:.3f}, while the training loss fell from "
            f"{step.training[0]:.3f} to {step.training[1]:.3f}. Accuracy need not suffer, but probabilities do."
        )
    pair = step.pair
    return (
        f"Look at {printable(pair.true)} taken for {printable(pair.predicted)}: {pair.n:,} of all "
        f"{counted(step.mistakes, 'mistake')}. Wrong or overlapping labels would look like this too "
        "(resnet-lab data suspects)."
    )


def _of_what_is_gone(predictions: Predictions) -> Iterator[Remark]:
    origin = predictions.origin
    if origin.gone:
        of = counted(origin.gone + len(predictions), "image")
        are = "is" if origin.gone == 1 else "are"
        text = f"{origin.gone:,} of {of} of this part {are} gone or cannot be read, and the others are scored."
        yield Remark("warning", text, "data", "Data")
    if origin.absent:
        text = f"The source has no image of {joined([printable(name) for name in origin.absent])}."
        yield Remark("warning", text, "data", "Data")


def _unfinished(run: RunSummary) -> str:
    status = str(run.record.get("status", "not started"))
    state = (
        "The training is still running, or was killed"
        if status == "running"
        else f"The training is not finished ({printable(status)})"
    )
    if run.summary is None:
        return f"{state}: {counted(len(run.history), 'epoch')} done, and nothing is scored yet."
    return (
        f"{state}: the figures are those of the best weights so far on the {run.scored}. "
        "The test part stays unseen until the end."
    )


def _of_small_classes(summary: Summary) -> Iterator[Remark]:
    present = [row for row in summary.classes if row.support]
    few = [row for row in present if row.support < FEW]
    if few:
        fewest = min(few, key=lambda row: row.support)
        have = counted(len(few), "class has", "classes have")
        text = (
            f"{have} fewer than {FEW} images here. {printable(fewest.name)} has {fewest.support}: "
            f"one mistake moves its recall by {100 / fewest.support:.0f} points."
        )
        yield Remark("warning", text, "classes", "Classes")
    if absent := len(summary.classes) - len(present):
        yield Remark("hint", f"{counted(absent, 'class has', 'classes have')} no images here.", "classes", "Classes")


def colour_bar() -> str:
    """The colours of a map from 0 to 1, as CSS."""
    stops = (COLOURS(at / 10)[:3] for at in range(11))
    return ", ".join("#" + "".join(f"{round(255 * value):02x}" for value in stop) for stop in stops)


def class_parts(run: RunSummary) -> dict[str, dict[str, int]]:
    """Images of each class by part, the class with most training images first."""
    names = run.record["data"]["classes"]
    found = {name: {part: run.parts[part, name] for part in PARTS} for name in names}
    return dict(sorted(found.items(), key=lambda item: (-item[1]["train"], item[0])))


def provenance(run: RunSummary) -> list[tuple[str, str]]:
    """Origin of everything on the page, by name."""
    record, predictions = run.record, run.predictions
    device, data = record["device"], record["data"]
    rows = [
        ("run folder", run.path),
        ("started", record["created"]),
        ("state", str(record.get("status", "not started"))),
        ("command", shlex.join(record["command"])),
        ("network", f"{run.spec.name}, spec {record['spec_hash']}"),
        ("images", data["source"]),
        ("fingerprint of the images", data["fingerprint"]),
        ("trained on", device_text(device)),
        ("versions", versions_text(record["versions"])),
    ]
    if record["plugins"]:
        rows.append(("plugins", versions_text(record["plugins"])))
    if record.get("weights"):
        rows.append(("started from", str(record["weights"]["source"])))
    if predictions is not None:
        origin = predictions.origin
        rows += [
            ("weights, SHA-256", origin.weights),
            ("predictions", f"of {counted(len(predictions), 'image')} ({run.scored}), made {origin.created}"),
            ("predicted on", device_text(origin.device)),
            ("predicted with", versions_text(origin.versions)),
        ]
    return [(name, printable(text)) for name, text in rows]


def configuration(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Configuration of the training."""
    return [(name.replace("_", " "), _value(value)) for name, value in record["config"].items()]


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return {"None": "none", "True": "yes", "False": "no"}.get(str(value), str(value))
