"""Maps of embeddings, against scikit-learn on the embeddings that `eval --features-out` writes."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import make_blobs
from sklearn.manifold import TSNE, trustworthiness
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize

from resnet_lab.core.errors import ConfigError, RunError
from resnet_lab.device import choose
from resnet_lab.evaluation import embedding_map, evaluate, gather_report
from resnet_lab.evaluation.embedding_map import EmbeddingMap
from resnet_lab.evaluation.embeddings import unit_length
from resnet_lab.network import zoo
from resnet_lab.network.plugins import load
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.training import train
from tests.report.made_up_runs import predictions

CPU, REGISTRY = choose("cpu", "fp32"), load(only=[])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training on 44 images beside it."""
    folder, draw = tmp_path_factory.mktemp("map"), np.random.default_rng(1)
    for name, level in (("dark", 90), ("light", 160)):
        (folder / "set" / name).mkdir(parents=True)
        for number in range(22):
            pixels = np.clip(draw.normal(level, 40, (9, 9, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "set" / name / f"{number}.png")
    config = TrainConfig(epochs=1, batch_size=16)
    train(zoo.get("resnet20").modified(input_size=8), str(folder / "set"), config, folder=folder / "run")
    return folder / "run"


def mapped(run: Path, **options: Any) -> EmbeddingMap:
    source = options.pop("source", str(run.parent / "set"))
    found = gather_report([run], CPU, REGISTRY, source=source, works=0, with_map=True, **options).embedding_map
    assert found is not None
    return found


def refusal(run: Path, **options: Any) -> str:
    with pytest.raises(RunError) as error:
        mapped(run, **options)
    return str(error.value)


def test_a_map_is_scikit_learn_s_on_the_written_embeddings(run: Path, tmp_path: Path) -> None:
    evaluate(run, CPU, REGISTRY, source=str(run.parent / "set"), features_out=tmp_path / "features.parquet")
    table = pd.read_parquet(tmp_path / "features.parquet")
    embedded = np.stack(table.embedding.tolist())
    directions = unit_length(embedded)
    np.testing.assert_allclose(directions, normalize(embedded), rtol=1e-6)
    found = mapped(run)
    assert (len(found), found.scored, found.width, found.perplexity) == (44, 44, 64, 43 / 3)
    expected = TSNE(perplexity=43 / 3, init="pca", random_state=0).fit_transform(directions)
    assert np.array_equal(found.positions, expected)
    assert found.trustworthiness == trustworthiness(directions, expected, n_neighbors=5)
    named = cross_val_predict(KNeighborsClassifier(5, metric="cosine"), embedded, table["class"], cv=LeaveOneOut())
    assert found.knn_accuracy == np.mean(named == table["class"])
    assert found.accuracy == np.mean(table.predicted == table["class"])
    assert found.largest_share == 0.5
    rows = [(row["path"], row["class"], row["predicted"], [row["x"], row["y"]]) for row in found.as_json()["images"]]
    columns = (table.path, table["class"], table.predicted, expected.tolist())
    assert rows == list(zip(*columns, strict=True))
    assert gather_report([run], CPU, REGISTRY, source=str(run.parent / "set"), works=0).embedding_map is None


def test_of_many_images_those_with_the_lowest_digests(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_map, "MOST", 30)
    scored = evaluate(run, CPU, REGISTRY, source=str(run.parent / "set"))
    chosen = set(sorted(scored.digests)[:30])
    found = mapped(run)
    assert (len(found), found.scored) == (30, 44)
    assert found.paths == tuple(
        path for path, digest in zip(scored.paths, scored.digests, strict=True) if digest in chosen
    )


def made_up(embedded: NDArray[np.float32], labels: NDArray[np.int64]) -> EmbeddingMap:
    scored = replace(predictions("abcde", n=len(labels)), labels=labels)
    return embedding_map._map_of(embedded, scored, np.arange(len(labels)))


def blobs(spread: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """150 images of three classes in 16 dimensions, apart in their directions."""
    embedded, labels = make_blobs(150, centers=6 * np.eye(3, 16), cluster_std=spread, random_state=3)
    return embedded.astype(np.float32), labels.astype(np.int64)


def test_separated_clusters_are_told_apart_and_mixed_labels_are_not() -> None:
    embedded, labels = blobs(0.3)
    found = made_up(embedded, labels)
    assert found.knn_accuracy == 1
    assert found.trustworthiness > 0.9
    centres = np.stack([found.positions[labels == k].mean(0) for k in range(3)])
    nearest = np.linalg.norm(found.positions[:, None] - centres, axis=2).argmin(1)
    assert np.array_equal(nearest, labels)
    mixed = made_up(embedded, np.random.default_rng(0).permutation(labels))
    assert mixed.knn_accuracy < 0.5
    assert np.array_equal(mixed.positions, found.positions), "labels move no image"


def test_the_vote_is_that_of_scikit_learn_s_classifier() -> None:
    embedded, labels = blobs(4.0)
    directions = unit_length(embedded)
    expected = cross_val_predict(KNeighborsClassifier(5), directions, labels, cv=LeaveOneOut())
    assert np.array_equal(embedding_map._vote(directions, labels), expected)
    assert 0.4 < np.mean(expected == labels) < 0.95


def test_a_random_arrangement_has_a_trustworthiness_of_about_a_half() -> None:
    embedded, _ = blobs(4.0)
    at_random = np.random.default_rng(0).normal(size=(150, 2)).astype(np.float32)
    assert embedding_map._trustworthiness(unit_length(embedded), at_random) == pytest.approx(0.5, abs=0.05)


def test_too_few_images(run: Path) -> None:
    number = len(evaluate(run, CPU, REGISTRY, part="test"))
    assert 0 < number < 20
    assert refusal(run, source=None) == (
        f"{run}: a map of embeddings takes at least 20 scored images, got {number}; leave --map out, or score more "
        "images with --split or --data"
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.0, "all embeddings point in one direction, so that there is no map; leave --map out"),
        (np.nan, "embeddings are not finite, so that there is no map of them; leave --map out"),
    ],
)
def test_embeddings_that_cannot_be_mapped(
    run: Path, monkeypatch: pytest.MonkeyPatch, value: float, message: str
) -> None:
    def constant(*_: object) -> Iterator[NDArray[np.float32]]:
        yield value * np.exp2(np.arange(44, dtype=np.float32) % 5)[:, None] * np.ones((44, 64), np.float32)

    monkeypatch.setattr(embedding_map, "embeddings", constant)
    assert refusal(run) == f"{run}: {message}"


def test_a_map_of_several_runs(run: Path) -> None:
    with pytest.raises(ConfigError) as error:
        gather_report([run, run], CPU, REGISTRY, with_map=True)
    assert str(error.value) == "--map is of one run, got 2; leave it out, or name one run"


def test_images_that_are_gone(run: Path) -> None:
    evaluate(run, CPU, REGISTRY, part="test")
    (run.parent / "set").rename(run.parent / "elsewhere")
    try:
        message = refusal(run, source=None)
    finally:
        (run.parent / "elsewhere").rename(run.parent / "set")
    assert message.startswith(f"{run}: no map of embeddings can be made: {run.parent / 'set'}")
    assert message.endswith("; leave --map out")


def test_without_scikit_learn_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ConfigError) as error:
        gather_report([tmp_path], CPU, REGISTRY, with_map=True)
    assert str(error.value) == 'a map of embeddings needs the package scikit-learn: pip install "resnet-lab[map]"'
