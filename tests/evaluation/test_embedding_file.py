"""Embeddings in Parquet, against a forward hook on the pooled layer, one image at a time."""

import json
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet
from torchvision.transforms.v2 import functional as vision

from resnet_lab.core.errors import ConfigError, DataError, RunError
from resnet_lab.device import choose
from resnet_lab.evaluation import embedding_file, evaluate, predict
from resnet_lab.evaluation.embedding_file import embedding_file as new_file
from resnet_lab.evaluation.views import parse_views
from resnet_lab.network import checkpoint, zoo
from resnet_lab.network.builder import build
from resnet_lab.network.checkpoint import Metadata
from resnet_lab.network.plugins import load
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.training import train
from tests.device.networks import lived_in

CPU, REGISTRY = choose("cpu", "fp32"), load(only=[])
NAMES = ("blue", "green", "red")
SPEC = zoo.get("resnet20").modified(input_size=8, num_classes=3, head_dropout=0.5, pool="concatenation")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    checkpoint.write(path, lived_in(build(SPEC)), Metadata(spec=SPEC, classes=NAMES, mean=MEAN, std=STD))
    return path


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, draw = tmp_path_factory.mktemp("scans"), np.random.default_rng(0)
    for number in range(70):
        pixels = draw.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


def by_hook(weights: Path, path: Path) -> NDArray[np.float32]:
    """Output of the pool for an image, which is decoded and scaled by torchvision."""
    metadata, _ = checkpoint.read(weights)
    model, kept = checkpoint.load(weights), []
    model.avgpool.register_forward_hook(lambda module, inputs, output: kept.append(output.flatten(1)[0]))
    side = metadata.spec.input_size
    with Image.open(path) as image:
        x = vision.pil_to_tensor(image.resize((side, side), Image.Resampling.BILINEAR)) / 255
    with torch.no_grad():
        model(vision.normalize(x, list(metadata.mean), list(metadata.std)).unsqueeze(0))
    found: NDArray[np.float32] = kept[0].numpy()
    return found


def test_predictions_with_embeddings(
    weights: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than one row group; read by pandas."""
    monkeypatch.setattr(embedding_file, "ROWS", 30)
    (tmp_path / "bad.png").touch()
    out = tmp_path / "features.parquet"
    answers = predict(weights, [scans, tmp_path / "bad.png"], CPU, REGISTRY, top=2, features_out=out)
    assert answers == predict(weights, [scans, tmp_path / "bad.png"], CPU, REGISTRY, top=2)
    table = pd.read_parquet(out)
    assert list(table.columns) == ["path", "class", "part", "predicted", "probability", "embedding"]
    assert table.path.tolist() == [each.path for each in answers.images]
    assert [(row.predicted, row.probability) for row in table.itertuples()] == [
        (each.top[0][0], np.float32(each.top[0][1])) for each in answers.images
    ]
    assert table[["class", "part"]].isna().all(axis=None)
    for row in table.itertuples():
        np.testing.assert_allclose(row.embedding, by_hook(weights, Path(row.path)), rtol=1e-4, atol=1e-5)
    stored = parquet.ParquetFile(out)
    assert [stored.metadata.row_group(n).num_rows for n in range(stored.num_row_groups)] == [30, 30, 10]
    assert str(stored.schema_arrow.field("embedding").type) == "fixed_size_list<element: float not null>[128]"
    about = json.loads(stored.schema_arrow.metadata[b"resnet_lab"])
    assert about["weights"] == sha256(weights.read_bytes()).hexdigest()
    assert (about["network"], about["layer"], about["size"]) == ("resnet20", "avgpool", 8)
    assert about["device"]["dtype"] == "float32"


def test_embeddings_are_of_images_as_they_are_whatever_the_views(weights: Path, scans: Path, tmp_path: Path) -> None:
    plain, flipped = tmp_path / "plain.parquet", tmp_path / "flipped.parquet"
    predict(weights, [scans], CPU, REGISTRY, top=1, features_out=plain)
    both = predict(weights, [scans], CPU, REGISTRY, top=1, views=parse_views("flip"), features_out=flipped)
    assert both == predict(weights, [scans], CPU, REGISTRY, top=1, views=parse_views("flip"))
    one, other = pd.read_parquet(plain), pd.read_parquet(flipped)
    np.testing.assert_array_equal(np.stack(one.embedding), np.stack(other.embedding))
    assert (one.probability != other.probability).any()


def test_scored_images_with_embeddings(tmp_path: Path, scans: Path) -> None:
    """Whether the predictions are there already or not, and in their order."""
    draw = np.random.default_rng(1)
    for name, level in (("dark", 60), ("light", 190)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(20):
            pixels = np.clip(draw.normal(level, 30, (9, 9, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / name / f"{number}.png")
    run, small = tmp_path / "run", zoo.get("resnet20").modified(input_size=8)
    train(small, str(tmp_path / "set"), TrainConfig(epochs=1, batch_size=16), folder=run)
    for part in ("val", "test", "test"):
        out = tmp_path / "features.parquet"
        out.unlink(missing_ok=True)
        predictions = evaluate(run, CPU, REGISTRY, part=part, features_out=out)
        table = pd.read_parquet(out)
        assert tuple(table.path) == predictions.paths
        assert [predictions.classes.index(name) for name in table["class"]] == predictions.labels.tolist()
        assert set(table.part) == {part}
        for row in table.itertuples():
            expected = by_hook(run / "best.safetensors", tmp_path / "set" / row.path)
            np.testing.assert_allclose(row.embedding, expected, rtol=1e-4, atol=1e-5)
    other = tmp_path / "other.parquet"
    evaluate(run, CPU, REGISTRY, source=str(tmp_path / "set"), features_out=other)
    assert len(pd.read_parquet(other)) == 40
    assert pd.read_parquet(other).part.isna().all()


def test_nothing_is_left_of_a_file_that_fails(weights: Path, scans: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").touch()
    out = tmp_path / "features.parquet"
    with pytest.raises(DataError, match="unreadable image"):
        predict(weights, [tmp_path / "bad.png"], CPU, REGISTRY, top=1, features_out=out)

    def interrupted() -> None:
        with new_file(out, 2, {}) as file:
            file.add(["a"], ["red"], np.ones(1, np.float32), np.ones((1, 2), np.float32), [None], None)
            file.flush()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.png"]


def test_a_name_that_is_no_utf_8(tmp_path: Path) -> None:
    out = tmp_path / "features.parquet"
    with new_file(out, 2, {}) as file:
        file.add(["a\udcff.png"], ["red"], np.ones(1, np.float32), np.ones((1, 2), np.float32), ["blue"], "val")
    assert parquet.read_table(out).to_pylist() == [
        {"path": "a\\udcff.png", "class": "blue", "part": "val", "predicted": "red", "probability": 1.0,
         "embedding": [1.0, 1.0]}
    ]  # fmt: skip


def test_files_that_cannot_be_written(
    weights: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(error: type[Exception], name: str, message: str) -> None:
        out = tmp_path / name
        with pytest.raises(error) as failure:
            predict(weights, [scans], CPU, REGISTRY, top=1, features_out=out)
        assert str(failure.value) == f"{out}{message}"
        with pytest.raises(error):  # before the run is looked at
            evaluate(tmp_path / "no run", CPU, REGISTRY, features_out=out)

    (tmp_path / "there.parquet").touch()
    refused(RunError, "there.parquet", " exists already and is left as it is; choose another name or remove it")
    refused(ConfigError, "a.csv", ": embeddings are written as Parquet; name a file that ends in .parquet")
    with pytest.raises(RunError, match=r"absent/a\.parquet: cannot be written: No such file or directory"):
        predict(weights, [scans], CPU, REGISTRY, top=1, features_out=tmp_path / "absent" / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    refused(
        ConfigError,
        "a.parquet",
        ': Parquet is written with pyarrow, which is not installed; pip install "resnet-lab[parquet]"',
    )


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "features.parquet"
    monkeypatch.setattr(parquet.ParquetWriter, "write_table", full)

    def write() -> None:
        with new_file(out, 2, {}) as file:
            file.add(["a"], ["red"], np.ones(1, np.float32), np.ones((1, 2), np.float32), [None], None)

    with pytest.raises(RunError) as failure:
        write()
    assert str(failure.value) == f"{out}: cannot be written: No space left on device"
    assert not list(tmp_path.iterdir())
