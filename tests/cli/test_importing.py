"""Pretrained weights as they are: `eval --weights` and `import`."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as vision

from resnet_lab.network import checkpoint, zoo
from resnet_lab.network.builder import build

SHARED = Path(__file__).parents[3] / "shared" / "data"
IMAGES = Path(os.environ.get("RESNET_LAB_CIFAR10", SHARED / "cifar10-test"))
PUBLIC = Path(os.environ.get("RESNET_LAB_CIFAR_RESNETS", SHARED / "cifar-resnets"))
SPEC = zoo.get("resnet20").modified(num_classes=3)
GIVEN = ("--classes", "names.txt", "--preprocess", "mean=0.5,0.4,0.3", "--preprocess", "std=0.2,0.3,0.4")
QUICKLY = ("--precision", "fp32", "--compile", "off")


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    torch.save(build(SPEC, seed=4).state_dict(), tmp_path / "w.pth")
    (tmp_path / "names.txt").write_text("red\ngreen\nblue\n")
    return tmp_path / "w.pth"


def by_hand(paintings: Path) -> float:
    """Accuracy of the network, image by image; blue is its third class and red its first."""
    model, hits = build(SPEC, seed=4).eval(), 0
    for label, name in ((0, "red"), (2, "blue")):
        for path in (paintings / name).iterdir():
            with Image.open(path) as image:
                x = vision.pil_to_tensor(image.resize((32, 32), Image.Resampling.BILINEAR)) / 255
            x = (x - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
            with torch.no_grad():
                hits += int(model(x.unsqueeze(0)).argmax()) == label
    return hits / 24


def test_weights_are_scored_as_they_are(cli: Callable, paintings: Path, foreign: Path) -> None:
    code, out, err = cli("eval", "--weights", foreign, "--data", paintings, *GIVEN, *QUICKLY, "--json")
    assert code == 0, err
    content = json.loads(out)
    assert content["all"]["n"] == 24
    assert content["all"]["accuracy"] == pytest.approx(by_hand(paintings))
    assert content["weights"]["share"] == 1
    assert "cannot be seen in the weights, and may differ: activation (relu)" in err


def test_an_imported_run_scores_the_same(cli: Callable, paintings: Path, foreign: Path) -> None:
    code, out, err = cli("import", foreign, "--out", "run", *GIVEN)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "resnet20 of 3 classes is in run"
    metadata, tensors = checkpoint.read(Path("run/best.safetensors"))
    assert (metadata.spec, metadata.classes) == (SPEC, ("red", "green", "blue"))
    torch.testing.assert_close(tensors, build(SPEC, seed=4).state_dict(), rtol=0, atol=0)
    scores = cli("eval", "--weights", "run", "--data", paintings, *QUICKLY, "--json")
    assert json.loads(scores.out)["all"]["accuracy"] == pytest.approx(by_hand(paintings))
    (paintings / "green").mkdir()
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(paintings / "green" / "0.png")
    assert cli("predict", "run", paintings / "red").code == 0
    assert cli("export", "run", "--to", "card").code == 0


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (("eval", "run"), "run holds imported weights, which have no images of their own; name some with --data"),
        (
            ("report", "run"),
            "run holds imported weights, and a report is of a training; score them with `resnet-lab eval run --data "
            "SOURCE`",
        ),
        (
            ("train", "--resume", "run"),
            "run holds imported weights, which no training here made; start one from them with `resnet-lab train "
            "--weights run`",
        ),
    ],
)
def test_what_an_imported_run_is_not(command: tuple[str, ...], problem: str, cli: Callable, foreign: Path) -> None:
    cli("import", foreign, "--out", "run", *GIVEN)
    assert cli(*command) == (2, "", f"resnet-lab: {problem}\n")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "nothing names what to score; give a run folder, or --weights with --data"),
        (
            ("run", "--weights", "w.pth"),
            "RUN and --weights each name what to score; give a run folder, or --weights with --data",
        ),
        (("--weights", "w.pth"), "--weights alone names no images; give them with --data"),
        (("run", "--classes", "names.txt"), "--classes is of --weights, and a run knows its own; leave it out"),
        (
            ("--weights", "w.pth", "--data", "images", "--class-map", "a=b"),
            "--class-map is of a run, and --weights are scored on all images of --data; give the names of the classes "
            "by --classes",
        ),
        (
            ("--weights", "w.pth", "--data", "images", "--split", "test"),
            "--split is of a run, and --weights are scored on all images of --data; leave it out",
        ),
        (
            ("--weights", "w.pth", "--data", "images", "--again"),
            "--again is of a run, and --weights are scored on all images of --data; leave it out",
        ),
        (
            ("run", "--data", "images", "--split", "val"),
            "--split is of the run's own images, and all of --data are scored; leave one of them out",
        ),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together(arguments: tuple[str, ...], problem: str, cli: Callable) -> None:
    assert cli("eval", *arguments) == (2, "", f"resnet-lab: {problem}\n")


@pytest.mark.parametrize("command", [("eval", "a"), ("compare", "a", "b"), ("report", "a"), ("report", "a", "b")])
def test_a_part_of_other_images(command: tuple[str, ...], cli: Callable) -> None:
    problem = "--split is of the run's own images, and all of --data are scored; leave one of them out"
    assert cli(*command, "--data", "images", "--split", "val") == (2, "", f"resnet-lab: {problem}\n")


@pytest.mark.skipif(
    not (IMAGES.is_dir() and PUBLIC.is_dir()),
    reason="CIFAR-10 images and public ResNets are not here (RESNET_LAB_CIFAR10, RESNET_LAB_CIFAR_RESNETS)",
)
@pytest.mark.parametrize(
    ("depth", "accuracy"),
    [
        *(pytest.param(*figures, marks=pytest.mark.slow) for figures in [(20, 0.8135), (32, 0.8380)]),
        *(pytest.param(*figures, marks=pytest.mark.long) for figures in [(44, 0.8220), (56, 0.8315)]),
    ],
)
def test_public_cifar_resnets(depth: int, accuracy: float, cli: Callable) -> None:
    """The first two as their authors' code has it on these 2,000 images, the others as measured."""
    [weights] = PUBLIC.glob(f"resnet{depth}-*.th")
    code, out, err = cli("eval", "--weights", weights, "--data", IMAGES, *QUICKLY, "--json")
    assert code == 0, err
    content = json.loads(out)
    assert content["all"]["n"] == 2000
    assert content["all"]["accuracy"] == pytest.approx(accuracy, abs=0.0005)
