import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from resnet_lab.cli import main
from resnet_lab.data.sources.permission import PERMISSIONS


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Outcome]:
    """Runs the command line in an empty folder; gives exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    for variable in ("RESNET_LAB_PLUGIN_FILES", *PERMISSIONS):
        monkeypatch.setenv(variable, "")  # which options set; undone after the test

    def run(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        return Outcome(int(end.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def paintings(tmp_path: Path) -> Path:
    """Twelve images each of two classes that a network tells apart by colour."""
    return _draw(tmp_path / "paintings")


def _draw(folder: Path) -> Path:
    generator = np.random.default_rng(0)
    for name, colour in (("blue", (40, 60, 220)), ("red", (220, 60, 40))):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            pixels = np.clip(generator.normal(colour, 25, (20, 20, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def trained(made_once: Callable[..., Path], cli: Callable[..., Outcome], paintings: Path) -> Path:
    """A finished run on the paintings, in the folder `run`; trained once and copied."""
    return _copied_run(made_once, cli, paintings, "run", ())


@pytest.fixture
def barely_trained(made_once: Callable[..., Path], cli: Callable[..., Outcome], paintings: Path) -> Path:
    """The same, of a network that is wrong about some of its training images."""
    return _copied_run(made_once, cli, paintings, "barely-trained-run", ("--epochs", 1, "--lr", 1e-5))


def _copied_run(
    made_once: Callable[..., Path], cli: Callable[..., Outcome], paintings: Path, name: str, options: tuple[object, ...]
) -> Path:
    def train(folder: Path) -> None:
        source = _draw(folder / "paintings")
        done = cli("train", "--data", source, *QUICK, "--compile", "off", *options, "--out", folder / "run")
        assert done.code == 0, done.err

    made = made_once(f"cli-{name}", train)
    run = shutil.copytree(made / "run", paintings.parent / "run")
    record = (run / "run.json").read_text()
    assert str(made / "paintings") in record
    (run / "run.json").write_text(record.replace(str(made / "paintings"), str(paintings)))
    return run


QUICK = ("--model", "resnet20", "--size", 8, "--epochs", 2, "--batch-size", 8, "--precision", "fp32")
