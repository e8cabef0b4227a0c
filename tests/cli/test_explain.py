import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from resnet_lab.network import checkpoint, zoo
from resnet_lab.network.builder import build

CLASSES = ("blue", "red")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    spec = zoo.get("resnet20").modified(input_size=16, num_classes=2)
    path = tmp_path / "w.safetensors"
    checkpoint.save(path, build(spec), spec, classes=CLASSES, mean=(0.5,) * 3, std=(0.25,) * 3)
    return path


def test_json(cli: Callable, weights: Path, paintings: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_text("no image")
    code, out, err = cli(
        "explain", "w.safetensors", "paintings/red/1*.png", "broken.jpg", "--precision", "fp32", "--json"
    )
    assert code == 0
    assert err == "resnet-lab: warning: broken.jpg: unreadable image (not an image of a known format); left out\n"
    content = json.loads(out)
    assert content["bad"] == [{"path": "broken.jpg", "cause": "not an image of a known format"}]
    assert content["method"] == "grad-cam"
    assert (content["size"], content["positions"]) == (16, [4, 4])
    assert [each["path"] for each in content["images"]] == [f"paintings/red/{n}.png" for n in (1, 10, 11)]
    predictions = json.loads(cli("predict", "w.safetensors", "paintings/red", "--precision", "fp32", "--json").out)
    top = {each["path"]: each["top"][0] for each in predictions["images"]}
    for each in content["images"]:
        assert each["class"] == top[each["path"]]["class"]
        assert each["probability"] == pytest.approx(top[each["path"]]["probability"], rel=1e-3)
        assert each["layer"] == "layer3"
        (shown,) = each["maps"]
        assert (shown["class"], shown["probability"]) == (each["class"], each["probability"])
        assert shown["peak"] is None or all(0 <= at < 16 for at in shown["peak"])
        with Image.open(each["file"]) as drawing:
            assert drawing.format == "PNG"
        assert Path(each["file"]).parent == Path("explanations")


def test_paths_are_whole_where_there_is_no_terminal(
    cli: Callable, weights: Path, paintings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    image = paintings / "blue" / ("a_long_name_" * 12 + ".png")
    (paintings / "blue" / "3.png").rename(image)
    out = cli("explain", "w.safetensors", image, "--out", "pictures").out
    (drawing,) = Path("pictures").iterdir()
    assert any(str(image) in line and drawing.name in line for line in out.splitlines())
    assert str(image) in cli("predict", "w.safetensors", image).out


def test_table(cli: Callable, weights: Path, paintings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    image = "paintings/blue/3.png"
    code, out, err = cli("explain", "w.safetensors", image, "--layer", "layer1", "--format", "svg", "--out", "pictures")
    assert (code, err) == (0, "")
    assert out.split()[:4] == ["image", "predicted", "peak", "picture"]
    (drawing,) = Path("pictures").iterdir()
    assert drawing.suffix == ".svg"
    row = next(line for line in out.splitlines() if image in line)
    assert drawing.name in row
    assert any(name in row for name in CLASSES)
    assert (
        "grad-cam of layer1 has 16 x 16 positions; a peak is the row and column, from 0, of the 16 x 16 pixels "
        "that the network sees; pictures are in pictures\n"
    ) in out
    code, out, err = cli("explain", "w.safetensors", image, "--class", "red")
    assert (code, err) == (0, "")
    assert out.split()[:5] == ["image", "predicted", "explained", "peak", "picture"]
    row = next(line for line in out.splitlines() if image in line)
    assert row.split()[3] == "red"
    code, out, err = cli("explain", "w.safetensors", image, "--method", "hires-cam", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["method"] == "hires-cam"
    code, out, err = cli("explain", "w.safetensors", image, "--method", "occlusion")
    assert (code, err) == (0, "")
    assert "occlusion of input has 8 x 8 positions; a peak is the row and column" in out


def test_sanity_check(cli: Callable, weights: Path, paintings: Path) -> None:
    arguments = ("explain", "w.safetensors", "paintings/red/1*.png", "--layer", "layer1", "--sanity-check")
    content = json.loads(cli(*arguments, "--json").out)
    known = [each["rank_correlation"] for each in content["images"] if each["rank_correlation"] is not None]
    assert content["rank_correlation"] == pytest.approx(sum(known) / len(known))
    assert max(map(abs, known)) < 1
    code, out, _ = cli(*arguments, "--format", "svg")
    assert code == 0
    mean = f"{content['rank_correlation']:.2f}"
    assert f"mean rank correlation with maps by random weights: {mean} (1: nothing changes)\n" in out
    first = next(each for each in content["images"] if each["rank_correlation"] is not None)
    drawing = Path(first["file"]).with_suffix(".svg").read_text(encoding="utf-8")
    assert f"rank correlation with the map by random weights: {first['rank_correlation']:.2f}" in drawing


def test_sanity_check_of_random_weights(
    cli: Callable, weights: Path, paintings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that are the random ones themselves."""
    monkeypatch.setattr("resnet_lab.evaluation.explanation.sanity.SEED", 0)
    code, _, err = cli("explain", "w.safetensors", "paintings/red/1*.png", "--layer", "layer1", "--sanity-check")
    assert code == 0
    assert err == (
        "resnet-lab: warning: the maps hardly change with random weights (mean rank correlation 1.00); they show the "
        "images rather than what the network learnt\n"
    )


def test_a_sanity_check_that_compares_nothing_says_so(
    cli: Callable, weights: Path, paintings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where no position of a layer speaks for the class."""
    monkeypatch.setattr("resnet_lab.evaluation.explanation.sanity.rank_correlation", lambda one, other: None)
    code, out, err = cli("explain", "w.safetensors", "paintings/red/1*.png", "--sanity-check", "--json")
    assert (code, json.loads(out)["rank_correlation"]) == (0, None)
    assert err == (
        "resnet-lab: warning: no map could be compared with the one by random weights, as one of the two is the same "
        "everywhere\n"
    )


def test_bad_input(cli: Callable, weights: Path, paintings: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpg").write_text("no image")
    for arguments, message in {
        ("absent.jpg",): "absent.jpg: no such image or folder",
        ("text.jpg",): (
            "text.jpg: unreadable image (not an image of a known format); none of the images can be explained: repair "
            "them or name others"
        ),
        ("paintings", "--layer", "layer4"): (
            "the network has no layer 'layer4'; its stages are layer1, layer2, layer3, their blocks layer1.0 and so "
            "on; did you mean 'layer3' or 'layer2' or 'layer1'?"
        ),
        ("paintings", "--layer", "fc"): "layer 'fc' has no map (N, C, H, W) as its output but one of shape (N, 2); ",
        ("paintings", "--method", "occlusion", "--layer", "layer3"): (
            "layer 'layer3': maps by occlusion are of the input, not of a layer; leave the layer out, or use the "
            "method grad-cam or hires-cam\n"
        ),
        ("paintings", "--class", "bleu"): "the network has no class 'bleu'; did you mean 'blue'?",
    }.items():
        code, out, err = cli("explain", "w.safetensors", *arguments)
        assert (code, out) == (2, "")
        assert err.startswith(f"resnet-lab: {message}")
        assert err.count("\n") == 1
    code, out, err = cli("explain", "empty", "paintings")
    assert (code, out) == (2, "")
    assert err.startswith("resnet-lab: empty is not a run folder")
