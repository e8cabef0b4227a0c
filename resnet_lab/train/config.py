"""What a training can be told."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from resnet_lab.core.errors import ConfigError, ResNetLabError, nearest
from resnet_lab.core.records import Record, validated
from resnet_lab.data.augmentations import parse_augmentations
from resnet_lab.data.config import DataConfig
from resnet_lab.data.sampling import Balance
from resnet_lab.device import Compile, Precision

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Share = Annotated[float, Field(ge=0, lt=1, strict=True)]
Seed = Annotated[int, Field(ge=0, le=2**62, strict=True)]
Count = Annotated[int, Field(ge=1, le=10**6, strict=True)]
"""Of epochs, of images in a batch and the like."""


class TrainConfig(Record):
    """How to train.

    Attributes:
        batch_size: images an optimiser step, over all processes; `auto` takes the largest that the memory holds.
        accumulate: pieces that a step's images go through the network in, so that they take less memory at once.
        lr: learning rate of the first epoch after the warm-up; of `one_cycle` the highest.
        weight_decay: AdamW's is decoupled from the gradient, that of the others is not.
        decay_norms: whether weight decay acts on norms and biases too.
        momentum: of SGD, which is Nesterov's where it is positive.
        schedule: `exponential` multiplies the rate by `decay` after each epoch, `step` after every `decay_epochs`;
            `cosine` lets it fall to zero along a half cosine, step by step (arXiv:1608.03983); `one_cycle` lets it rise
            and fall (arXiv:1708.07120), as torch's `OneCycleLR` does but for the momentum; `constant` leaves it.
        warmup_epochs: in which the rate rises linearly to the first of the schedule.
        clip_norm: the largest norm of the gradient; a longer one is scaled down to it.
        label_smoothing: share of the target that is spread over all classes (arXiv:1512.00567, section 7).
        ema: decay a step of an exponential moving average of the weights, which is what is scored and kept; 0 is none.
            It is lower in the first steps, so that nothing of the initial weights stays.
        patience: epochs without a better one after which the training ends.
        augment: applied to training batches, in this order, each written `name` or `name(key=value)`.
        balance: what is done about classes of unequal size: `sampling` gives each the same share of an epoch, `loss`
            weighs the loss by N / (K N_k).
        weights: pretrained weights to start from: a name of torchvision's or a file.
        depthwise_from_dense: give a depthwise convolution the diagonal of pretrained dense kernels.
        freeze: parts that keep the weights they start with: `stem`, `layer1`, ...
        cache_frozen: whether the output of the frozen parts is computed once and stored.
        sync_batch_norm: take batch norm's statistics over all processes.
        zero_init_residual: start each residual branch at zero.
        seed: of initial weights, split, order and augmentation.
        init_seed, split_seed, order_seed: of one of them alone (`order` is that of images, with augmentation and
            dropout); `seed` where it is not given.
        compile: whether the network is compiled; `auto` measures once a network and device.
        channels_last: memory layout; chosen for the device unless given.
        deterministic: the same bits each time, on the CPU and on one GPU.
        save_minutes: between two saved states; one is saved after each epoch too.
    """

    epochs: Count = 15
    batch_size: Count | Literal["auto"] = 32
    accumulate: Count = 1
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: Positive = 3e-3
    weight_decay: NotNegative = 0.0
    decay_norms: bool = True
    momentum: Share = 0.9
    schedule: Literal["exponential", "step", "cosine", "one_cycle", "constant"] = "cosine"
    decay: Annotated[float, Field(gt=0, le=1, strict=True)] = 0.7
    decay_epochs: Count = 30
    warmup_epochs: NotNegative = 0.0
    clip_norm: Positive | None = None
    label_smoothing: Share = 0.0
    ema: Share = 0.0
    patience: Count | None = None
    augment: tuple[str, ...] = ()
    balance: Balance = "none"
    weights: str | None = None
    depthwise_from_dense: bool = False
    freeze: tuple[str, ...] = ()
    cache_frozen: Literal["auto", "on", "off"] = "auto"
    sync_batch_norm: bool = False
    zero_init_residual: bool = False
    seed: Seed = 0
    init_seed: Seed | None = None
    split_seed: Seed | None = None
    order_seed: Seed | None = None
    device: str = "auto"
    precision: Precision = "auto"
    compile: Compile = "auto"
    channels_last: bool | None = None
    deterministic: bool = False
    save_minutes: Positive = 10.0

    def seed_of(self, what: Literal["init", "split", "order"]) -> int:
        """Of initial weights, of the split, or of order, augmentation and dropout."""
        own: int | None = getattr(self, f"{what}_seed")
        return self.seed if own is None else own


C = TypeVar("C", bound=Record)


def train_config(values: dict[str, Any], where: str) -> TrainConfig:
    """A checked configuration; raises `ConfigError` on an unknown key or a value out of range."""
    config = _config(TrainConfig, values, where)
    try:
        parse_augmentations(config.augment)
    except ResNetLabError as error:
        raise ConfigError(f"{where}: {error}") from None
    return config


def data_config(values: dict[str, Any], where: str) -> DataConfig:
    """What the table `[data]` and the options beside it say; raises like `train_config`.

    No table says `download`: that is the user's to allow.
    """
    if values.get("download"):
        raise ConfigError(
            f"{where}: download cannot be said in a file or by --set; give --download on the command line"
        )
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
