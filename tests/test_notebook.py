"""The notebook as Colab and Kaggle run it, in kernels of its own."""

import csv
import os
import time
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from PIL import Image

import resnet_lab

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "resnet_lab.ipynb"
IMAGES = ROOT.parent / "shared" / "data"


def book(parameters: str = "", kaggle: Path | None = None) -> Any:
    """The notebook with other parameters, and another folder in place of Kaggle's."""
    made = nbformat.read(NOTEBOOK, 4)
    for cell in made.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            cell.source += f"\n{parameters}"
        if kaggle is not None:
            cell.source = cell.source.replace('Path("/kaggle")', f"Path({str(kaggle)!r})")
    return made


def client(made: Any, folder: Path) -> NotebookClient:
    return NotebookClient(made, timeout=1800, kernel_name="python3", resources={"metadata": {"path": str(folder)}})


def outputs(made: Any) -> dict[str, Any]:
    """HTML or text of each cell's last output."""
    last = {cell.id: cell.outputs[-1] for cell in made.cells if cell.get("outputs")}
    return {name: each.data.get("text/html") or each.data["text/plain"] for name, each in last.items()}


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def test_it_is_valid_and_without_outputs() -> None:
    made = nbformat.read(NOTEBOOK, 4)
    nbformat.validate(made)
    code = [cell for cell in made.cells if cell.cell_type == "code"]
    assert [cell.id for cell in code if cell.outputs or cell.execution_count] == []
    assert made.metadata.kernelspec.name == "python3"
    assert [cell.id for cell in code if "%pip" in cell.source] == ["install"]


def chosen(parameters: str, kaggle: Path) -> dict[str, Any]:
    """What the cells before the first training come to."""
    cells = {cell.id: cell.source for cell in book(parameters, kaggle).cells}
    found: dict[str, Any] = {"get_ipython": lambda: None}
    for name in ("parameters", "folder", "images"):
        exec(cells[name], found)
    return found


@pytest.mark.parametrize("mount", ["best-artworks-of-all-time", "datasets/owner/best-artworks-of-all-time"])
def test_what_is_trained_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mount: str) -> None:
    monkeypatch.chdir(tmp_path)
    kaggle = tmp_path / "kaggle"
    elsewhere = chosen("EPOCHS = 2", kaggle)
    assert (elsewhere["data"], elsewhere["folder"], elsewhere["settings"]["epochs"]) == (
        "digits",
        Path("resnet-lab"),
        2,
    )
    (kaggle / "working").mkdir(parents=True)
    assert chosen("", kaggle)["data"] == "digits"
    place = kaggle / "input" / mount
    place.mkdir(parents=True)
    (place / "artists.csv").touch()
    there = chosen("", kaggle)
    assert (there["data"], there["folder"]) == (place, kaggle / "working")
    assert there["settings"] == {"recipe": "paintings-quick"}
    own = chosen(f"IMAGES = 'pictures'\nFOLDER = {str(tmp_path / 'own')!r}", kaggle)
    assert (own["data"], own["folder"]) == ("pictures", tmp_path / "own")
    assert own["settings"]["size"] == 32


@pytest.mark.long
def test_digits_from_top_to_bottom(tmp_path: Path) -> None:
    made = book("EPOCHS = 1\nSEEDS = 2")
    client(made, tmp_path).execute()
    assert [each for cell in made.cells for each in cell.get("outputs", ()) if each.get("name") == "stderr"] == []
    run = resnet_lab.Run(tmp_path / "resnet-lab" / "runs" / "plain")
    study = resnet_lab.Study(tmp_path / "resnet-lab" / "studies" / "act")
    shown = outputs(made)
    assert f"{run.metrics['accuracy']:.3f}" in shown["train"]
    assert f"{run.metrics['accuracy']:.3f}" in shown["evaluate"]
    assert study.verdicts[0]["verdict"] in shown["study"]
    for page in (run.folder, study.folder):
        assert (page / "report.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.long
def test_a_kernel_that_dies_loses_nothing(tmp_path: Path) -> None:
    """Killed after its first epoch, and run again: the same weights as of a run that nothing stopped."""
    settings = "EPOCHS = 4\nSEEDS = 2"
    folder = tmp_path / "resnet-lab" / "runs" / "plain"
    first = book(settings)
    first.cells = first.cells[: 1 + [cell.id for cell in first.cells].index("train")]
    running = client(first, tmp_path)

    def kill_after_an_epoch() -> None:
        while not (folder / "metrics.csv").is_file():
            time.sleep(0.05)
        assert running.km is not None
        os.kill(running.km.provisioner.pid, 9)  # type: ignore[union-attr]

    Thread(target=kill_after_an_epoch, daemon=True).start()
    with pytest.raises(DeadKernelError):
        running.execute()
    assert resnet_lab.Run(folder).status == "running"
    assert 1 <= len(resnet_lab.Run(folder).history) < 4

    again = book(settings)
    again.cells = first.cells
    client(again, tmp_path).execute()
    assert "resuming at epoch" in again.cells[-1].outputs[0].data["text/plain"]
    whole = resnet_lab.train("digits", model="resnet20", size=16, epochs=4, out=tmp_path / "whole", quiet=True)
    assert digest(whole.weights) == digest(folder / "best.safetensors")
    assert (whole.folder / "metrics.csv").read_text() == (folder / "metrics.csv").read_text()


@pytest.mark.long
@pytest.mark.skipif(not (IMAGES / "louvre-genres").is_dir(), reason="there are no paintings beside this copy")
def test_the_paintings_where_kaggle_mounts_them(tmp_path: Path) -> None:
    """A stand-in of 48 paintings, its genres in place of artists."""
    kaggle = tmp_path / "kaggle"
    (kaggle / "working").mkdir(parents=True)
    place = kaggle / "input" / "best-artworks-of-all-time"
    genres = sorted(path.name for path in (IMAGES / "louvre-genres").iterdir() if path.is_dir())
    for genre in genres:
        (place / "images" / "images" / genre).mkdir(parents=True)
        for path in sorted((IMAGES / "louvre-genres" / genre).glob("*.jpg"))[:12]:
            (place / "images" / "images" / genre / path.name).symlink_to(path)
    with (place / "artists.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("name", "paintings"), *((genre, 12) for genre in genres)])
    made = book("EPOCHS = 3\nSEEDS = 2", kaggle)
    client(made, tmp_path).execute()
    run = resnet_lab.Run(kaggle / "working" / "runs" / "plain")
    assert run.record["data"]["classes"] == genres
    assert sum(run.record["data"]["images"].values()) == 48
    assert run.record["spec"]["name"] == "resnet18"
    assert "gelu" in outputs(made)["study"]


@pytest.mark.long
@pytest.mark.skipif(not (IMAGES / "cifar10-test").is_dir(), reason="there are no CIFAR-10 images beside this copy")
def test_the_cifar_subset(tmp_path: Path) -> None:
    """With the images in place; how they are chosen from the download is tested below."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "cifar10-2000").symlink_to(IMAGES / "cifar10-test")
    made = book('IMAGES = "cifar"\nFOLDER = "out"\nEPOCHS = 1')
    made.cells = [cell for cell in made.cells if not cell.id.startswith(("study", "verdicts"))]
    client(made, tmp_path).execute()
    run = resnet_lab.Run(tmp_path / "out" / "runs" / "plain")
    assert sum(run.record["data"]["images"].values()) == 2000
    assert len(run.record["data"]["classes"]) == 10


class Cifar:
    """A hundred images in place of CIFAR-10's, of classes in turn, whose grey level is their number."""

    classes = tuple("abcdefghij")

    def __init__(self, folder: Path, *, train: bool, download: bool) -> None:
        assert (train, download) == (False, True)

    def __getitem__(self, number: int) -> tuple[Image.Image, int]:
        if number == 100:
            raise IndexError
        return Image.new("L", (4, 4), number), number % 10


def test_the_cifar_subset_has_the_first_images_of_each_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.CIFAR10", Cifar)
    (source,) = [cell.source for cell in nbformat.read(NOTEBOOK, 4).cells if cell.id == "images"]
    defined: dict[str, Any] = {}
    exec(source.partition("mounts =")[0], defined)
    for _ in range(2):  # the second time it is there
        folder = defined["cifar_subset"](tmp_path / "subset", per_class=3)
        found = {str(path.relative_to(folder)): Image.open(path).getpixel((0, 0)) for path in folder.rglob("*.png")}
        assert found == {f"{name}/{k:03d}.png": 10 * k + at for at, name in enumerate(Cifar.classes) for k in range(3)}
    assert [path.name for path in tmp_path.iterdir()] == ["subset"]
