"""Records of a run folder: what its run.json and a row of its tables of epochs hold."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from resnet_lab.core.choices import (
    Balance,
    CacheUse,
    Compile,
    InitGain,
    LossName,
    Optimizer,
    Precision,
    Schedule,
    Switch,
)
from resnet_lab.core.records import (
    Count,
    Entries,
    Finite,
    Items,
    NotNegative,
    Number,
    OpenRecord,
    Positive,
    Proportion,
    RecordedFile,
    Seconds,
    Seed,
    Share,
    distinct,
)


def _not_negative(value: float) -> float:
    """A number that is not below 0, or NaN; raises for pydantic."""
    if value < 0:
        raise PydanticCustomError("negative", "Input should be greater than or equal to 0")
    return value


class Device(OpenRecord):
    """Device as recorded by `Placement.record`."""

    name: str
    type: str
    dtype: str
    precision: str | None = None
    threads: Count | None = None
    kernels: list[Annotated[str, Field(max_length=1_000)]] | None = None


class Source(OpenRecord):
    """Origin of weights."""

    source: str


class Configuration(OpenRecord):
    """A training's configuration, as `train.config` has it; earlier versions had fewer settings."""

    epochs: Count
    batch_size: Count | Literal["auto"] | None = None
    accumulate: Count | None = None
    optimizer: Optimizer | None = None
    lr: Positive | None = None
    weight_decay: NotNegative | None = None
    decay_norms: bool | None = None
    momentum: Share | None = None
    schedule: Schedule | None = None
    decay: Annotated[float, Field(gt=0, le=1)] | None = None
    decay_epochs: Count | None = None
    warmup_epochs: NotNegative | None = None
    clip_norm: Positive | None = None
    loss: LossName | None = None
    label_smoothing: Share | None = None
    ema: Share | None = None
    average_last: Number | None = None
    patience: Count | None = None
    augment: Items[str] = Field(default_factory=list)
    repeats: Count | None = None
    progressive_size: Items[Annotated[float, Field(gt=0, le=1)]] = Field(default_factory=list)
    balance: Balance | None = None
    weights: str | None = None
    depthwise_from_dense: bool | None = None
    freeze: Items[str] = Field(default_factory=list)
    cache_frozen: Switch | None = None
    init_gain: InitGain | None = None
    sync_batch_norm: bool | None = None
    zero_init_residual: bool | None = None
    seed: Seed | None = None
    init_seed: Seed | None = None
    split_seed: Seed | None = None
    order_seed: Seed | None = None
    device: str | None = None
    threads: Count | None = None
    precision: Precision | None = None
    compile: Compile | bool | None = None
    channels_last: bool | None = None
    checkpoint_activations: bool | None = None
    deterministic: bool | None = None
    save_minutes: Positive | None = None
    keep_predictions: Number | None = None


class RecordedScores(OpenRecord):
    """Scores on the test part, as `Scores.headline` gives them."""

    accuracy: Proportion
    macro_accuracy: Proportion
    macro_precision: Proportion
    macro_recall: Proportion
    macro_f1: Proportion
    n: Number


class Classified(OpenRecord):
    """Images of a network."""

    source: str
    cache: CacheUse
    classes: Annotated[Items[str], AfterValidator(distinct)]
    mean: Items[Finite]
    std: Items[Positive]


class Bad(OpenRecord):
    """A file that was left out."""

    path: str
    cause: str


class Counts(OpenRecord):
    """Images of each part."""

    train: Number
    val: Number
    test: Number


class Images(Classified):
    """Images of a training."""

    fingerprint: str
    images: Counts
    bad: Items[Bad]
    copies: Number


class Imported(OpenRecord):
    """run.json of weights that no training here made; unknown keys are those of later versions."""

    format: int
    created: str
    command: list[str]
    status: str | None = None
    spec: dict[str, Any]
    spec_hash: str
    weights: Source | None = None
    plugins: Entries[str]
    plugin_sources: Entries[str] | None = None
    plugin_files: list[RecordedFile] | None = None
    versions: Entries[str]
    data: Classified


class Trained(Imported):
    """run.json of a training."""

    data: Images
    config: Configuration
    device: Device
    best_epoch: Count | None = None
    seconds: Seconds | None = None
    test: RecordedScores | None = None

    @model_validator(mode="after")
    def _of_one_test_part(self) -> Self:
        """Raise for pydantic where the test scores are of more or fewer images than the test part has."""
        if self.test is not None and self.test.n != self.data.images.test:
            raise PydanticCustomError(
                "contradiction",
                "Test.n is {scored}, and data.images.test {images}",
                {"scored": self.test.n, "images": self.data.images.test},
            )
        return self


class EpochFigures(OpenRecord):
    """A row of metrics.csv or times.csv; the validation loss may be non-finite in runs of earlier versions."""

    epoch: Annotated[float, Field(ge=1, multiple_of=1)]
    learning_rate: NotNegative = 0.0
    train_loss: NotNegative = 0.0
    train_macro_accuracy: Proportion = 0.0
    val_loss: Annotated[float, AfterValidator(_not_negative)] = 0.0
    val_accuracy: Proportion = 0.0
    val_macro_accuracy: Proportion = 0.0
    seconds: Seconds = 0.0
    images_per_second: NotNegative = 0.0
