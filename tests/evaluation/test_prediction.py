from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as vision

from resnet_lab.core.errors import CheckpointError, DataError, RunError
from resnet_lab.core.run_folder import Run, weights_of
from resnet_lab.device import choose
from resnet_lab.evaluation.prediction import predict
from resnet_lab.network import checkpoint, zoo
from resnet_lab.network.builder import build
from resnet_lab.network.checkpoint import Metadata
from resnet_lab.network.plugins import load
from tests.run_records import run_record

CPU, REGISTRY = choose("cpu", "fp32"), load(only=[])
NAMES = ("blue", "green", "red")
SPEC = zoo.get("resnet20").modified(input_size=8, num_classes=3)
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    checkpoint.write(path, build(SPEC), Metadata(spec=SPEC, classes=NAMES, mean=MEAN, std=STD))
    return path


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, draw = tmp_path_factory.mktemp("scans"), np.random.default_rng(0)
    (folder / "old").mkdir()
    for number in range(70):
        pixels = draw.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / ("old" if number % 2 else ".") / f"{number:02}.png")
    return folder


def by_hand(weights: Path, path: Path) -> torch.Tensor:
    """One image through the network, step by step."""
    with Image.open(path) as image:
        x = vision.pil_to_tensor(image.resize((8, 8), Image.Resampling.BILINEAR)) / 255
    x = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        output: torch.Tensor = checkpoint.load(weights)(x.unsqueeze(0)).softmax(1)[0]
    return output


def test_answers_are_those_of_one_image_at_a_time(weights: Path, scans: Path) -> None:
    """More than one piece of files; a folder stands for all below it, and no file counts twice."""
    answers = predict(weights, [scans, scans / "00.png"], CPU, REGISTRY, top=99)
    assert {each.path for each in answers.images} == {str(path) for path in scans.rglob("*.png")}
    assert len(answers.images) == 70
    for each in answers.images[:5] + answers.images[-5:]:
        probabilities = by_hand(weights, Path(each.path))
        assert [name for name, _ in each.top] == [NAMES[k] for k in probabilities.argsort(descending=True)]
        assert [value for _, value in each.top] == pytest.approx(
            probabilities.sort(descending=True).values.tolist(), rel=1e-4
        )


def test_patterns(weights: Path, scans: Path) -> None:
    def named(pattern: str) -> list[str]:
        return [Path(each.path).name for each in predict(weights, [scans / pattern], CPU, REGISTRY, top=1).images]

    assert named("0*.png") == ["00.png", "02.png", "04.png", "06.png", "08.png"]
    assert named("old/0[13].png") == ["01.png", "03.png"]
    assert len(named("**/*.png")) == 70


def test_a_file_whose_name_looks_like_a_pattern(weights: Path, scans: Path, tmp_path: Path) -> None:
    odd = tmp_path / "[a].png"
    odd.write_bytes((scans / "00.png").read_bytes())
    assert [each.path for each in predict(weights, [odd], CPU, REGISTRY, top=1).images] == [str(odd)]


def test_damaged_images_are_listed(weights: Path, scans: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "good.png").write_bytes((scans / "00.png").read_bytes())
    answers = predict(weights, [tmp_path], CPU, REGISTRY, top=1)
    assert [each.path for each in answers.images] == [str(tmp_path / "good.png")]
    assert answers.bad == (
        (str(tmp_path / "empty.png"), "empty file"),
        (str(tmp_path / "text.jpg"), "not an image of a known format"),
    )
    (tmp_path / "good.png").unlink()
    with pytest.raises(DataError) as failure:
        predict(weights, [tmp_path], CPU, REGISTRY, top=1)
    assert str(failure.value) == (
        f"{tmp_path}/empty.png: unreadable image (empty file), and 1 more like it; none of the images can be read: "
        "repair them or name others"
    )


def test_paths_without_images(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    suffixes = ".avif, .bmp, .gif, .jfif, .jpeg, .jpg, .png, .tif, .tiff, .webp"
    for name, message in {
        "absent.png": "absent.png: no such image or folder",
        "empty": f"empty holds no image; images end in {suffixes}",
        "*.png": f"*.png: the pattern matches no image; images end in {suffixes}",
    }.items():
        with pytest.raises(DataError) as failure:
            predict(weights, [tmp_path / name], CPU, REGISTRY, top=1)
        assert str(failure.value) == f"{tmp_path}/{message}"


def test_weights_without_classes_are_refused(scans: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    checkpoint.write(path, build(SPEC), Metadata(spec=SPEC))
    with pytest.raises(CheckpointError) as failure:
        predict(path, [scans], CPU, REGISTRY, top=1)
    assert str(failure.value) == (
        f"{path}: the weights name no classes and normalisation, as those that `resnet-lab train` writes do; "
        "they cannot be used on images"
    )


def test_folders_without_weights(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run folder"):
        weights_of(tmp_path)
    Run(tmp_path).write(run_record(status="running"))
    with pytest.raises(RunError, match="the run has no weights yet"):
        weights_of(tmp_path)
