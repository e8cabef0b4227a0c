"""A model card in Markdown, with the header that Hugging Face's hub reads. What is not known is left out.

Mitchell et al. 2019, "Model Cards for Model Reporting", arXiv:1810.03993. Of the header: the hub's model-card metadata.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from resnet_lab.core.errors import RunError
from resnet_lab.core.escaping import code, fenced, markdown, yaml
from resnet_lab.core.records import validated
from resnet_lab.core.run_folder import REMEDY
from resnet_lab.data.split import PARTS
from resnet_lab.evaluation.metrics.headline import LEVEL, intervals
from resnet_lab.evaluation.scoring import stored
from resnet_lab.export.exported_model import ExportedModel
from resnet_lab.export.privacy import public_command, public_source
from resnet_lab.network import cost, zoo
from resnet_lab.network.differences import differences
from resnet_lab.network.weights import Coverage

FEW = 10
"""Images of a class in the test part, below which one mistake moves its recall by more than ten points."""

IMBALANCE = 10
"""Times as many training images as another class has, from which on it is named."""

FIGURES = {
    "accuracy": ("accuracy", "Accuracy"),
    "macro_accuracy": ("balanced_accuracy", "Macro-averaged accuracy"),
    "macro_precision": ("precision", "Macro-averaged precision"),
    "macro_recall": ("recall", "Macro-averaged recall"),
    "macro_f1": ("f1", "Macro-averaged F1"),
    "top5_accuracy": ("top_5_accuracy", "Top-5 accuracy"),
    "log_loss": ("log_loss", "Log loss (nats)"),
    "brier": ("brier_score", "Brier score"),
    "mean_p_true": ("mean_true_class_probability", "Mean probability of the true class"),
    "ece": ("expected_calibration_error", "Expected calibration error"),
}
"""Figures of a card: the hub's identifier of each, and its name."""

HOW_IT_RAN = frozenset(
    {
        "device", "precision", "compile", "channels_last", "cache_frozen", "checkpoint_activations", "deterministic",
        "save_minutes", "keep_predictions", "weights",
    }
)  # fmt: skip
"""Options about how a training ran rather than what it did, and the weights, of which more is known."""

FITS = {"squash": "both sides scaled", "crop": "the middle cut out", "pad": "white added"}


def model_card(original: ExportedModel, *, license: str | None = None) -> str:
    """The text of a card. Where `evaluate` kept predictions of the test part, its figures have intervals.

    Args:
        license: an identifier of the hub, such as `apache-2.0`; none is claimed without it.

    Raises:
        RunError, CheckpointError: run.json or the predictions are damaged.
    """
    metadata, spec = original.metadata, original.metadata.spec
    record = {} if original.run is None else original.run.read()
    if record.get("status") == "imported":
        record = {}  # it tells of no training
    data = _data(record)
    trained_on = f" on {data['source']}" if data else ""
    return (
        _environment()
        .get_template("card.md.j2")
        .render(
            license=license,
            name=spec.name,
            title=f"{spec.name}{trained_on}",
            sentence=_sentence(original, trained_on),
            network=_network(original),
            data=data,
            fit=FITS[metadata.fit] + (f" of a shorter side of {metadata.resize} pixels" if metadata.resize else ""),
            classes=metadata.classes,
            training=_training(original, record),
            results=_results(original, record),
            in_run=original.run is not None,
            shape=(spec.in_channels, spec.input_size, spec.input_size),
            limits=list(_limits(original, record)),
            provenance=_provenance(record),
            command=shlex.join(public_command(record.get("command", []))),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("resnet_lab.export"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(plain=markdown, quoted=yaml, code=code, fenced=fenced)
    return environment


def _sentence(original: ExportedModel, trained_on: str) -> str:
    spec = original.metadata.spec
    number = spec.head.num_classes
    trained = f", trained{trained_on} with resnet-lab" if trained_on else ""
    classes = "class" if number == 1 else "classes"
    return f"An image classifier for {number} {classes}: a residual network ({spec.name}){trained}."


def _network(original: ExportedModel) -> dict[str, Any]:
    spec = original.metadata.spec
    base = zoo.unmodified(spec)
    counted = cost.measure(spec, original.registry)
    return {
        "name": spec.name,
        "base": "" if base is None else f"{spec.name} ({zoo.row(spec.name).source})",
        "changes": [] if base is None else differences(spec, base),
        "input": f"{spec.in_channels} x {spec.input_size} x {spec.input_size}",
        "parameters": counted.parameters,
        "macs": counted.macs,
        "hash": spec.hash,
        "plugins": ", ".join(f"{name} {version}" for name, version in original.metadata.plugins.items()),
    }


def _data(record: Mapping[str, Any]) -> dict[str, Any] | None:
    if "data" not in record:
        return None
    data = record["data"]
    source = public_source(data["source"])
    on_hub = re.fullmatch(r"hf:([\w.-]+(?:/[\w.-]+)?)(?:\(.*\))?", source) if source == data["source"] else None
    return {
        "source": source,
        "hub_name": on_hub[1] if on_hub else "",
        "images": ", ".join(f"{data['images'][part]:,} {part}" for part in PARTS),
        "bad": len(data["bad"]),
        "copies": data["copies"],
        "fingerprint": data["fingerprint"],
    }


def _training(original: ExportedModel, record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Training settings; options that are off or have no effect beside the others are left out."""
    config = record.get("config", {})
    without_effect = {
        "momentum": config.get("optimizer") != "sgd",
        "accumulate": config.get("accumulate") == 1,
        "decay": config.get("schedule") not in ("exponential", "step"),
        "decay_epochs": config.get("schedule") != "step",
        "decay_norms": not config.get("weight_decay"),
    }
    rows = [
        (name.replace("_", " "), ", ".join(map(str, value)) if isinstance(value, list) else str(value))
        for name, value in config.items()
        if name not in HOW_IT_RAN and not without_effect.get(name) and (value or name == "seed") and value != "none"
    ]
    if original.run is not None and record.get("weights"):
        where = f"{original.run.record}: damaged: weights"
        coverage = validated(Coverage, record["weights"], where, RunError, REMEDY)
        rows.insert(0, ("started from", f"{public_source(coverage.source)} ({coverage.extent})"))
    return rows


def _results(original: ExportedModel, record: Mapping[str, Any]) -> dict[str, Any] | None:
    if original.run is None or record.get("test") is None:
        return None
    predictions = stored(original.run)
    if predictions is None:
        values, ends, images = record["test"], {}, record["test"]["n"]
    else:
        found = intervals(predictions.labels, predictions.probabilities)
        values = {name: each.value for name, each in found.items()}
        ends, images = {name: (each.ends, each.method) for name, each in found.items()}, len(predictions)
    return {
        "figures": [
            {"type": identifier, "name": words, "value": float(values[name]), "interval": interval, "method": method}
            for name, (identifier, words) in FIGURES.items()
            if name in values
            for interval, method in [ends.get(name, (None, ""))]
        ],
        "level": f"{LEVEL:.0%}" if ends else "",
        "epoch": record.get("best_epoch"),
        "images": images,
    }


def _limits(original: ExportedModel, record: Mapping[str, Any]) -> Iterator[str]:
    if original.metadata.classes:
        yield "It knows the classes above alone: whatever else an image shows, it is given one of them."
    if record and record.get("status") != "finished":
        yield "The training was not finished when this card was written; these are the best weights so far."
    if record and original.run is not None and original.run.splits.is_file():
        yield from _limits_of_data(original.run.images_by_part())
    if record:
        yield "It is one training with one seed on one split: another seed or split gives other figures."
    else:
        yield "Nothing is known here of how, or on what, it was trained."


def _limits_of_data(counts: Mapping[tuple[str, str], int]) -> Iterator[str]:
    """Limits by the number of images per part and class."""
    train = {label: number for (part, label), number in counts.items() if part == "train"}
    few = [label for (part, label), number in counts.items() if part == "test" and number < FEW]
    if not train:
        return
    fewest, most = min(train, key=train.__getitem__), max(train, key=train.__getitem__)
    yield f"It was trained on {train[fewest]:,} to {train[most]:,} images per class."
    if train[most] > IMBALANCE * train[fewest]:
        yield (
            f"The classes are unequal: {most} has {train[most] / train[fewest]:.0f} times as many training images "
            f"as {fewest}."
        )
    if few:
        yield (
            f"{len(few)} of {len(train)} classes have fewer than {FEW} test images, so that one image moves their "
            "recall by more than ten points."
        )


def _provenance(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not record:
        return []
    device = record["device"]
    precision = device.get("precision") or device["dtype"]
    return [
        ("started", record["created"]),
        ("versions", ", ".join(f"{name} {version}" for name, version in record["versions"].items())),
        ("device", f"{device['name']} ({device['type']}, {precision})"),
        *([("time of training", f"{record['seconds']:.0f} s")] if record.get("seconds") is not None else []),
    ]
