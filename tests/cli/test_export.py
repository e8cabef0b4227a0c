import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.slow
def test_onnx(cli: Callable, trained: Path) -> None:
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    code, out, err = cli("export", "run", "--to", "onnx", "--out", "genres.onnx")
    assert (code, err) == (0, "writing genres.onnx from run/best.safetensors\n")
    content = Path("genres.onnx").read_bytes()
    first, second, third = out.splitlines()
    assert first == f"genres.onnx: {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}"
    assert second.startswith("compared on 4 random images: same first class, probabilities within ")
    assert third.startswith("input image, output logits, any number of images, opset ")


@pytest.mark.slow
def test_program_as_json(cli: Callable, trained: Path) -> None:
    code, out, _ = cli("export", "run", "--to", "program", "--json")
    assert code == 0
    printed = json.loads(out)
    content = Path("run/model.pt2").read_bytes()
    assert printed.pop("largest_difference").keys() == {"images", "probability", "logit"}
    assert printed == {
        "format": "program",
        "file": "run/model.pt2",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "properties": "resnet_lab.json",
    }


@pytest.mark.slow
def test_torchvision(cli: Callable) -> None:
    cli("build", "--model", "resnet18", "--num-classes", 5, "--size", 32, "--weights-out", "w.safetensors")
    code, out, err = cli("export", "w.safetensors", "--to", "torchvision")
    assert (code, err) == (0, "writing w.torchvision.safetensors from w.safetensors\n")
    assert out.splitlines()[2] == "for torchvision.models.resnet18(num_classes=5)"
    printed = json.loads(cli("export", "w.safetensors", "--to", "torchvision", "--force", "--json").out)
    assert (printed["constructor"], printed["num_classes"]) == ("resnet18", 5)


@pytest.mark.slow
def test_program(cli: Callable, trained: Path) -> None:
    out = cli("export", "run", "--to", "program").out
    assert out.splitlines()[1:] == ["compared on 4 random images: same first class, probabilities equal"]


def test_card(cli: Callable, trained: Path) -> None:
    code, out, _ = cli("export", "run", "--to", "card", "--license", "mit")
    assert code == 0
    assert out.startswith("run/README.md: ")
    assert out.count("\n") == 1
    assert "# resnet20 on paintings" in Path("run/README.md").read_text()


def test_bad_input(cli: Callable, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "there.pt2").write_text("mine")
    (tmp_path / "empty").mkdir()
    shutil.copytree(trained, tmp_path / "unweighted", ignore=shutil.ignore_patterns("best*"))
    for arguments, message in {
        ("run", "--to", "torchvision"): "run/best.safetensors: none of torchvision's networks is 3+3+3 basic blocks",
        ("run", "--to", "program", "--out", "there.pt2"): "there.pt2 exists already and is left as it is",
        ("run", "--to", "program", "--out", "absent/a.pt2"): "absent/a.pt2: cannot be written: No such file",
        ("run", "--to", "program", "--out", "empty"): "empty is a folder; name the file to write",
        ("empty", "--to", "card"): "empty is not a run folder: it holds no run.json",
        ("unweighted", "--to", "card"): "unweighted: the run has no weights yet (no best.safetensors)",
        ("there.pt2", "--to", "program"): "there.pt2: not a whole safetensors file",
        ("run", "--to", "program", "--license", "mit"): "a license belongs in the model card, not in program",
    }.items():
        code, out, err = cli("export", *arguments)
        printed = err.splitlines()[-1]
        assert (code, out) == (2, "")
        assert printed.startswith(f"resnet-lab: {message}")
    assert (tmp_path / "there.pt2").read_text() == "mine"
    code, _, err = cli("export", "run", "--to", "tflite")
    assert code == 2
    assert "'tflite' is not one of 'onnx', 'program', 'torchvision', 'card'" in " ".join(err.replace("│", "").split())


@pytest.mark.slow
def test_int8(cli: Callable, trained: Path) -> None:
    pytest.importorskip("onnxscript")
    code, out, _ = cli("export", "run", "--to", "onnx", "--int8")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("run/model.int8.onnx: ")
    assert re.fullmatch(r"calibrated on \d+ images of the training part", lines[2])
    share = r"(?:0\.\d{4}|1\.0000)"
    assert re.fullmatch(
        rf"macro accuracy on \d+ images of the validation part: {share}, in float32 {share}: [+-]\d+\.\d points "
        r"\((no interval|95% interval [+-]\d+\.\d to [+-]\d+\.\d)\); another first class for \d+",
        lines[3],
    )
    printed = json.loads(cli("export", "run", "--to", "onnx", "--int8", "--json", "--force").out)
    assert printed["largest_difference"] is None
    assert printed["int8"].keys() >= {"float32", "int8", "difference", "interval", "level", "validation_images"}
