import pytest

from resnet_lab.core.errors import ConfigError
from resnet_lab.core.run_record import Configuration
from resnet_lab.train.config import TrainConfig, data_config, train_config


def test_a_run_s_record_has_each_setting() -> None:
    assert set(Configuration.model_fields) == set(TrainConfig.model_fields)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 3}, "unknown option 'epoch'; did you mean 'epochs' or 'decay_epochs' or 'warmup_epochs'?"),
        ({"epochs": 0}, "epochs: input should be greater than or equal to 1, got 0"),
        ({"epochs": 1.5}, "epochs: input should be a valid integer, got 1.5"),
        ({"batch_size": -1}, "batch_size: input should be greater than or equal to 1, got -1"),
        ({"lr": 0}, "lr: input should be greater than 0, got 0"),
        ({"lr": float("inf")}, "lr: input should be a finite number, got inf"),
        ({"weight_decay": -1e-4}, "weight_decay: input should be greater than or equal to 0, got -0.0001"),
        ({"momentum": 1.0}, "momentum: input should be less than 1, got 1.0"),
        ({"decay": 1.1}, "decay: input should be less than or equal to 1, got 1.1"),
        ({"optimizer": "lion"}, "optimizer: input should be 'adam', 'adamw', 'lamb' or 'sgd', got 'lion'"),
        (
            {"schedule": "linear"},
            "schedule: input should be 'exponential', 'step', 'cosine', 'one_cycle' or 'constant', got 'linear'",
        ),
        ({"label_smoothing": 1.0}, "label_smoothing: input should be less than 1, got 1.0"),
        ({"ema": -0.1}, "ema: input should be greater than or equal to 0, got -0.1"),
        ({"epochs": 3, "average_last": 4}, "average_last is 4 of 3 epochs; give at most as many"),
        (
            {"average_last": 2, "ema": 0.9},
            "average_last and ema exclude each other: each is what is evaluated and saved; leave one of them out",
        ),
        (
            {"average_last": 2, "patience": 3},
            "average_last and patience exclude each other: which epochs are the last has to be known before; leave one "
            "of them out",
        ),
        (
            {"average_last": 2, "freeze": ["layer1"]},
            "average_last and freeze exclude each other: frozen stages keep their batch norm statistics; leave one of "
            "them out",
        ),
        ({"accumulate": 0}, "accumulate: input should be greater than or equal to 1, got 0"),
        ({"clip_norm": 0}, "clip_norm: input should be greater than 0, got 0"),
        ({"patience": 0}, "patience: input should be greater than or equal to 1, got 0"),
        ({"cache_frozen": "yes"}, "cache_frozen: input should be 'auto', 'on' or 'off', got 'yes'"),
        ({"compile": "yes"}, "compile: input should be 'auto', 'off', 'on' or 'max', got 'yes'"),
        ({"augment": ["crop", 3]}, "augment.1: input should be a valid string, got 3"),
        ({"augment": ["crap"]}, "augment: unknown augmentation 'crap'; did you mean 'crop'?"),
        ({"seed": -1}, "seed: input should be greater than or equal to 0, got -1"),
        ({"seed": True}, "seed: input should be a valid integer, got True"),
        ({"lr": float("nan")}, "lr: input should be a finite number, got nan"),
        ({"weight_decay": float("inf")}, "weight_decay: input should be a finite number, got inf"),
        ({"momentum": -0.1}, "momentum: input should be greater than or equal to 0, got -0.1"),
        ({"decay": 0}, "decay: input should be greater than 0, got 0"),
        ({"augment": "flip"}, "augment: input should be a list, got 'flip'"),
        ({"device": 0}, "device: input should be a valid string, got 0"),
        ({"precision": "fp64"}, "precision: input should be 'auto', 'fp32', 'tf32', 'bf16' or 'fp16', got 'fp64'"),
    ],
)
def test_options_out_of_range(values: dict, message: str) -> None:
    with pytest.raises(ConfigError) as failure:
        train_config(values, "here")
    assert str(failure.value) == f"here: {message}"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"path": "x"},
            "unknown option 'path'; known: cache, download, fit, fold, folds, near_copies, source, split_file, strict",
        ),
        ({"fit": "stretch"}, "fit: input should be 'squash', 'crop' or 'pad', got 'stretch'"),
        ({"folds": 2}, "folds: input should be greater than or equal to 3, got 2"),
        ({"fold": 1}, "fold is 1, but not of how many; give folds too"),
        (
            {"folds": 3, "split_file": "a.csv"},
            "folds and split_file each define the split; give one of them",
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


def test_a_boolean_is_not_a_number() -> None:
    with pytest.raises(ConfigError):
        train_config({"lr": True}, "here")
