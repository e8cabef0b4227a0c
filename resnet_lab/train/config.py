"""What a training can be told, and its TOML file."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from resnet_lab.data.augmentations import parse_augmentations
from resnet_lab.data.config import DataConfig
from resnet_lab.data.sampling import Balance
from resnet_lab.device import Precision
from resnet_lab.errors import ConfigError, ResNetLabError, nearest
from resnet_lab.spec import Count, Record, validated

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]


class TrainConfig(Record):
    """How to train.

    Attributes:
        lr: learning rate of the first epoch.
        schedule: `exponential` multiplies the rate by `decay` after each epoch, `cosine` lets it fall to zero along a
            half cosine, step by step (arXiv:1608.03983), `constant` leaves it.
        momentum: of SGD, which is Nesterov's where it is positive.
        augment: applied to training batches, in this order, each written `name` or `name(key=value)`.
        balance: what is done about classes of unequal size: `sampling` gives each the same share of an epoch, `loss`
            weighs the loss by N / (K N_k).
        zero_init_residual: start each residual branch at zero.
        seed: of initial weights, split, order and augmentation.
    """

    epochs: Count = 15
    batch_size: Count = 32
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: Positive = 3e-3
    weight_decay: NotNegative = 0.0
    momentum: Annotated[float, Field(ge=0, lt=1, strict=True)] = 0.9
    schedule: Literal["exponential", "cosine", "constant"] = "cosine"
    decay: Annotated[float, Field(gt=0, le=1, strict=True)] = 0.7
    augment: tuple[str, ...] = ()
    balance: Balance = "none"
    zero_init_residual: bool = False
    seed: Annotated[int, Field(ge=0, strict=True)] = 0
    device: str = "auto"
    precision: Precision = "auto"


C = TypeVar("C", bound=Record)
TABLES = ("model", "data", "train")


def read_config(path: Path) -> dict[str, dict[str, Any]]:
    """The tables `[model]`, `[data]` and `[train]` of a TOML file, those that are there.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or has another table.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the configuration: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    for name, table in data.items():
        if name not in TABLES:
            raise ConfigError(f"{path}: unknown table {name!r}; {nearest(name, TABLES)}")
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: {name} must be a table, written [{name}]")
    return data


def train_config(values: dict[str, Any], where: str) -> TrainConfig:
    """A checked configuration; raises `ConfigError` on an unknown key or a value out of range."""
    config = _config(TrainConfig, values, where)
    try:
        parse_augmentations(config.augment)
    except ResNetLabError as error:
        raise ConfigError(f"{where}: {error}") from None
    return config


def data_config(values: dict[str, Any], where: str) -> DataConfig:
    """What the table `[data]` and the options beside it say; raises like `train_config`."""
    config = _config(DataConfig, values, where)
    if config.folds is None and config.fold:
        raise ConfigError(f"{where}: fold is {config.fold}, but not of how many; give folds too")
    if config.folds is not None and config.split_file is not None:
        raise ConfigError(f"{where}: folds and split_file each say which image stands in which part; give one of them")
    return config


def _config(kind: type[C], values: dict[str, Any], where: str) -> C:
    for name in values:
        if name not in kind.model_fields:
            raise ConfigError(f"{where}: unknown option {name!r}; {nearest(name, kind.model_fields)}")
    return validated(kind, values, where, ConfigError)
