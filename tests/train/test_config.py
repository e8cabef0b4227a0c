from pathlib import Path

import pytest

from resnet_lab.errors import ConfigError
from resnet_lab.train.config import TrainConfig, data_config, read_config, train_config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 3}, "unknown option 'epoch'; did you mean 'epochs'?"),
        ({"epochs": 0}, "epochs: input should be greater than or equal to 1, got 0"),
        ({"epochs": 1.5}, "epochs: input should be a valid integer, got 1.5"),
        ({"batch_size": -1}, "batch_size: input should be greater than or equal to 1, got -1"),
        ({"lr": 0}, "lr: input should be greater than 0, got 0"),
        ({"lr": float("inf")}, "lr: input should be a finite number, got inf"),
        ({"weight_decay": -1e-4}, "weight_decay: input should be greater than or equal to 0, got -0.0001"),
        ({"momentum": 1.0}, "momentum: input should be less than 1, got 1.0"),
        ({"decay": 1.1}, "decay: input should be less than or equal to 1, got 1.1"),
        ({"optimizer": "lion"}, "optimizer: input should be 'adam', 'adamw' or 'sgd', got 'lion'"),
        ({"schedule": "step"}, "schedule: input should be 'exponential', 'cosine' or 'constant', got 'step'"),
        ({"augment": ["crop", 3]}, "augment.1: input should be a valid string, got 3"),
        ({"augment": ["crap"]}, "augment: unknown augmentation 'crap'; did you mean 'crop'?"),
        ({"seed": -1}, "seed: input should be greater than or equal to 0, got -1"),
        ({"seed": True}, "seed: input should be a valid integer, got True"),
        ({"lr": float("nan")}, "lr: input should be a finite number, got nan"),
        ({"weight_decay": float("inf")}, "weight_decay: input should be a finite number, got inf"),
        ({"momentum": -0.1}, "momentum: input should be greater than or equal to 0, got -0.1"),
        ({"decay": 0}, "decay: input should be greater than 0, got 0"),
        ({"augment": "flip"}, "augment: input should be a valid tuple, got 'flip'"),
        ({"device": 0}, "device: input should be a valid string, got 0"),
        ({"precision": "fp64"}, "precision: input should be 'auto', 'fp32' or 'bf16', got 'fp64'"),
    ],
)
def test_options_out_of_range(values: dict, message: str) -> None:
    with pytest.raises(ConfigError) as failure:
        train_config(values, "here")
    assert str(failure.value) == f"here: {message}"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"path": "x"}, "unknown option 'path'; known: cache, download, fit, fold, folds, source, split_file, strict"),
        ({"fit": "stretch"}, "fit: input should be 'squash', 'crop' or 'pad', got 'stretch'"),
        ({"folds": 2}, "folds: input should be greater than or equal to 3, got 2"),
        ({"fold": 1}, "fold is 1, but not of how many; give folds too"),
        (
            {"folds": 3, "split_file": "a.csv"},
            "folds and split_file each say which image stands in which part; give one of them",
        ),
    ],
)
def test_data_options_out_of_range(values: dict, message: str) -> None:
    with pytest.raises(ConfigError) as failure:
        data_config(values, "here")
    assert str(failure.value) == f"here: {message}"


def test_defaults_and_values() -> None:
    assert train_config({}, "here") == TrainConfig()
    assert train_config({"augment": ["flip", "rotate90"], "lr": 1}, "here").augment == ("flip", "rotate90")


def test_tables_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[model]\nmodel = "resnet20"\n[train]\nlr = 1e-3\n')
    assert read_config(path) == {"model": {"model": "resnet20"}, "train": {"lr": 1e-3}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[modle]", "unknown table 'modle'; did you mean 'model'?"),
        ("train = 3", "train must be a table, written [train]"),
        ("[train", "not TOML: Expected ']' at the end of a table declaration (at end of document)"),
    ],
)
def test_files_of_another_form(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as failure:
        read_config(path)
    assert str(failure.value) == f"{path}: {message}"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as failure:
        read_config(tmp_path / "c.toml")
    assert str(failure.value) == f"{tmp_path}/c.toml: cannot read the configuration: No such file or directory"


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"c\.toml: not TOML: 'utf-8' codec can't decode byte 0xff"):
        read_config(tmp_path / "c.toml")


def test_a_truth_value_is_no_number() -> None:
    with pytest.raises(ConfigError):
        train_config({"lr": True}, "here")
