"""One page about a run."""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from markupsafe import Markup

from resnet_lab.core.errors import printable
from resnet_lab.data.split import PARTS
from resnet_lab.evaluation.explanation.pictures import COLOURS
from resnet_lab.evaluation.gallery import Gallery, GalleryWork
from resnet_lab.evaluation.metrics import Summary
from resnet_lab.evaluation.metrics.confusion import Confusion
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.report import run_plots
from resnet_lab.report.data_page import FEW, Bar, Remark
from resnet_lab.report.figure_style import PAGE, inline_svg, styled
from resnet_lab.report.network import made_of
from resnet_lab.report.pages import render
from resnet_lab.report.run_summary import RunSummary
from resnet_lab.report.text import counted, duration, joined

PAIRS = 10
ANSWERS = 5
"""Classes that are listed for a misclassified work."""

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
}


@dataclass(frozen=True)
class MatrixCell:
    """Images of a true class by the class that they were taken for.

    Attributes:
        share: of the true class's images, in percent.
        told: tooltip.
    """

    number: int
    share: float
    told: str
    right: bool

    @property
    def depth(self) -> float:
        """Depth of the colour, in percent: no cell with images is without."""
        return 8 + 0.92 * self.share


def run_page(subject: RunSummary, gallery: Gallery | None) -> str:
    """The HTML of one self-contained page.

    Args:
        gallery: of the run's mistakes; None where there are none, or they cannot be shown.
    """
    summary = subject.summary
    return render(
        "run_page.html.j2",
        subject=subject,
        summary=summary,
        sentence=sentence(subject),
        remarks=list(remarks(subject)),
        curves=_curves(subject),
        explained=EXPLAINED,
        matrix=None if summary is None else _matrix(summary.confusion),
        plots={} if summary is None else _plots(summary),
        ribbon=[] if summary is None else _ribbon(summary),
        pairs=() if summary is None else summary.confusion.pairs(PAIRS),
        taken_for={} if summary is None else _taken_for(summary.confusion),
        gallery=gallery,
        answers={} if gallery is None else {work.number: _answers(subject, work) for work in gallery.works},
        colour_bar=colour_bar(),
        class_parts=class_parts(subject),
        bars=_bars(subject),
        stages=list(zip(subject.cost.stages, made_of(subject.spec), strict=True)),
        provenance=provenance(subject),
        config=configuration(subject.record),
        raw=json.dumps(subject.record, indent=2),
        largest_share=0 if summary is None else max(row.support for row in summary.classes) / summary.n,
    )


def sentence(subject: RunSummary) -> str:
    """Summarise the run: the network and its changes, the data, how long and where."""
    record = subject.record
    data, images = record["data"], record["data"]["images"]
    name = printable(PurePath(data["source"]).name or data["source"])
    parts = ", ".join(
        f"{images[part]:,} {word}" for part, word in zip(PARTS, ("training", "validation", "test"), strict=True)
    )
    planned, done = record["config"]["epochs"], len(subject.history)
    epochs = counted(done, "epoch") if subject.finished else f"{done} of {counted(planned, 'epoch')} so far"
    seconds = sum(epoch.seconds for epoch in subject.history if epoch.seconds == epoch.seconds)
    device = record["device"]
    changed = f" with {joined(list(subject.changes))}," if subject.changes else ""
    size = subject.spec.input_size
    return (
        f"{subject.spec.name}{changed} trained on {name} ({len(data['classes'])} classes; {parts} images of "
        f"{size} × {size} pixels) for {epochs}"
        + (f" in {duration(seconds)}" if seconds else "")
        + f" on {device['name']} ({device['type']}, {device.get('precision') or device['dtype']})"
        + (f", from the weights {printable(record['weights']['source'])}" if record.get("weights") else "")
        + "."
    )


def remarks(subject: RunSummary) -> Iterator[Remark]:
    """Remarks to read first, the gravest first."""
    if not subject.finished:
        yield Remark("warning", _unfinished(subject), "figures" if subject.summary else "making", "Status")
    if subject.obstacle and subject.run.best.exists():
        kept = "the kept predictions are shown, without pictures" if subject.predictions else "nothing can be scored"
        yield Remark(
            "warning", f"The images cannot be read now, so {kept}: {printable(subject.obstacle)}.", "data", "Data"
        )
    if subject.predictions is not None:
        yield from _of_what_is_gone(subject.predictions)
    if subject.predictions is not None and subject.predictions.origin.part == "val" and subject.finished:
        text = "The best epoch was selected on this validation part, so the figures are slightly optimistic."
        yield Remark("hint", text, "curves", "Learning curves")
    if subject.predictions is not None and subject.predictions.origin.part == "train":
        yield Remark(
            "warning",
            "The network was trained on these images: the figures show how well it memorised them.",
            "data",
            "Data",
        )
    if subject.summary is not None:
        yield from _of_small_classes(subject.summary)
    last = len(subject.history)
    if last > 1 and subject.best_epoch == subject.history[-1].epoch and subject.finished:
        yield Remark(
            "hint", "The best epoch is the last one: longer training may improve it.", "curves", "Learning curves"
        )


def _of_what_is_gone(predictions: Predictions) -> Iterator[Remark]:
    origin = predictions.origin
    if origin.gone:
        of = counted(origin.gone + len(predictions), "image")
        are = "is" if origin.gone == 1 else "are"
        text = f"{origin.gone:,} of {of} of this part {are} gone, and the others are scored."
        yield Remark("warning", text, "data", "Data")
    if origin.absent:
        text = f"The source has no image of {joined([printable(name) for name in origin.absent])}."
        yield Remark("warning", text, "data", "Data")


def _unfinished(subject: RunSummary) -> str:
    status = str(subject.record.get("status", "not started"))
    state = (
        "The training is still running, or was killed"
        if status == "running"
        else f"The training is not finished ({printable(status)})"
    )
    if subject.summary is None:
        return f"{state}: {counted(len(subject.history), 'epoch')} done, and nothing is scored yet."
    return (
        f"{state}: the figures are those of the best weights so far on the {subject.scored}. "
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


def _curves(subject: RunSummary) -> list[Markup]:
    history, best = subject.history, subject.best_epoch
    if best is None:
        return []
    there = next(epoch for epoch in history if epoch.epoch == best)
    with styled(PAGE):
        return [
            inline_svg(
                run_plots.losses(history, best, PAGE),
                "losses",
                f"Losses against epochs: training ends at {history[-1].train_loss:.3f}, validation at "
                f"{history[-1].val_loss:.3f} nats",
            ),
            inline_svg(
                run_plots.accuracies(history, best, PAGE),
                "accuracies",
                f"Macro accuracy against epochs: validation is best in epoch {best} with "
                f"{there.val_macro_accuracy:.3f}",
            ),
        ]


def _plots(summary: Summary) -> dict[str, Markup]:
    with styled(PAGE):
        figure, told = run_plots.reliability(summary.calibration, PAGE)
        alt = f"Reliability diagram: expected calibration error {summary.calibration.error:.3f}"
        plots = {"reliability": inline_svg(figure, "reliability", alt, told)}
        if (found := summary.abundance) is not None:
            figure, told = run_plots.abundance(found, summary.classes, PAGE)
            alt = f"Recall against training images of {len(found.classes)} classes"
            plots["abundance"] = inline_svg(figure, "abundance", alt, told)
    return plots


def _ribbon(summary: Summary) -> list[tuple[str, int, int]]:
    """Right and wrong images of each class with its name, the largest class first."""
    counts = summary.confusion.counts
    return [
        (summary.confusion.classes[k], int(counts[k, k]), int(counts[k].sum() - counts[k, k]))
        for k in summary.confusion.by_support().tolist()
    ]


def _matrix(confusion: Confusion) -> dict[str, Any]:
    by_support, by_similarity = confusion.by_support().tolist(), confusion.by_similarity().tolist()
    return {
        "order": by_support,
        "orders": {"images": by_support, "similarity": by_similarity},
        "numbered": len(confusion.classes) <= run_plots.NUMBERED,
        "rows": {k: [_cell(confusion, k, column) for column in by_support] for k in by_support},
        "support": confusion.counts.sum(1).tolist(),
    }


def _cell(confusion: Confusion, true: int, predicted: int) -> MatrixCell:
    number, support = int(confusion.counts[true, predicted]), int(confusion.counts[true].sum())
    share = 100 * float(confusion.shares[true, predicted])
    name, other = printable(confusion.classes[true]), printable(confusion.classes[predicted])
    what = f"{name} recognised" if true == predicted else f"{name} taken for {other}"
    return MatrixCell(number, share, f"{what}: {number:,} of {support:,} ({share:.0f}%)", true == predicted)


def _taken_for(confusion: Confusion) -> dict[str, tuple[str, int]]:
    """The other class that most images of a class are taken for, and how many; those without mistakes are left out."""
    wrong = confusion.counts - np.diag(np.diag(confusion.counts))
    return {
        name: (confusion.classes[int(row.argmax())], int(row.max()))
        for name, row in zip(confusion.classes, wrong, strict=True)
        if row.max()
    }


def _answers(subject: RunSummary, work: GalleryWork) -> list[tuple[str, float]]:
    """The most probable classes, and the true one in any case."""
    predictions = subject.predictions
    assert predictions is not None, "works come from predictions"
    row, truth = predictions.probabilities[work.number], int(predictions.labels[work.number])
    best = np.argsort(-row, kind="stable")[:ANSWERS].tolist()
    return [(predictions.classes[k], float(row[k])) for k in (*best, *([truth] if truth not in best else []))]


def colour_bar() -> str:
    """The colours of a map from 0 to 1, as CSS."""
    stops = (COLOURS(at / 10)[:3] for at in range(11))
    return ", ".join("#" + "".join(f"{round(255 * value):02x}" for value in stop) for stop in stops)


def class_parts(subject: RunSummary) -> dict[str, dict[str, int]]:
    """Images of each class by part, the class with most training images first."""
    names = subject.record["data"]["classes"]
    found = {name: {part: subject.parts[part, name] for part in PARTS} for name in names}
    return dict(sorted(found.items(), key=lambda item: (-item[1]["train"], item[0])))


def _bars(subject: RunSummary) -> dict[str, list[Bar]]:
    parts = class_parts(subject)
    largest = max(1, *(sum(each.values()) for each in parts.values()))
    bars: dict[str, list[Bar]] = {}
    for name, each in parts.items():
        start = 0.0
        for part in PARTS:
            width = 100 * each[part] / largest
            bars.setdefault(name, []).append(Bar(part, start, width))
            start += width
    return bars


def provenance(subject: RunSummary) -> list[tuple[str, str]]:
    """Origin of everything on the page, by name."""
    record, predictions = subject.record, subject.predictions
    device, data = record["device"], record["data"]
    rows = [
        ("run folder", subject.path),
        ("started", record["created"]),
        ("state", str(record.get("status", "not started"))),
        ("command", shlex.join(record["command"])),
        ("network", f"{subject.spec.name}, spec {record['spec_hash']}"),
        ("images", data["source"]),
        ("fingerprint of the images", data["fingerprint"]),
        ("trained on", f"{device['name']} ({_told(device)})"),
        ("versions", _listed(record["versions"])),
    ]
    if record["plugins"]:
        rows.append(("plugins", _listed(record["plugins"])))
    if record.get("weights"):
        rows.append(("started from", str(record["weights"]["source"])))
    if predictions is not None:
        origin = predictions.origin
        rows += [
            ("weights, SHA-256", origin.weights),
            ("predictions", f"of {counted(len(predictions), 'image')} ({subject.scored}), made {origin.created}"),
            ("predicted on", f"{origin.device.get('name')} ({_told(origin.device)})"),
            ("predicted with", _listed(origin.versions)),
        ]
    return [(name, printable(text)) for name, text in rows]


def _told(device: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in device.items() if name != "name")


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def configuration(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Configuration of the training."""
    return [(name.replace("_", " "), _value(value)) for name, value in record["config"].items()]


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return {"None": "none", "True": "yes", "False": "no"}.get(str(value), str(value))
