"""A run folder: what one training leaves behind.

run.json            network, configuration, data, versions, device, command, status, best epoch, test scores
metrics.csv         a row an epoch
splits.csv          path, label, split
best.safetensors    weights of the best epoch by validation macro-averaged accuracy
last.safetensors    weights of the last epoch
curves.png          losses and macro-averaged accuracies
"""

import json
from pathlib import Path
from typing import Any

from resnet_lab.errors import RunError
from resnet_lab.files import refuse_existing, write_atomically

FORMAT = 1


class Run:
    """The files of a run folder, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record = folder / "run.json"
        self.metrics = folder / "metrics.csv"
        self.splits = folder / "splits.csv"
        self.best = folder / "best.safetensors"
        self.last = folder / "last.safetensors"
        self.curves = folder / "curves.png"

    @classmethod
    def create(cls, folder: Path) -> "Run":
        """Make the folder.

        Raises:
            RunError: it exists already, or cannot be made.
        """
        refuse_existing(folder)
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise RunError(f"{folder}: the run folder cannot be made: {error.strerror}") from None
        return cls(folder)

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """A folder that a training made.

        Raises:
            RunError: it is not one.
        """
        run = cls(folder)
        if not run.record.is_file():
            raise RunError(f"{folder} is not a run folder: it holds no run.json; name one that `resnet-lab train` made")
        return run

    def write(self, content: dict[str, Any]) -> None:
        """Replace run.json."""
        text = json.dumps({"format": FORMAT, **content}, indent=2)
        write_atomically(self.record, text.encode())

    def read(self) -> dict[str, Any]:
        """What run.json says.

        Raises:
            RunError: it is damaged, or of a newer format.
        """
        try:
            content = json.loads(self.record.read_text(encoding="utf-8"))
            version = int(content["format"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{self.record}: damaged ({error}); the run's weights can still be used by their path"
            ) from None
        if version > FORMAT:
            raise RunError(
                f"{self.record}: run format {version} is newer than this resnet-lab reads ({FORMAT}); "
                "upgrade resnet-lab"
            )
        return dict(content)
