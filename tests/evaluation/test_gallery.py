"""Compared with the same network and images by hand, and Pillow's reading of the pictures."""

import io
import shutil
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as vision

from resnet_lab.core.choices import MapMethod
from resnet_lab.core.errors import DataError
from resnet_lab.core.run_folder import Run
from resnet_lab.data import preparation
from resnet_lab.data.config import DataConfig
from resnet_lab.data.sources import open_images, opening
from resnet_lab.data.split import from_csv
from resnet_lab.device import choose
from resnet_lab.evaluation import picture_files
from resnet_lab.evaluation.explanation import EXPLAINABLE, overlay
from resnet_lab.evaluation.gallery import Gallery
from resnet_lab.evaluation.gallery_building import build_gallery, contrast, mistakes
from resnet_lab.evaluation.opened_run import OpenedRun, Sources
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.evaluation.report_contents import gather_report
from resnet_lab.evaluation.scoring import evaluate
from resnet_lab.network import checkpoint, zoo
from resnet_lab.network.plugins import load
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.training import train

CPU, REGISTRY = choose("cpu", "fp32"), load(only=[])
SPEC = zoo.get("resnet20").modified(input_size=16)


@pytest.fixture(scope="module")
def paintings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classes that a network confuses: the same colours, and broad pictures."""
    root, draw = tmp_path_factory.mktemp("gallery") / "paintings", np.random.default_rng(0)
    for name, colour in (("blue", (90, 90, 150)), ("green", (100, 140, 90)), ("red", (150, 90, 90))):
        (root / name).mkdir(parents=True)
        for number in range(14):
            pixels = np.clip(draw.normal(draw.normal(colour, 40), 8, (24, 36, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def run(paintings: Path) -> Run:
    folder = paintings.parent / "run"
    train(SPEC, str(paintings), TrainConfig(epochs=1, batch_size=8, precision="fp32"), folder=folder)
    return Run(folder)


@pytest.fixture(scope="module")
def other(paintings: Path, run: Run) -> Run:
    """Gallery of the same images at another size."""
    found = Run(paintings.parent / "other")
    config = TrainConfig(epochs=1, batch_size=8, precision="fp32", seed=1)
    spec = SPEC.modified(act="gelu", input_size=24)
    train(spec, DataConfig(source=str(paintings), split_file=run.splits), config, folder=found.folder)
    return found


@pytest.fixture(scope="module")
def predictions(run: Run) -> Predictions:
    return evaluate(run.folder, CPU, REGISTRY, part="train")


def opened_run(run: Run) -> OpenedRun:
    return OpenedRun(run.folder, Sources(REGISTRY))


def built(run: Run, predictions: Predictions, numbers: np.ndarray, method: MapMethod = "grad-cam") -> Gallery:
    return build_gallery(opened_run(run), predictions, numbers, CPU, method)


def network_input(run: Run, path: Path) -> torch.Tensor:
    metadata, _ = checkpoint.read(run.best)
    with Image.open(path) as image:
        x = vision.pil_to_tensor(image.resize((16, 16), Image.Resampling.BILINEAR)) / 255
    return ((x - torch.tensor(metadata.mean).view(3, 1, 1)) / torch.tensor(metadata.std).view(3, 1, 1))[None]


def opened(webp: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(webp)) as image:
        assert image.format == "WEBP"
        return np.asarray(image.convert("RGB"))


def test_mistakes_are_the_wrong_ones_with_the_surest_first(predictions: Predictions) -> None:
    chosen = mistakes(predictions, 1000).tolist()
    wrong = [n for n in range(len(predictions)) if predictions.probabilities[n].argmax() != predictions.labels[n]]
    assert chosen == sorted(wrong, key=lambda n: -predictions.probabilities[n].max())
    assert mistakes(predictions, 2).tolist() == chosen[:2]


def test_neighbours_are_nearest_by_cosine(run: Run, predictions: Predictions, paintings: Path) -> None:
    numbers = mistakes(predictions, 4)
    found = built(run, predictions, numbers)
    model = checkpoint.load(run.best).eval()
    images = open_images(str(paintings), REGISTRY)
    training = [images.paths[position] for position in np.flatnonzero(from_csv(run.splits, images) == "train")]

    def features(path: str) -> torch.Tensor:
        with torch.no_grad():
            return model.features(network_input(run, paintings / path)).mean((0, 2, 3)).double()

    seen = set()
    for work in found.works:
        named = predictions.classes[predictions.predicted[work.number]]
        own = features(predictions.paths[work.number])
        of_class = [path for path in training if Path(path).parent.name == named]
        distances = {path: 1 - float(torch.cosine_similarity(own, features(path), dim=0)) for path in of_class}
        expected = sorted(of_class, key=distances.__getitem__)[:3]
        assert [each.picture.path for each in work.neighbours] == expected
        assert [each.distance for each in work.neighbours] == pytest.approx(
            [distances[path] for path in expected], abs=1e-5
        )
        seen |= set(of_class)
    assert found.candidates == len(seen)


@pytest.mark.parametrize(
    ("method", "layer", "positions"), [("grad-cam", "layer3", (4, 4)), ("occlusion", "input", (8, 8))]
)
def test_maps_are_those_of_predicted_and_true_class(
    run: Run, predictions: Predictions, paintings: Path, method: MapMethod, layer: str, positions: tuple[int, int]
) -> None:
    numbers = mistakes(predictions, 3)
    found = built(run, predictions, numbers, method)
    assert (found.method, found.layers, found.positions, found.side) == (method, (layer,), (positions,), 36)
    model = checkpoint.load(run.best)
    for work in found.works:
        number = work.number
        assert work.picture.path == predictions.paths[number]
        assert (work.picture.width, work.picture.height) == (36, 24)
        with Image.open(paintings / work.picture.path) as image:
            square = np.asarray(image.convert("RGB").resize((36, 36), Image.Resampling.BILINEAR))
        assert difference(opened(work.picture.webp), square) < 7
        classes = (predictions.predicted[number], predictions.labels[number])
        assert [each.name for each in work.maps] == [predictions.classes[k] for k in classes]
        x = network_input(run, paintings / work.picture.path)
        expected = [
            overlay(square, np.asarray(Image.fromarray(values).resize((36, 36), Image.Resampling.BILINEAR)).clip(0, 1))
            for values in EXPLAINABLE[method](model, CPU).run(x.repeat(2, 1, 1, 1)).maps(torch.tensor(classes)).numpy()
        ]
        for each, own, other, k in zip(work.maps, expected, reversed(expected), classes, strict=True):
            assert each.probability == predictions.probabilities[number, k]
            assert difference(opened(each.webp), own) < min(7, difference(opened(each.webp), other))


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other).mean())


def test_the_same_gallery_twice(run: Run, predictions: Predictions) -> None:
    numbers = mistakes(predictions, 3)
    assert built(run, predictions, numbers) == built(run, predictions, numbers)


def test_two_networks_side_by_side(run: Run, other: Run, predictions: Predictions) -> None:
    second = evaluate(other.folder, CPU, REGISTRY, part="train")
    numbers = np.flatnonzero(predictions.predicted != second.predicted)[:2]
    found = contrast([opened_run(run), opened_run(other)], [predictions, second], numbers, CPU)
    assert found.positions == ((4, 4), (6, 6))
    for work, number in zip(found.works, numbers.tolist(), strict=True):
        assert [each.network for each in work.maps] == [0, 1]
        for each, scored in zip(work.maps, (predictions, second), strict=True):
            assert each.name == scored.classes[scored.predicted[number]]
            assert each.probability == scored.confidences[number]
        assert len({each.webp for each in work.maps}) == 2


def test_pictures_keep_within_the_budget(run: Run, predictions: Predictions, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = mistakes(predictions, 4)
    large = built(run, predictions, numbers)
    monkeypatch.setattr(picture_files, "BUDGET", 4000)
    small = built(run, predictions, numbers)
    files = [
        file
        for work in small.works
        for file in (
            work.picture.webp,
            *(each.webp for each in work.maps),
            *(each.picture.webp for each in work.neighbours),
        )
    ]
    assert len(files) == 4 * 6
    assert sum(map(len, files)) <= 4000
    assert small.side < large.side == 36
    assert {opened(file).shape for file in files} == {(small.side, small.side, 3)}


def test_works_that_changed_since_are_refused(run: Run, predictions: Predictions, paintings: Path) -> None:
    numbers = mistakes(predictions, 2)
    path = paintings / predictions.paths[numbers[0]]
    before = path.read_bytes()
    Image.new("RGB", (36, 24), "white").save(path)
    with pytest.raises(DataError) as error:
        built(run, predictions, numbers)
    path.write_bytes(before)
    assert str(error.value) == (
        f"{paintings}: {predictions.paths[numbers[0]]} is no longer what was scored; restore it"
    )


def test_another_source_whose_training_images_are_gone(run: Run, paintings: Path, tmp_path: Path) -> None:
    away = paintings.parent / "away"
    copy = tmp_path / "copy"
    shutil.copytree(paintings, copy)
    predictions = evaluate(run.folder, CPU, REGISTRY, source=str(copy))
    paintings.rename(away)
    try:
        found = built(run, predictions, mistakes(predictions, 2))
    finally:
        away.rename(paintings)
    assert [work.neighbours for work in found.works] == [(), ()]
    assert found.candidates == 0
    assert str(paintings) in found.without_neighbours


def test_a_page_loads_weights_and_prepares_the_source_once(
    run: Run, other: Run, paintings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, object]] = []

    def count(module: ModuleType, name: str) -> None:
        original = getattr(module, name)

        def counted(first: object, *others: object, **named: object) -> object:
            calls.append((name, first))
            return original(first, *others, **named)

        monkeypatch.setattr(module, name, counted)

    count(checkpoint, "read")
    count(checkpoint, "restore")
    count(opening, "open_class_folders")
    count(preparation, "store_at_one_depth")
    found = gather_report([run.folder], CPU, REGISTRY, part="train", works=3)
    assert found.gallery is not None
    assert len(found.gallery.works) == 3
    assert all(work.neighbours for work in found.gallery.works)
    assert [name for name, _ in calls] == ["read", "restore", "open_class_folders", "store_at_one_depth"]
    assert calls[0] == ("read", run.best)
    assert calls[2] == ("open_class_folders", paintings)

    calls.clear()
    found = gather_report([run.folder, other.folder], CPU, REGISTRY, part="train", works=3)
    assert found.gallery is not None
    assert found.gallery.positions == ((4, 4), (6, 6))
    assert Counter(name for name, _ in calls) == {
        "read": 2, "restore": 2, "open_class_folders": 1, "store_at_one_depth": 2,
    }  # fmt: skip
