"""Runs that nobody trained: all that a page says of them, made up."""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from resnet_lab.core.history import Epoch
from resnet_lab.evaluation.comparison import Comparison
from resnet_lab.evaluation.embedding_map import EmbeddingMap
from resnet_lab.evaluation.gallery import Gallery, GalleryPicture, GalleryWork, Map, Neighbour
from resnet_lab.evaluation.metrics import summarise
from resnet_lab.evaluation.predictions import Origin, Predictions
from resnet_lab.evaluation.run_summary import RunSummary
from resnet_lab.network import cost, zoo
from resnet_lab.network.plugins import load

REGISTRY = load(only=[])
ANIMALS = ("ant", "bee", "cow", "dog", "eel")


def predictions(classes: Sequence[str], n: int = 120, seed: int = 0, part: str = "test") -> Predictions:
    """Predictions of n images; the network is right on about two in three, and the last class has no images."""
    draw = np.random.default_rng(seed)
    labels = np.random.default_rng(7).integers(0, len(classes) - 1, n)
    logits = draw.normal(0, 1, (n, len(classes)))
    logits[np.arange(n), labels] += 2
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return Predictions(
        classes=tuple(classes),
        paths=tuple(f"{classes[k]}/{number}.jpg" for number, k in enumerate(labels)),
        digests=tuple(f"{number:064x}" for number in range(n)),
        labels=labels,
        probabilities=shares.astype(np.float32),
        origin=Origin(
            weights="ab" * 32, source="/data/animals", part=part, epoch=3, created="2026-01-02T03:04:05+00:00",
            device={"name": "a processor", "type": "cpu", "precision": "fp32", "dtype": "float32"},
            versions={"torch": "2.99"},
        ),
    )  # fmt: skip


def history(losses: Sequence[float] = (1.5, 0.9, 0.7, 0.8)) -> tuple[Epoch, ...]:
    return tuple(
        Epoch(number, 1e-3, loss, 1 - loss / 3, loss + 0.1, 0.9 - loss / 3, 0.95 - loss / 3, 20.5, 100.0)
        for number, loss in enumerate(losses, 1)
    )


def record(classes: Sequence[str]) -> dict[str, Any]:
    return {
        "created": "2026-01-01T00:00:00+00:00",
        "command": ["resnet-lab", "train", "--data", "my animals"],
        "config": {"epochs": 4, "lr": 0.003, "augment": ["flip", "rotate90"], "weights": None, "deterministic": False},
        "spec_hash": "0123456789abcdef",
        "data": {
            "source": "/data/animals",
            "fingerprint": "fedcba9876543210",
            "images": {"train": 30 * len(classes), "val": 10, "test": 120},
            "bad": [],
            "copies": 0,
            "classes": list(classes),
        },
        "plugins": {},
        "weights": None,
        "versions": {"python": "3.12", "resnet-lab": "1.0"},
        "device": {"name": "a processor", "type": "cpu", "precision": "fp32", "dtype": "float32"},
        "status": "finished",
    }


def made_up_run(
    classes: Sequence[str] = ANIMALS, n: int = 120, seed: int = 0, name: str = "relu", **changes: Any
) -> RunSummary:
    spec = zoo.get("resnet20").modified(num_classes=len(classes), input_size=16)
    parts = Counter({("train", each): 10 + 10 * number for number, each in enumerate(classes)})
    scored = predictions(classes, n, seed)
    train_images = [parts["train", each] for each in classes]
    made = RunSummary(
        name=name,
        path=f"runs/{name}",
        record=record(classes),
        spec=spec,
        base="resnet20",
        changes=(),
        cost=cost.measure(spec, REGISTRY),
        history=history(),
        parts=parts,
        has_weights=True,
        predictions=scored,
        summary=summarise(scored.labels, scored.probabilities, tuple(classes), train_images),
        obstacle="",
    )
    return replace(made, **changes)


def webp(nbytes: int = 0) -> bytes:
    """A picture; with bytes behind it that nobody reads, up to that many."""
    content = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 100, 50)).save(content, format="WEBP")
    return content.getvalue().ljust(nbytes, b"\1")


def gallery(made: RunSummary, works: int = 3, nbytes: int = 0) -> Gallery:
    """Gallery of the surest mistakes."""
    scored = made.predictions
    assert scored is not None
    wrong = np.flatnonzero(scored.predicted != scored.labels)[:works].tolist()
    assert len(wrong) == works
    picture = webp(nbytes)

    def named(k: int, number: int) -> Map:
        return Map(scored.classes[k], 0, float(scored.probabilities[number, k]), picture)

    return Gallery(
        works=tuple(
            GalleryWork(
                number,
                GalleryPicture(scored.paths[number], 640, 480, picture),
                (named(int(scored.predicted[number]), number), named(int(scored.labels[number]), number)),
                tuple(Neighbour(GalleryPicture(f"near/{k}.jpg", 30, 90, picture), 0.125 + k) for k in range(3)),
            )
            for number in wrong
        ),
        side=224,
        method="grad-cam",
        layers=("layer3",),
        positions=((4, 4),),
        candidates=99,
    )


def embedding_map(made: RunSummary, scored: int | None = None) -> EmbeddingMap:
    """Map of all scored images, or of a sample of so many."""
    found = made.predictions
    assert found is not None
    positions = np.random.default_rng(5).normal(0, 9, (len(found), 2)).astype(np.float32)
    return EmbeddingMap(
        found.classes,
        positions,
        found.labels,
        found.predicted,
        found.paths,
        scored or len(found),
        64,
        30.0,
        0.5125,
        0.875,
    )


def contrasted(compared: Comparison, works: int = 2) -> Gallery:
    """Contrast of the first works that the second has fixed or broken."""
    numbers = [*compared.paired.fixed[:works].tolist(), *compared.paired.broken[:works].tolist()]
    picture = webp()
    return Gallery(
        works=tuple(
            GalleryWork(
                number,
                GalleryPicture(compared.first.paths[number], 640, 480, picture),
                tuple(
                    Map(each.classes[each.predicted[number]], network, float(each.confidences[number]), picture)
                    for network, each in enumerate((compared.first, compared.second))
                ),
            )
            for number in numbers
        ),
        side=224,
        method="grad-cam",
        layers=("layer3", "layer3"),
        positions=((4, 4), (4, 4)),
    )
