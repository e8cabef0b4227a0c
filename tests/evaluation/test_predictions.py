import csv
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from resnet_lab.core.errors import CheckpointError
from resnet_lab.evaluation.predictions import Origin, Predictions, weights_digest

ORIGIN = Origin(
    weights="ab",
    source="/x",
    part="test",
    device={"type": "cpu"},
    epoch=3,
    created="2026-01-01",
    versions={"torch": "2"},
)


def some() -> Predictions:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), size=4).astype(np.float32)
    paths = ("a/1.jpg", "ä, b/2.jpg", 'c "d".jpg', "e\udcff.jpg")
    return Predictions(("x", "y, z", "ü"), paths, ("1", "2", "3", "4"), np.array([0, 2, 1, 1]), probabilities, ORIGIN)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    written = some()
    written.write(tmp_path / "new" / "test.safetensors")
    found = Predictions.read(tmp_path / "new" / "test.safetensors")
    assert (found.classes, found.paths, found.digests, found.origin) == (
        written.classes, written.paths, written.digests, ORIGIN,
    )  # fmt: skip
    assert (found.labels == written.labels).all()
    assert (found.probabilities == written.probabilities).all()
    assert len(found) == 4


def test_a_row_an_image() -> None:
    rows = list(csv.DictReader(some().as_csv().splitlines()))
    assert [row["path"] for row in rows] == list(some().paths)
    assert [row["true"] for row in rows] == ["x", "ü", "y, z", "y, z"]
    for row, probabilities in zip(rows, some().probabilities, strict=True):
        assert [float(row[f"p({name})"]) for name in some().classes] == pytest.approx(probabilities.tolist(), rel=1e-6)
        assert row["predicted"] == some().classes[probabilities.argmax()]
        assert float(row["confidence"]) == pytest.approx(probabilities.max(), rel=1e-6)


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    with pytest.raises(CheckpointError, match="cannot read the predictions file: No such file"):
        Predictions.read(path)
    some().write(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as failure:
        Predictions.read(path)
    assert str(failure.value) == (
        f"{path}: the predictions file is damaged: its content does not match its checksum; copy it again"
    )


def test_non_finite_probabilities_name_no_class(tmp_path: Path) -> None:
    path, made = tmp_path / "p.safetensors", some()
    made.probabilities[2, 1] = np.nan
    made.write(path)
    with pytest.raises(CheckpointError) as failure:
        Predictions.read(path)
    assert str(failure.value) == (
        f"{path}: the predictions hold non-finite probabilities, which name no class; remove the file and score the "
        "run again with `resnet-lab eval`"
    )


def test_weights_are_known_by_their_content(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"weights")
    assert weights_digest(path) == sha256(b"weights").hexdigest()
    with pytest.raises(CheckpointError) as failure:
        weights_digest(tmp_path / "absent")
    assert str(failure.value) == f"{tmp_path}/absent: cannot read the weights file: No such file or directory"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"classes": ("x", "y")}, "the predictions are not of the 4 images and 2 classes named"),
        ({"digests": ("1",)}, "the predictions are not of the 4 images and 3 classes named"),
        ({"paths": ("1", "2")}, "the predictions are not of the 2 images and 3 classes named"),
        ({"labels": np.array([0, 2, 3, 1])}, "the predictions have a label that is none of their 3 classes"),
        ({"labels": np.array([0, -1, 2, 1])}, "the predictions have a label that is none of their 3 classes"),
        ({"classes": ("x", "y", "x")}, "classes: class 'x' is listed twice, got ['x', 'y', 'x']"),
    ],
)
def test_predictions_that_do_not_fit_together(tmp_path: Path, changes: dict[str, object], problem: str) -> None:
    path = tmp_path / "p.safetensors"
    replace(some(), **changes).write(path)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError) as failure:
        Predictions.read(path)
    assert str(failure.value) == f"{path}: {problem}"


@pytest.mark.parametrize("row", [[1.5, -0.5, 0.0], [1e30, 0.0, 0.0], [0.2, 0.2, 0.2]])
def test_numbers_that_are_no_probabilities(tmp_path: Path, row: list[float]) -> None:
    path, made = tmp_path / "p.safetensors", some()
    made.probabilities[1] = row
    made.write(path)
    with pytest.raises(CheckpointError) as failure:
        Predictions.read(path)
    assert str(failure.value) == (
        f"{path}: the predictions hold probabilities that are negative or do not add up to 1; remove the file and "
        "score the run again with `resnet-lab eval`"
    )
