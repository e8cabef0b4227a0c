"""Training configuration."""

import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field

from resnet_lab.core.choices import Balance, Compile, InitGain, LossName, Optimizer, Precision, Schedule, Switch
from resnet_lab.core.comma_list import comma_list
from resnet_lab.core.errors import ConfigError, ResNetLabError, nearest
from resnet_lab.core.option import LEARNING, OUTPUT, SPEED, TRANSFER, option
from resnet_lab.core.records import Count, NotNegative, Number, Record, Seed, Share, repr_of, validated
from resnet_lab.data.config import DataConfig

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
Threads = Annotated[int, Field(ge=1, le=1024, strict=True)]
SizeShare = Annotated[float, Field(gt=0, le=1, strict=True)]

_PART = re.compile(r"stem|layer[1-9][0-9]?|fc")
_STAGES = re.compile(r"([1-9][0-9]?)(?:-([1-9][0-9]?))?")


def parse_freeze(text: str) -> tuple[str, ...]:
    """Read `1-3`, `1,2`, `stem,layer1` or `none`: names for `freeze`, which checks that a network has them.

    The number 1 brings the stem along, as studies count that freeze "stages 1 to 3": what stands before a frozen stage
    would otherwise keep learning. `layer1` is the stage alone.

    Raises:
        ConfigError: the text is of another form.
    """
    if text.strip() == "none":
        return ()
    parts = {part for item in comma_list(text) for part in _parts(item, text)}
    return tuple(sorted(parts, key=lambda part: (part == "fc", len(part), part)))


def _parts(item: str, text: str) -> set[str]:
    """Parts written `3`, `1-3` or `layer1`."""
    if _PART.fullmatch(item):
        return {item}
    if stages := _STAGES.fullmatch(item):
        first, last = int(stages[1]), int(stages[2] or stages[1])
        if first <= last:
            return {f"layer{number}" for number in range(first, last + 1)} | ({"stem"} if first == 1 else set())
    raise ConfigError(
        f"freeze {text!r}: {item!r} is no part of a network; write stages such as 1-3 or 1,2, parts such as "
        "stem,layer1, or none"
    )


def _named_parts(value: Any) -> Any:
    """Names in place of stages such as `1-3`; a list of names alone stays in its order."""
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return value if all(_PART.fullmatch(item) for item in value) else parse_freeze(",".join(value))
    return value


class TrainConfig(Record):
    """Training configuration; each field is an option of the command line.

    Attributes:
        weight_decay: AdamW's is decoupled from the gradient, that of the others is not.
        schedule: `exponential` multiplies the rate by `decay` after each epoch, `step` after every `decay_epochs`;
            `cosine` lets it fall to zero along a half cosine, step by step (arXiv:1608.03983); `one_cycle` lets it rise
            and fall (arXiv:1708.07120), as torch's `OneCycleLR` does but for the momentum; `constant` leaves it.
        loss: `bce` asks of each class by itself whether the image shows it (arXiv:2110.00476). Given that it shows
            exactly one, softmax is the probability of each, as it is after cross-entropy.
        label_smoothing: arXiv:1512.00567, section 7.
        progressive_size: see `core.size_schedule`; `patience` counts the epochs at the whole size alone.
        ema: it is lower in the first steps, so that nothing of the initial weights stays.
        average_last: batch norm's statistics are recomputed, on the batches of the epoch.
        repeats: arXiv:1901.09335, as in timm; so an epoch has the first images of its order alone.
        balance: `sampling` gives each class the same share of an epoch, `loss` weighs the loss by N / (K N_k).
        init_seed, split_seed, order_seed: of one part of chance alone; `seed` where it is not given.
        deterministic: on the CPU and on one GPU.
        threads: None leaves torch as it is; the command line chooses them.
        keep_predictions: of the last epochs, beside those of the best; none is chosen by them.
    """

    epochs: Count = option(15, "Passes over the training part.", LEARNING)
    batch_size: Count | Literal["auto"] = option(
        32,
        "Global batch size; auto takes the largest that fits the memory.",
        LEARNING,
        metavar="N",
    )
    accumulate: Count = option(1, "Micro-batches per optimizer step; more need less memory.", LEARNING)
    optimizer: Optimizer = option("adam", "Optimizer; SGD is with Nesterov momentum, LAMB timm's.", LEARNING)
    lr: Positive = option(
        3e-3, "Learning rate of the first epoch after the warm-up; the highest of one_cycle.", LEARNING
    )
    weight_decay: NotNegative = option(0.0, "Weight decay; decoupled from the gradient in AdamW.", LEARNING)
    decay_norms: bool = option(True, "Whether weight decay applies to norms and biases.", LEARNING)
    momentum: Share = option(0.9, "Momentum of SGD.", LEARNING)
    schedule: Schedule = option("cosine", "How the learning rate changes.", LEARNING)
    decay: Annotated[float, Field(gt=0, le=1, strict=True)] = option(
        0.7, "Factor of the rate, applied after each epoch by exponential, and every decay_epochs by step.", LEARNING
    )
    decay_epochs: Count = option(30, "Epochs between two steps of the step schedule.", LEARNING)
    warmup_epochs: NotNegative = option(0.0, "Epochs of linear warm-up.", LEARNING)
    clip_norm: Positive | None = option(None, "Maximum norm of the gradient.", LEARNING)
    loss: LossName = option("cross_entropy", "Loss; bce is a binary cross-entropy for each class.", LEARNING)
    label_smoothing: Share = option(0.0, "Share of the target that is distributed over all classes.", LEARNING)
    ema: Share = option(
        0.0,
        "Decay per step of a moving average of the weights, which is then evaluated and saved; 0 is off.",
        LEARNING,
    )
    average_last: Number = option(
        0,
        "Average the weights after each of the last N epochs, and evaluate and save these averages there; 0 is off.",
        LEARNING,
        metavar="N",
    )
    patience: Count | None = option(None, "Stop early after so many epochs without a better one.", LEARNING)
    augment: tuple[str, ...] = option(
        (),
        "flip, rotate90, crop, jitter, randaugment, trivialaugment, erase, mixup, cutmix: comma-separated, applied in "
        "this order, with optional parameters: crop(scale=0.5),flip.",
        LEARNING,
        metavar="LIST",
    )
    repeats: Count = option(
        1, "Repeated augmentation: each image so many times in a step, in an epoch as long as before.", LEARNING
    )
    progressive_size: tuple[SizeShare, ...] = option(
        (),
        "Train on smaller images first: shares of the size for equal parts of the epochs, the last 1, such as 0.57,1.",
        SPEED,
        name="--progressive",
        metavar="SHARES",
    )
    balance: Balance = option(
        "none", "For unbalanced classes: equal shares of an epoch, or class weights in the loss.", LEARNING
    )
    weights: str | None = option(
        None,
        "Start from pretrained weights: a name of torchvision's such as IMAGENET1K_V2, a run folder, or a "
        ".safetensors or .pth file; FILE:KEY for a state dict under a key.",
        TRANSFER,
        metavar="NAME|FILE[:KEY]",
    )
    depthwise_from_dense: bool = option(
        False, "Give depthwise convolutions the diagonal of pretrained dense kernels.", TRANSFER
    )
    freeze: Annotated[tuple[str, ...], BeforeValidator(_named_parts)] = option(
        (),
        "Freeze these stages: 1-3 (the stem and stages 1 to 3), or stem,layer1.",
        TRANSFER,
        metavar="STAGES",
    )
    cache_frozen: Switch = option("auto", "Compute the output of frozen stages once and store it.", TRANSFER)
    sync_batch_norm: bool = option(False, "Synchronise batch norm's statistics over all processes.", SPEED)
    zero_init_residual: bool = option(False, "Initialise each residual branch to zero.", LEARNING)
    init_gain: InitGain = option(
        "activation",
        "Scale initial convolution weights by the gain of their activation, or all by that of ReLU (fixed).",
        LEARNING,
    )
    seed: Seed = option(0, "Seed of initial weights, split, order and augmentation.")
    init_seed: Seed | None = option(None, "Seed of initial weights only.", shown="that of --seed")
    split_seed: Seed | None = option(None, "Seed of the split only.", shown="that of --seed")
    order_seed: Seed | None = option(
        None, "Seed of the order of images, augmentation and dropout only.", shown="that of --seed"
    )
    device: str = option("auto", "auto, cpu, cuda, cuda:0, or the experimental mps and xpu.", SPEED, metavar="DEVICE")
    threads: Threads | None = option(
        None,
        "Threads of the processor; others give other last bits.",
        SPEED,
        shown="cores that other programs leave free",
    )
    precision: Precision = option("auto", "Precision of convolutions and matrix products.", SPEED)
    compile: Compile = option(
        "auto", "Whether to compile the network; auto measures once per network and device, max autotunes too.", SPEED
    )
    channels_last: bool | None = option(
        None,
        "Memory layout of images and feature maps.",
        SPEED,
        name="--channels-last/--channels-first",
        shown="by device",
    )
    checkpoint_activations: bool = option(
        False, "Compute each block's activations again in the backward pass: less memory, more time.", SPEED
    )
    deterministic: bool = option(False, "Make training reproducible bit for bit.", SPEED)
    save_minutes: Positive = option(
        10.0, "Minutes between saved states; a state is also saved after each epoch.", OUTPUT
    )
    keep_predictions: Number = option(
        0, "Also score the test part after each of the last N epochs, and keep the predictions.", OUTPUT, metavar="N"
    )

    def seed_of(self, what: Literal["init", "split", "order"]) -> int:
        """Seed of initial weights, of the split, or of order, augmentation and dropout."""
        own: int | None = getattr(self, f"{what}_seed")
        return self.seed if own is None else own


C = TypeVar("C", bound=Record)


def train_config(values: dict[str, Any], where: str) -> TrainConfig:
    """A checked configuration; raises `ConfigError` on an unknown key or a value out of range."""
    config = _config(TrainConfig, values, where)
    require_sizes(config, where)
    require_averaging(config, where)
    if not config.augment:
        return config
    from resnet_lab.data.augmentations import parse_augmentations

    try:
        parse_augmentations(config.augment)
    except ResNetLabError as error:
        raise ConfigError(f"{where}: {error}") from None
    return config


def require_sizes(config: TrainConfig, where: str) -> None:
    """Raise `ConfigError` where `progressive_size` does not suit the training."""
    shares = config.progressive_size
    if shares and shares[-1] != 1:
        raise ConfigError(
            f"{where}: progressive_size ends with {shares[-1]:g}; end with 1, so that the network is trained for the "
            "size that it is used at"
        )
    if len(shares) > config.epochs:
        raise ConfigError(
            f"{where}: progressive_size has {len(shares)} shares for {config.epochs} epochs; give at most one per epoch"
        )


def require_averaging(config: TrainConfig, where: str) -> None:
    """Raise `ConfigError` where `average_last` does not suit the training."""
    if config.average_last > config.epochs:
        raise ConfigError(
            f"{where}: average_last is {config.average_last} of {config.epochs} epochs; give at most as many"
        )
    reasons = {
        "ema": (bool(config.ema), "each is what is evaluated and saved"),
        "patience": (config.patience is not None, "which epochs are the last has to be known before"),
        "freeze": (bool(config.freeze), "frozen stages keep their batch norm statistics"),
    }
    for name, (given, reason) in reasons.items():
        if config.average_last and given:
            raise ConfigError(f"{where}: average_last and {name} exclude each other: {reason}; leave one of them out")


def data_config(values: dict[str, Any], where: str) -> DataConfig:
    """Make a data configuration of the table `[data]` and the options beside it; raises like `train_config`.

    No table sets `download`: only the user can allow it.
    """
    if values.get("download"):
        raise ConfigError(f"{where}: download cannot be set in a file or by --set; give --download on the command line")
    config = _config(DataConfig, values, where)
    if config.folds is None and config.fold:
        raise ConfigError(f"{where}: fold is {config.fold}, but not of how many; give folds too")
    if config.folds is not None and config.split_file is not None:
        raise ConfigError(f"{where}: folds and split_file each define the split; give one of them")
    return config


def _config(kind: type[C], values: dict[str, Any], where: str) -> C:
    for name in values:
        if name not in kind.model_fields:
            raise ConfigError(f"{where}: unknown option {repr_of(name)}; {nearest(name, kind.model_fields)}")
    return validated(kind, values, where, ConfigError)
