"""What a training can be told, and its TOML file."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from resnet_lab.data.batches import Augmentation
from resnet_lab.device import Precision
from resnet_lab.errors import ConfigError, nearest
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
        augment: applied to training batches, in this order.
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
    augment: tuple[Augmentation, ...] = ()
    zero_init_residual: bool = False
    seed: Annotated[int, Field(ge=0, strict=True)] = 0
    device: str = "auto"
    precision: Precision = "auto"


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
    """A checked configuration.

    Raises:
        ConfigError: an unknown key or a value out of range.
    """
    for name in values:
        if name not in TrainConfig.model_fields:
            raise ConfigError(f"{where}: unknown option {name!r}; {nearest(name, TrainConfig.model_fields)}")
    return validated(TrainConfig, values, where, ConfigError)
