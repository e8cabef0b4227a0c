"""A run folder: what one training leaves behind.

run.json            network, configuration, data, versions, device, command, status, best epoch, test scores
metrics.csv         one row per epoch
times.csv           seconds and images per second of each epoch
splits.csv          path, label, split
best.safetensors    weights of the best epoch by validation macro-averaged accuracy
last.safetensors    weights of the last epoch, when training has finished
state.safetensors   all that is needed to resume, until training has finished
curves.png          losses and macro-averaged accuracies
tracking.json       what trackers were told, and the ids of their runs
predictions/        what `eval` found, a file for each part; test-epochN is of the weights after epoch N
"""

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from hashlib import sha256
from os.path import isdir, isfile
from pathlib import Path
from re import compile as pattern
from typing import Any

from resnet_lab.core.errors import RunError
from resnet_lab.core.files import permit_as_usual, refuse_existing, refuse_ways_out, write_atomically
from resnet_lab.core.locks import claimed
from resnet_lab.core.records import SMALL, read_json, repr_of, shortened, validated
from resnet_lab.core.run_record import EpochFigures, Imported, Trained
from resnet_lab.core.tables import RESTORE, rows_of
from resnet_lab.core.wording import shell_word

FORMAT = 1
LONGEST = 200
"""Bytes of a source's name in a file's name, which may have 255 with what stands around it."""

_DECIMAL = pattern(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]{1,3})?")
"""Numbers as the tables of epochs have them."""

REMEDY = "the run's weights can still be used by their path"


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
        self.tracking = folder / "tracking.json"

    def predictions(self, part: str, source: str = "", *, whole: bool = True, views: Sequence[str] = ()) -> Path:
        """File of the predictions of a part, or of all of another source.

        Args:
            whole: whether no image of the part is gone.
            views: names of test-time augmentations.
        """
        if source:
            name = "".join(letter if letter.isalnum() else "-" for letter in Path(source).name)
            name = name.encode()[:LONGEST].decode(errors="ignore")
            part = f"{part}-{name}-{sha256(source.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
        if not whole:
            part += "-incomplete"
        if views:
            part += f"-tta-{'-'.join(views)}"
        return self.folder / "predictions" / f"{part}.safetensors"

    def predictions_of_epoch(self, epoch: int) -> Path:
        """File of the predictions on the test part by the weights after an epoch."""
        return self.predictions(f"test-epoch{epoch}")

    def require_weights(self) -> None:
        """Raise `RunError` where there are none yet."""
        if not self.best.exists():
            status = self.read().get("status") if self.record.exists() else None
            if status not in (None, "running", "finished"):
                raise RunError(f"{self.folder}: the run has no weights (no {self.best.name}), since it ended: {status}")
            raise RunError(
                f"{self.folder}: the run has no weights yet (no {self.best.name}): its first epoch has not ended, or "
                f"they were removed; let it train, or resume with `resnet-lab train --resume {shell_word(self.folder)}`"
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
            RunError: it is damaged, has an image twice, a class that run.json does not name, or other numbers of images
                than that.
        """
        data = self.read()["data"] if self.record.exists() else {}
        classes = set(data["classes"]) if data else None
        seen: set[str] = set()
        counts: Counter[str] = Counter()
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
            counts[row["split"]] += 1
            yield row
        for part, number in data.get("images", {}).items():
            if counts[part] != number:
                raise RunError(
                    f"{self.splits}: damaged: it has {counts[part]} images in the {part} part, and {self.record} has "
                    f"{number}; restore the file"
                )

    def epochs(self, *needed: str) -> list[dict[str, float]]:
        """The rows of metrics.csv; raises `RunError` where that is damaged or misses a needed column."""
        return _rows(self.metrics, *needed)

    def seconds(self) -> list[float]:
        """Seconds per epoch, from times.csv; raises `RunError` where that is damaged."""
        return [row["seconds"] for row in self.times_of_epochs()]

    def times_of_epochs(self) -> list[dict[str, float]]:
        """The rows of times.csv; raises `RunError` where that is damaged."""
        return _rows(self.times, "seconds")

    def create(self, content: Mapping[str, Any], splits: bytes | Iterable[bytes]) -> None:
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

    def settle_predictions(self, epochs: Collection[int]) -> None:
        """Remove predictions of single epochs that are not among these."""
        kept = {self.predictions_of_epoch(epoch) for epoch in epochs}
        for path in self.folder.glob("predictions/test-epoch*.safetensors"):
            if path not in kept:
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
        if figures["epoch"] != len(rows):
            raise RunError(f"{where}: damaged: epoch should be {len(rows)}, got {figures['epoch']:g}; {RESTORE}")
    return rows


def _number(text: str, column: str, where: str) -> float:
    if _DECIMAL.fullmatch(text) or (column == "val_loss" and text in ("inf", "nan")):
        return float(text)
    raise RunError(f"{where}: {shortened(column)}: damaged: not a decimal number, got {repr_of(text)}; {RESTORE}")


def default_folder(parent: str, name: str) -> Path:
    """A folder in `parent` of the present time and a name, which does not exist."""
    stem = f"{parent}/{datetime.now():%Y%m%d-%H%M%S}-{name}"
    folder, number = Path(stem), 2
    while folder.exists():  # two that were started in the same second
        folder, number = Path(f"{stem}-{number}"), number + 1
    return folder


def classes_of(folders: Iterable[Path]) -> set[str]:
    """Names of the classes of all of these runs; raises `RunError` where one is no run folder, or damaged."""
    return {name for folder in folders for name in Run.open(folder).read()["data"]["classes"]}


def weights_of(path: Path) -> Path:
    """The weights file that a run folder or a weights file stands for.

    Raises:
        RunError: a folder that is no run folder, or holds no weights yet.
    """
    if not isdir(path):
        return path
    run = Run.open(path)
    run.require_weights()
    return run.best
