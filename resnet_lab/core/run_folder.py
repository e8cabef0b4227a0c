"""A run folder: what one training leaves behind.

run.json            network, configuration, data, versions, device, command, status, best epoch, test scores
metrics.csv         one row per epoch
times.csv           seconds and images per second of each epoch
splits.csv          path, label, split
best.safetensors    weights of the best epoch by validation macro-averaged accuracy
last.safetensors    weights of the last epoch, when training has finished
state.safetensors   all that is needed to resume, until training has finished
curves.png          losses and macro-averaged accuracies
predictions/        what `eval` found, a file for each part
"""

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from os.path import isfile
from pathlib import Path
from re import compile as pattern
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from resnet_lab.core.choices import CacheUse
from resnet_lab.core.errors import RunError
from resnet_lab.core.files import permit_as_usual, refuse_existing, refuse_ways_out, write_atomically
from resnet_lab.core.locks import claimed
from resnet_lab.core.records import (
    SMALL,
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
    Seed,
    Share,
    distinct,
    read_json,
    repr_of,
    shortened,
    validated,
)
from resnet_lab.core.tables import RESTORE, rows_of

FORMAT = 1
LONGEST = 200
"""Bytes of a source's name in a file's name, which may have 255 with what stands around it."""

_DECIMAL = pattern(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]{1,3})?")
"""Numbers as the tables of epochs have them."""

REMEDY = "the run's weights can still be used by their path"


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


class Source(OpenRecord):
    """Origin of weights."""

    source: str


class Configuration(OpenRecord):
    """Numbers of a training's configuration, of which `train.config` knows the rest; earlier versions had fewer."""

    epochs: Count
    batch_size: Count | str | None = None
    accumulate: Count | None = None
    lr: Positive | None = None
    weight_decay: NotNegative | None = None
    momentum: Share | None = None
    decay: Annotated[float, Field(gt=0, le=1)] | None = None
    decay_epochs: Count | None = None
    warmup_epochs: NotNegative | None = None
    clip_norm: Positive | None = None
    label_smoothing: Share | None = None
    ema: Share | None = None
    patience: Count | None = None
    seed: Seed | None = None
    init_seed: Seed | None = None
    split_seed: Seed | None = None
    order_seed: Seed | None = None


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
    seconds: NotNegative | None = None
    test: RecordedScores | None = None


class EpochFigures(OpenRecord):
    """A row of metrics.csv or times.csv; the validation loss may be non-finite in runs of earlier versions."""

    epoch: Annotated[float, Field(ge=1, multiple_of=1)]
    learning_rate: NotNegative = 0.0
    train_loss: NotNegative = 0.0
    train_macro_accuracy: Proportion = 0.0
    val_loss: Annotated[float, AfterValidator(_not_negative)] = 0.0
    val_accuracy: Proportion = 0.0
    val_macro_accuracy: Proportion = 0.0
    seconds: NotNegative = 0.0
    images_per_second: NotNegative = 0.0


class Run:
    """The files of a run folder, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record = folder / "run.json"
        self.metrics = folder / "metrics.csv"
        self.times = folder / "times.csv"
        self.splits = folder / "splits.csv"
        self.best = folder / "best.safetensors"
        self.last = folder / "last.safetensors"
        self.state = folder / "state.safetensors"
        self.curves = folder / "curves.png"

    def predictions(self, part: str, source: str = "", *, whole: bool = True) -> Path:
        """File of the predictions of a part, or of all of another source.

        Args:
            whole: whether no image of the part is gone.
        """
        if source:
            name = "".join(letter if letter.isalnum() else "-" for letter in Path(source).name)
            name = name.encode()[:LONGEST].decode(errors="ignore")
            part = f"{part}-{name}-{sha256(source.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
        if not whole:
            part += "-incomplete"
        return self.folder / "predictions" / f"{part}.safetensors"

    def require_weights(self) -> None:
        """Raise `RunError` where there are none yet."""
        if not self.best.exists():
            status = self.read().get("status") if self.record.exists() else None
            if status not in (None, "running", "finished"):
                raise RunError(f"{self.folder}: the run has no weights (no {self.best.name}), since it ended: {status}")
            raise RunError(
                f"{self.folder}: the run has no weights yet (no {self.best.name}): its first epoch has not ended, or "
                f"they were removed; let it train, or resume with `resnet-lab train --resume {self.folder}`"
            )

    def training_images(self, classes: Sequence[str]) -> tuple[int, ...]:
        """Images of each class in the training part, by splits.csv."""
        counts = self.images_by_part()
        return tuple(counts["train", name] for name in classes)

    def images_by_part(self) -> Counter[tuple[str, str]]:
        """Images of each part and class, by splits.csv; raises `RunError` where that is damaged."""
        return Counter((row["split"], row["label"]) for row in self.split_rows())

    def split_rows(self) -> Iterator[dict[str, str]]:
        """The rows of splits.csv: path, label and split of each image.

        Raises:
            RunError: it is damaged, has an image twice, or a class that run.json does not name.
        """
        classes = set(self.read()["data"]["classes"]) if self.record.exists() else None
        seen: set[str] = set()
        for line, row in rows_of(self.splits, ("path", "split", "label"), RunError):
            if row["path"] in seen:
                raise RunError(
                    f"{self.splits}: line {line}: damaged: {shortened(row['path'])} is listed twice; restore the file"
                )
            if classes is not None and row["label"] not in classes:
                raise RunError(
                    f"{self.splits}: line {line}: damaged: {repr_of(row['label'])} is none of the run's classes; "
                    "restore the file"
                )
            seen.add(row["path"])
            yield row

    def epochs(self) -> list[dict[str, float]]:
        """The rows of metrics.csv; raises `RunError` where that is damaged."""
        return _rows(self.metrics)

    def seconds(self) -> list[float]:
        """Seconds per epoch, from times.csv; raises `RunError` where that is damaged."""
        return [row["seconds"] for row in self.times_of_epochs()]

    def times_of_epochs(self) -> list[dict[str, float]]:
        """The rows of times.csv; raises `RunError` where that is damaged."""
        return _rows(self.times, "seconds")

    def create(self, content: Mapping[str, Any], splits: bytes) -> None:
        """Make the folder with run.json and splits.csv in it: all of that or nothing.

        Raises:
            RunError: it exists already, or cannot be made.
        """
        refuse_existing(self.folder)
        parent = self.folder.parent
        try:
            parent.mkdir(parents=True, exist_ok=True)
            made = Run(Path(tempfile.mkdtemp(dir=parent, prefix=f".{self.folder.name}.")))
        except OSError as error:
            raise RunError(f"{self.folder}: the run folder cannot be made: {error.strerror}") from None
        try:
            made.write(content)
            write_atomically(made.splits, splits)
            permit_as_usual(made.folder, 0o777)
            made.folder.rename(self.folder)
        except BaseException:
            shutil.rmtree(made.folder, ignore_errors=True)
            raise

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """A folder that a training made.

        Raises:
            RunError: it is not one, or something in it leads out of it.
        """
        run = cls(folder)
        refuse_ways_out(folder)
        if not isfile(run.record):
            raise RunError(f"{folder} is not a run folder: it holds no run.json; name one that `resnet-lab train` made")
        return run

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While it is entered, no other process trains in this folder; raises `RunError` where one does."""
        with ExitStack() as stack:
            try:
                is_mine = stack.enter_context(claimed(self.folder / ".lock"))
            except OSError as error:
                raise RunError(f"{self.folder}: cannot be locked: {error.strerror}") from None
            if not is_mine:
                raise RunError(
                    f"{self.folder}: another process is training in this run folder; wait for it, or stop it first"
                )
            yield

    def best_of_epoch(self, epoch: int) -> Path:
        """Path of the best weights until the state that names them the best is complete."""
        return self.folder / f"best.epoch{epoch}.safetensors"

    def settle_best(self, epoch: int) -> None:
        """Make those weights the best, if they are there, and remove those of epochs that no state knows of."""
        for path in self.folder.glob("best.epoch*.safetensors"):
            if path == self.best_of_epoch(epoch):
                path.replace(self.best)
            else:
                path.unlink()

    def write(self, content: Mapping[str, Any]) -> None:
        """Replace run.json."""
        text = json.dumps({"format": FORMAT, **content}, indent=2)
        write_atomically(self.record, text.encode())

    def read(self) -> dict[str, Any]:
        """Read run.json.

        Raises:
            RunError: it is damaged, or of a newer format.
        """
        content = read_json(self.record, RunError, remedy=REMEDY)
        version = content.get("format") if isinstance(content, dict) else None
        if isinstance(version, int) and version > FORMAT:
            raise RunError(
                f"{self.record}: run format {version} is newer than this resnet-lab reads ({FORMAT}); "
                "upgrade resnet-lab"
            )
        imported = isinstance(content, dict) and content.get("status") == "imported"
        validated(Imported if imported else Trained, content, f"{self.record}: damaged", RunError, REMEDY)
        return dict(content)


def _rows(path: Path, *needed: str) -> list[dict[str, float]]:
    rows = []
    for line, row in rows_of(path, ("epoch", *needed), RunError, most=SMALL):
        where = f"{path}: line {line}"
        figures = {name: _number(value, name, where) for name, value in row.items()}
        validated(EpochFigures, figures, f"{where}: damaged", RunError, RESTORE)
        rows.append(figures)
    return rows


def _number(text: str, column: str, where: str) -> float:
    if _DECIMAL.fullmatch(text) or (column == "val_loss" and text in ("inf", "nan")):
        return float(text)
    raise RunError(f"{where}: {shortened(column)}: damaged: not a decimal number, got {repr_of(text)}; {RESTORE}")


def classes_of(folders: Iterable[Path]) -> set[str]:
    """Names of the classes of all of these runs; raises `RunError` where one is no run folder, or damaged."""
    return {name for folder in folders for name in Run.open(folder).read()["data"]["classes"]}
