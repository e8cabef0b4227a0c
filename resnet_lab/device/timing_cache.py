"""Measurements on this machine, kept in a small JSON file beside the cached images.

The file saves time and nothing depends on it: one that cannot be read or written is ignored.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from resnet_lab.core.cache_location import cache_folder
from resnet_lab.core.errors import RunError
from resnet_lab.core.files import write_atomically
from resnet_lab.core.records import read_json


@dataclass(frozen=True)
class StepTimes:
    """Seconds that compiling a network took when it was done last, and those of its training step eager and compiled.

    Those of a step are None where they were not measured.
    """

    compiling: float
    eager: float | None = None
    compiled: float | None = None


def recall(*facts: str) -> StepTimes | None:
    """Recall what `remember` kept under the same facts."""
    try:
        found = _read()[", ".join(facts)].items()
        return StepTimes(**{name: float(value) for name, value in found if value is not None})
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def remember(measured: StepTimes, *facts: str) -> None:
    """Keep a measurement under all that it depends on."""
    content = {**_read(), ", ".join(facts): asdict(measured)}
    try:
        _path().parent.mkdir(parents=True, exist_ok=True)
        write_atomically(_path(), json.dumps(content, indent=1).encode())
    except (OSError, RunError):
        return


def _path() -> Path:
    return cache_folder() / "compiled.json"


def _read() -> dict[str, dict[str, float]]:
    try:
        content = read_json(_path(), RunError)
    except RunError:
        return {}
    return content if isinstance(content, dict) else {}
