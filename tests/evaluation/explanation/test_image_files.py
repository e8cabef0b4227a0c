import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnet_lab.core.errors import ConfigError, DataError, RunError
from resnet_lab.core.watcher import Watcher
from resnet_lab.device import choose
from resnet_lab.evaluation.explanation import EXPLAINABLE, explain, grad_cam
from resnet_lab.evaluation.explanation.image_files import drawing_name
from resnet_lab.evaluation.explanation.layer_maps import LAYER_METHODS
from resnet_lab.network import checkpoint
from tests.evaluation.explanation.networks import BUILT_IN, SMALL, network

CPU = choose("cpu", "fp32", "off")
CLASSES = ("boat", "car", "house", "sun", "tree")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "small.safetensors"
    path.parent.mkdir()
    checkpoint.save(path, network("resnet20"), SMALL, classes=CLASSES, mean=(0.5,) * 3, std=(0.25,) * 3)
    return path


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two files of one name in two folders, and one that is no image."""
    generator = np.random.default_rng(0)
    for folder in ("one", "two"):
        (tmp_path / "scans" / folder).mkdir(parents=True)
        pixels = generator.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "scans" / folder / "a.png")
    (tmp_path / "scans" / "two" / "broken.jpg").write_bytes(b"no image")
    return tmp_path / "scans"


def normalised(file: Path) -> torch.Tensor:
    with Image.open(file) as image:
        picture = np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR))
    return torch.from_numpy((picture / 255 - 0.5) / 0.25).float().permute(2, 0, 1).unsqueeze(0)


class Counting(Watcher):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def begin(self, what: str, total: int, done: int = 0) -> None:
        self.messages.append(f"{what} {total}")

    def advance(self) -> None:
        self.messages.append("one")


def test_files_of_equal_names_and_a_broken_one(weights: Path, scans: Path) -> None:
    watcher = Counting()
    found = explain(weights, [scans], CPU, BUILT_IN, watcher=watcher)
    assert watcher.messages == ["explaining 3", "one", "one", "one"]
    assert (found.layer, found.size, found.positions) == ("layer3", 16, (4, 4))
    assert found.bad == ((scans / "two" / "broken.jpg", "not an image of a known format"),)
    assert [each.path for each in found.images] == [scans / folder / "a.png" for folder in ("one", "two")]
    drawings = [each.drawing for each in found.images]
    assert sorted(weights.parent.joinpath("explanations").iterdir()) == sorted(drawings)
    assert len(set(drawings)) == 2
    assert all(drawing.name.startswith("a-grad-cam-") and drawing.suffix == ".png" for drawing in drawings)
    for each in found.images:
        with Image.open(each.path) as image:
            picture = np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR))
        assert np.array_equal(each.explanation.picture, picture)
        x = normalised(each.path)
        (shown,) = each.explanation.maps
        expected = grad_cam(network("resnet20"), x, torch.tensor([CLASSES.index(shown.name)]))[0]
        np.testing.assert_allclose(shown.values, expected, rtol=1e-3, atol=1e-3)
        with Image.open(each.drawing) as drawing:
            assert drawing.format == "PNG"


def test_options(weights: Path, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "pictures"
    for _ in range(2):  # what stands there is replaced
        found = explain(
            weights, [str(scans / "**" / "a.png")], CPU, BUILT_IN,
            layer="layer2.0", wanted="sun", out=out, file_format="svg",
        )  # fmt: skip
    assert (found.layer, found.positions) == ("layer2.0", (8, 8))
    assert [[one.name for one in each.explanation.maps] for each in found.images] == [["sun"], ["sun"]]
    assert sorted(out.iterdir()) == sorted(each.drawing for each in found.images)
    for each in found.images:
        text = each.drawing.read_text(encoding="utf-8")
        assert "asked for: sun" in text
        assert "layer2.0" in text


def test_drawings_of_all_methods(weights: Path, scans: Path) -> None:
    """Each beside the others, with its method in name and picture; maps of the input have their own positions."""
    image = scans / "one" / "a.png"
    x = normalised(image)
    positions = {"grad-cam": (4, 4), "hires-cam": (4, 4), "occlusion": (8, 8), "integrated-gradients": (16, 16)}
    drawings = set()
    for method, make in EXPLAINABLE.items():
        found = explain(weights, [image], CPU, BUILT_IN, method=method, file_format="svg")
        layer = "layer3" if method in LAYER_METHODS else "input"
        assert (found.method, found.layer, found.positions) == (method, layer, positions[method])
        ((drawing, (shown,)),) = [(each.drawing, each.explanation.maps) for each in found.images]
        assert drawing.name == drawing_name(image, "svg", method)
        assert drawing.name.startswith(f"a-{method}-")
        assert f">{layer}, {method}<" in drawing.read_text(encoding="utf-8")
        expected = make(network("resnet20"), CPU).run(x).maps(torch.tensor([CLASSES.index(shown.name)]))[0]
        np.testing.assert_allclose(shown.values, expected, rtol=1e-2, atol=1e-2)
        drawings.add(drawing)
    assert sorted(weights.parent.joinpath("explanations").iterdir()) == sorted(drawings)
    assert len(drawings) == 4


def test_images_in_several_steps(weights: Path, scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = explain(weights, [scans], CPU, BUILT_IN, method="occlusion", sanity_check=True)
    monkeypatch.setattr("resnet_lab.evaluation.explanation.image_files.AT_ONCE", 1)
    single = explain(weights, [scans], CPU, BUILT_IN, method="occlusion", sanity_check=True)
    assert [each.path for each in single.images] == [each.path for each in whole.images]
    assert single.rank_correlation == pytest.approx(whole.rank_correlation, abs=1e-3)
    for one, other in zip(single.images, whole.images, strict=True):
        np.testing.assert_allclose(one.explanation.maps[0].values, other.explanation.maps[0].values, atol=1e-3)


def test_names_of_drawings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert drawing_name(Path("x/../a.jpg"), "png") == drawing_name(tmp_path / "a.jpg", "png")
    assert drawing_name(Path("a.jpg"), "png") != drawing_name(Path("a.png"), "png")
    assert len(os.fsencode(drawing_name(Path("\U0001f5bc" * 60 + ".jpg"), "png"))) == 4 * 50 + len("-grad-cam-") + 12
    assert drawing_name(Path(os.fsdecode(b"\xff.jpg")), "svg").endswith(".svg")


def test_nothing_that_can_be_explained(weights: Path, scans: Path) -> None:
    broken = scans / "two" / "broken.jpg"
    with pytest.raises(DataError) as failure:
        explain(weights, [broken], CPU, BUILT_IN)
    assert str(failure.value) == (
        f"{broken}: unreadable image (not an image of a known format); none of the images can be explained: "
        "repair them or name others"
    )
    (scans / "empty.png").touch()
    with pytest.raises(DataError) as failure:
        explain(weights, [broken, scans / "empty.png"], CPU, BUILT_IN)
    assert ", and 1 more like it; none of the images" in str(failure.value)
    assert not (weights.parent / "explanations").exists()


def test_bad_choices(weights: Path, scans: Path) -> None:
    with pytest.raises(ConfigError) as failure:
        explain(weights, [scans], CPU, BUILT_IN, wanted="tre")
    assert str(failure.value) == "the network has no class 'tre'; did you mean 'tree'?"
    (scans / "file").touch()
    with pytest.raises(RunError) as blocked:
        explain(weights, [scans], CPU, BUILT_IN, out=scans / "file")
    assert str(blocked.value) == f"{scans / 'file'}: the folder cannot be made or written: Not a directory"
