from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from resnet_lab.cli import main


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Outcome]:
    """Runs the command line in an empty folder; gives exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESNET_LAB_PLUGIN_FILES", "")  # which `--plugin` sets; undone after the test

    def run(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        return Outcome(int(end.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def paintings(tmp_path: Path) -> Path:
    """Twelve images each of two classes that a network tells apart by colour."""
    generator = np.random.default_rng(0)
    for name, colour in (("blue", (40, 60, 220)), ("red", (220, 60, 40))):
        (tmp_path / "paintings" / name).mkdir(parents=True)
        for number in range(12):
            pixels = np.clip(generator.normal(colour, 25, (20, 20, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "paintings" / name / f"{number}.png")
    return tmp_path / "paintings"


QUICK = ("--model", "resnet20", "--size", 8, "--epochs", 2, "--batch-size", 8, "--precision", "fp32")
