from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import QUICK


def test_bad_input(cli: Callable, paintings: Path, tmp_path: Path) -> None:
    cli("train", "--data", paintings, *QUICK, "--epochs", 1, "--out", "run")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpg").write_text("no image")
    for arguments, message in {
        ("run", "absent.jpg"): "absent.jpg: no such image or folder",
        ("run", "empty"): (
            "empty holds no image; images end in .avif, .bmp, .gif, .jpeg, .jpg, .png, .tif, .tiff, .webp"
        ),
        ("run", "text.jpg"): (
            "text.jpg: unreadable image (not an image of a known format); repair or remove it"
        ),
        ("empty", "text.jpg"): (
            "empty is not a run folder: it holds no run.json; name one that `resnet-lab train` made"
        ),
        ("text.jpg", "text.jpg"): "text.jpg: not a whole safetensors file",
    }.items():  # fmt: skip
        code, out, err = cli("predict", *arguments)
        assert (code, out) == (2, "")
        assert err.startswith(f"resnet-lab: {message}")
        assert err.count("\n") == 1


def test_untrained_weights_are_refused(cli: Callable, paintings: Path) -> None:
    cli("build", "--model", "resnet20", "--weights-out", "w.safetensors")
    code, out, err = cli("predict", "w.safetensors", paintings)
    assert (code, out) == (2, "")
    assert err == (
        "resnet-lab: w.safetensors: the weights name no classes and normalisation, as those that `resnet-lab train` "
        "writes do; they cannot be used on images\n"
    )
