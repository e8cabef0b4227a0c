import csv
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as vision

from resnet_lab.core.errors import CheckpointError, ConfigError, DataError, RunError
from resnet_lab.core.run_folder import Run
from resnet_lab.core.watcher import Watcher
from resnet_lab.data.image_loader import image_loader
from resnet_lab.data.order import Order, Subset
from resnet_lab.device import choose
from resnet_lab.evaluation.inference import batch_size_of, image_format_of, logits
from resnet_lab.evaluation.prediction import predict
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.evaluation.scoring import evaluate, kept_at, stored, summary_of
from resnet_lab.evaluation.views import parse_views
from resnet_lab.network import checkpoint, zoo
from resnet_lab.network.builder import build
from resnet_lab.network.plugins import load
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.training import train
from tests.stand_ins import ArrayPixels


class Listener(Watcher):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def say(self, text: str) -> None:
        self.notes.append(text)


CPU, REGISTRY = choose("cpu", "fp32"), load(only=[])
SPEC = zoo.get("resnet20").modified(input_size=8)


@pytest.fixture(scope="module")
def paintings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, draw = tmp_path_factory.mktemp("data") / "paintings", np.random.default_rng(0)
    for name, colour in (("blue", (40, 60, 220)), ("green", (60, 200, 40)), ("red", (220, 60, 40))):
        (root / name).mkdir(parents=True)
        for number in range(10):
            pixels = np.clip(draw.normal(colour, 40, (9, 12, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def run(paintings: Path) -> Path:
    folder = paintings.parent / "run"
    train(SPEC, str(paintings), TrainConfig(epochs=4, batch_size=8, precision="fp32"), folder=folder)
    return folder


def by_hand(run: Path, path: Path) -> torch.Tensor:
    """One image through the saved network, step by step."""
    metadata, _ = checkpoint.read(run / "best.safetensors")
    with Image.open(path) as image:
        x = vision.pil_to_tensor(image.resize((8, 8), Image.Resampling.BILINEAR)) / 255
    x = (x - torch.tensor(metadata.mean).view(3, 1, 1)) / torch.tensor(metadata.std).view(3, 1, 1)
    with torch.no_grad():
        output: torch.Tensor = checkpoint.load(run / "best.safetensors")(x.unsqueeze(0)).softmax(1)[0]
    return output


def rows_of(run: Path, part: str) -> int:
    with (run / "splits.csv").open() as file:
        return sum(row["split"] == part for row in csv.DictReader(file))


def test_logits_are_the_network_s_in_evaluation_mode() -> None:
    model = build("resnet20", dropout=0.5).train()
    pixels = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8)
    order = Order(Subset(np.arange(10), np.zeros(10, np.int64), 2), 4)
    served = image_loader(ArrayPixels(pixels), order, (0,) * 3, (1,) * 3, CPU)
    found = logits(model, served.evaluation(), CPU)
    assert model.training
    with torch.no_grad():
        torch.testing.assert_close(
            found, model.eval()(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255), rtol=1e-4, atol=1e-5
        )


def test_evaluation_equals_one_image_at_a_time(run: Path, paintings: Path) -> None:
    evaluation = evaluate(run, CPU, REGISTRY, part="val")
    assert len(evaluation.paths) == rows_of(run, "val") >= 3
    assert evaluation.classes == ("blue", "green", "red")
    for path, label, probabilities in zip(evaluation.paths, evaluation.labels, evaluation.probabilities, strict=True):
        assert Path(path).parent.name == evaluation.classes[label]
        torch.testing.assert_close(
            torch.from_numpy(probabilities), by_hand(run, paintings / path), rtol=1e-4, atol=1e-5
        )


def test_probabilities_are_means_over_views_and_kept_apart(run: Path, paintings: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    as_they_are, listener = evaluate(copy, CPU, REGISTRY), Listener()
    both = evaluate(copy, CPU, REGISTRY, views=parse_views("rotate90,flip"), watcher=listener)
    assert both.origin.views == ("rotate90", "flip")
    assert listener.notes == [
        "tta: the network was trained without rotate90 and flip, and may know such views less well"
    ]
    metadata, _ = checkpoint.read(copy / "best.safetensors")
    network = checkpoint.load(copy / "best.safetensors")
    for path, found in zip(both.paths[:3], both.probabilities, strict=False):
        with Image.open(paintings / path) as image:
            x = vision.pil_to_tensor(image.resize((8, 8), Image.Resampling.BILINEAR)) / 255
        x = (x - torch.tensor(metadata.mean).view(3, 1, 1)) / torch.tensor(metadata.std).view(3, 1, 1)
        turned = [vision.rotate(x, 90.0 * turn) for turn in range(4)]
        views = torch.stack([*turned, *map(vision.horizontal_flip, turned)])
        with torch.no_grad():
            wanted = network(views).softmax(1).mean(0)
        assert found == pytest.approx(wanted.numpy(), abs=1e-5)
    file = copy / "predictions" / "test-tta-rotate90-flip.safetensors"
    assert kept_at(Run(copy), both.origin) == file
    assert stored(Run(copy)).origin == as_they_are.origin  # of the images as they are, for all that compares runs
    notes = Listener()
    again = evaluate(copy, CPU, REGISTRY, views=parse_views("rotate90,flip"), watcher=notes)
    assert again.origin == both.origin
    assert f"predictions of {both.origin.created} are taken from {file}" in notes.notes
    plain = copy / "predictions" / "test.safetensors"
    shutil.copy(file, plain)
    with pytest.raises(CheckpointError) as refusal:
        stored(Run(copy))
    assert str(refusal.value) == (
        f"{plain}: the predictions are means of views (rotate90, flip), not of the images as they are; remove the file "
        f"and score the run again with `resnet-lab eval {copy} --split test`"
    )


def test_parts_are_apart_and_another_source_is_taken_whole(run: Path, paintings: Path) -> None:
    parts = [set(evaluate(run, CPU, REGISTRY, part=part).paths) for part in ("train", "val", "test")]
    assert [len(part) for part in parts] == [rows_of(run, part) for part in ("train", "val", "test")]
    whole = set(evaluate(run, CPU, REGISTRY, source=str(paintings)).paths)
    assert set.union(*parts) == whole
    assert len(whole) == 30


def test_other_classes_are_refused(run: Path, paintings: Path, tmp_path: Path) -> None:
    for name in ("blue", "mauve"):
        (tmp_path / name).symlink_to(paintings / "red")
    with pytest.raises(DataError) as failure:
        evaluate(run, CPU, REGISTRY, source=str(tmp_path))
    assert str(failure.value) == (
        f"{tmp_path}: its classes are not the network's: missing ['green', 'red'], unknown ['mauve']; "
        "use a folder with the same class names, or map them with --class-map 'mauve=green' (or 'mauve=' to "
        "leave it out)"
    )


def linked(folder: Path, paintings: Path, **names: str) -> Path:
    """Class folders of other names."""
    folder.mkdir()
    for name, original in names.items():
        (folder / name).symlink_to(paintings / original)
    return folder


def test_classes_are_matched_by_name_whatever_their_order(run: Path, paintings: Path, tmp_path: Path) -> None:
    """Labels by hand: the folder that each image lies in."""
    listener = Listener()
    source = linked(tmp_path / "data", paintings, Red="red", a="blue", green="green")
    found = evaluate(run, CPU, REGISTRY, source=str(source), class_map={"a": "blue"}, watcher=listener)
    assert found.classes == ("blue", "green", "red")
    folders = {"Red": "red", "a": "blue", "green": "green"}
    assert [found.classes[label] for label in found.labels] == [folders[path.split("/")[0]] for path in found.paths]
    whole = evaluate(run, CPU, REGISTRY, source=str(paintings))
    by_digest = dict(zip(whole.digests, whole.probabilities, strict=True))
    assert all((row == by_digest[digest]).all() for row, digest in zip(found.probabilities, found.digests, strict=True))
    assert {f"{source}: 'Red' is taken for 'red'", f"{source}: 'a' is taken for 'blue'"} <= set(listener.notes)
    other = evaluate(run, CPU, REGISTRY, source=str(source), class_map={"a": "red", "Red": "blue"})
    assert (other.labels != found.labels).sum() == 20, "kept predictions of other labels are not taken"


@pytest.mark.parametrize("names", [{"red": "red"}, {"green": "green", "red": "red"}], ids=["one", "two"])
def test_a_subset_of_the_classes_is_scored_with_a_remark(
    run: Path, paintings: Path, tmp_path: Path, names: dict[str, str]
) -> None:
    listener, source = Listener(), linked(tmp_path / "data", paintings, **names)
    found = evaluate(run, CPU, REGISTRY, source=str(source), watcher=listener)
    absent = [name for name in ("blue", "green", "red") if name not in names]
    assert len(found) == 10 * len(names)
    assert {found.classes[label] for label in found.labels} == set(names)
    assert found.origin.absent == tuple(absent)
    assert (
        f"{source} has no image of {len(absent)} of the network's 3 classes ({', '.join(absent)}); the others are "
        "scored"
    ) in listener.notes
    again = evaluate(run, CPU, REGISTRY, source=str(source))
    assert again.origin == found.origin


def test_the_depth_of_the_training_images_goes_with_the_weights(tmp_path: Path) -> None:
    """Twelve bits of sixteen: a dark picture stays dark when it comes alone."""
    draw = np.random.default_rng(0)
    for name, brightest in (("bright", 4096), ("dark", 1024)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(10):
            pixels = draw.integers(0, brightest, (8, 8), dtype=np.uint16)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{number}.png")
    config, spec = TrainConfig(epochs=1, batch_size=8, precision="fp32"), SPEC.modified(in_channels=1)
    train(spec, str(tmp_path / "data"), config, folder=tmp_path / "run")
    metadata, _ = checkpoint.read(tmp_path / "run" / "best.safetensors")
    assert (metadata.depth, image_format_of(metadata).depth) == (12, 12)
    whole = evaluate(tmp_path / "run", CPU, REGISTRY, source=str(tmp_path / "data"))
    place = next(number for number, path in enumerate(whole.paths) if path.startswith("dark"))
    (answer,) = predict(tmp_path / "run", [tmp_path / "data" / whole.paths[place]], CPU, REGISTRY, top=2).images
    expected = dict(zip(whole.classes, whole.probabilities[place].tolist(), strict=True))
    assert dict(answer.top) == pytest.approx(expected, rel=1e-4)


def test_a_class_is_left_out_where_asked_for(run: Path, paintings: Path, tmp_path: Path) -> None:
    listener, source = Listener(), linked(tmp_path / "data", paintings, red="red", mauve="green", blue="blue")
    found = evaluate(run, CPU, REGISTRY, source=str(source), class_map={"mauve": ""}, watcher=listener)
    assert {path.split("/")[0] for path in found.paths} == {"red", "blue"}
    assert f"{source}: images of 'mauve' are left out" in listener.notes
    with pytest.raises(ConfigError, match=r"have a class 'mauv'; did you mean 'mauve'\?"):
        evaluate(run, CPU, REGISTRY, source=str(source), class_map={"mauve": "", "mauv": ""})
    evaluate(run, CPU, REGISTRY, source=str(source), class_map={"mauve": "", "mauv": ""}, other_classes={"mauv"})
    with pytest.raises(DataError) as failure:
        evaluate(run, CPU, REGISTRY, source=str(source), class_map=dict.fromkeys(("red", "blue", "mauve"), ""))
    assert str(failure.value) == f"{source}: no image is left to score; see `resnet-lab data check` and --class-map"


@pytest.mark.parametrize(("side", "images"), [(8, 64), (512, 64), (1024, 16), (4096, 1), (8192, 1)])
def test_large_images_go_through_a_few_at_a_time(side: int, images: int) -> None:
    assert batch_size_of(side) == images


def test_a_folder_of_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run folder"):
        evaluate(tmp_path, CPU, REGISTRY)


def test_images_that_changed_after_the_training(run: Path, paintings: Path, tmp_path: Path) -> None:
    data, copy = shutil.copytree(paintings, tmp_path / "data"), shutil.copytree(run, tmp_path / "run")
    record = json.loads((copy / "run.json").read_text())
    record["data"]["source"] = str(data)
    (copy / "run.json").write_text(json.dumps(record))
    before, after = Listener(), Listener()
    first, *_, last = evaluate(copy, CPU, REGISTRY, part="test", again=True, watcher=before).paths
    remark = f"{copy}: images of {data} were added, removed or changed since the training"
    assert remark not in before.notes
    shutil.copyfile(data / last, data / first)
    evaluate(copy, CPU, REGISTRY, part="test", again=True, watcher=after)
    assert remark in after.notes


def test_images_that_went_or_broke_after_the_training(run: Path, paintings: Path, tmp_path: Path) -> None:
    data, copy = shutil.copytree(paintings, tmp_path / "data"), shutil.copytree(run, tmp_path / "run")
    record = json.loads((copy / "run.json").read_text())
    record["data"]["source"] = str(data)
    (copy / "run.json").write_text(json.dumps(record))
    path = evaluate(copy, CPU, REGISTRY, part="test").paths[0]
    whole, listener = stored(Run(copy)), Listener()
    assert whole is not None
    (data / path).write_bytes(b"no image")
    found = evaluate(copy, CPU, REGISTRY, part="test", watcher=listener)
    assert (found.paths, found.origin.gone) == (whole.paths[1:], 1)
    np.testing.assert_allclose(found.probabilities, whole.probabilities[1:], rtol=0, atol=1e-6)
    assert (
        f"{data}: 1 image of the test part cannot be read now ({path}: not an image of a known format); the others "
        "are scored"
    ) in listener.notes
    (data / path).unlink()
    found = evaluate(copy, CPU, REGISTRY, part="test", watcher=listener)
    assert (found.paths, found.origin.gone) == (whole.paths[1:], 1)
    assert f"{data}: 1 image of the test part is gone ({path}); the others are scored" in listener.notes
    kept = stored(Run(copy))
    assert kept is not None
    assert kept.paths == whole.paths, "those of all images stay"
    for path in found.paths:
        (data / path).write_bytes(b"no image")
    with pytest.raises(DataError) as failure:
        evaluate(copy, CPU, REGISTRY, part="test")
    assert str(failure.value).startswith(f"{data}: all {len(whole)} images of the test part are gone or cannot be read")
    assert str(failure.value).endswith("); restore them")
    for path in found.paths:
        (data / path).unlink()
    with pytest.raises(DataError) as failure:
        evaluate(copy, CPU, REGISTRY, part="test")
    assert str(failure.value) == f"{data}: all {len(whole)} images of the test part are gone; restore them"


def test_a_training_keeps_its_own(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    kept = stored(Run(copy))
    assert kept is not None
    again = evaluate(copy, CPU, REGISTRY, again=True)
    assert (kept.paths, kept.digests, kept.origin.part) == (again.paths, again.digests, "test")
    assert (kept.labels == again.labels).all()
    assert (kept.probabilities == again.probabilities).all()


def test_predictions_are_made_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = evaluate(run, CPU, REGISTRY, part="test", again=True)
    monkeypatch.setattr("resnet_lab.evaluation.inference.logits", _never)
    again = evaluate(run, CPU, REGISTRY, part="test")
    kept = stored(Run(run), "test")
    assert kept is not None
    for found in (again, kept):
        assert (found.probabilities == first.probabilities).all()
        assert (found.paths, found.digests, found.origin) == (first.paths, first.digests, first.origin)
    with pytest.raises(AssertionError, match="called"):
        evaluate(run, CPU, REGISTRY, part="test", again=True)
    with pytest.raises(AssertionError, match="called"):
        evaluate(run, choose("cpu", "bf16"), REGISTRY, part="test")


def _never(*_: object) -> None:
    raise AssertionError("called")


def test_changed_weights_or_images_or_damage_invalidate_predictions(run: Path, paintings: Path, tmp_path: Path) -> None:
    data, copy = shutil.copytree(paintings, tmp_path / "data"), shutil.copytree(run, tmp_path / "run")
    record = json.loads((copy / "run.json").read_text())
    record["data"]["source"] = str(data)
    (copy / "run.json").write_text(json.dumps(record))
    first = evaluate(copy, CPU, REGISTRY)
    metadata, tensors = checkpoint.read(copy / "best.safetensors")
    model = checkpoint.restore(metadata, tensors, "")
    with torch.no_grad():
        model.fc.bias += torch.tensor([5.0, 0, 0])
    checkpoint.write(copy / "best.safetensors", model, metadata)
    assert stored(Run(copy)) is None
    second = evaluate(copy, CPU, REGISTRY)
    assert (second.probabilities[:, 0] > first.probabilities[:, 0]).all()
    kept = Run(copy).predictions("test")
    kept.write_bytes(b"cut")
    assert (evaluate(copy, CPU, REGISTRY).probabilities == second.probabilities).all()
    kept.write_bytes(b"cut")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        stored(Run(copy))
    Image.new("RGB", (9, 12), (60, 200, 40)).save(data / second.paths[0])
    third = evaluate(copy, CPU, REGISTRY)
    changed = (third.probabilities != second.probabilities).any(1)
    assert changed.tolist() == [True] + [False] * (len(third) - 1)


REMEDY = "remove the file and score the run again with `resnet-lab eval {run} --split test`"


def swap_classes(copy: Path) -> None:
    path = Run(copy).predictions("test")
    found = Predictions.read(path)
    replace(found, classes=("red", "green", "blue")).write(path)


def swap_labels(copy: Path) -> None:
    text = (copy / "splits.csv").read_text()
    (copy / "splits.csv").write_text(text.replace('"red","test"', '"?","test"').replace('"blue","test"', '"red","test"')
                                     .replace('"?","test"', '"blue","test"'))  # fmt: skip


def change_an_image(copy: Path) -> None:
    lines = (copy / "splits.csv").read_text().splitlines(keepends=True)
    number = next(number for number, line in enumerate(lines) if line.rstrip().endswith('"test"'))
    lines[number] = lines[number].replace(".png", "-2.png")
    (copy / "splits.csv").write_text("".join(lines))


def copy_the_training_part(copy: Path) -> None:
    evaluate(copy, CPU, REGISTRY, part="train")
    shutil.copy(Run(copy).predictions("train"), Run(copy).predictions("test"))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (copy_the_training_part, "of the part train, not of test"),
        (swap_classes, "of other classes than {run}/run.json"),
        (swap_labels, "of other images or labels than the test part in {run}/splits.csv"),
        (change_an_image, "of other images or labels than the test part in {run}/splits.csv"),
    ],
)
def test_predictions_of_something_else_are_refused(
    run: Path, tmp_path: Path, change: Callable[[Path], None], problem: str
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    change(copy)
    with pytest.raises(CheckpointError) as failure:
        stored(Run(copy))
    path = Run(copy).predictions("test")
    assert str(failure.value) == f"{path}: the predictions are {problem.format(run=copy)}; {REMEDY.format(run=copy)}"


def test_kept_predictions_of_other_classes_are_made_again(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    swap_classes(copy)
    assert evaluate(copy, CPU, REGISTRY).classes == ("blue", "green", "red")


def test_all_figures_with_the_run_s_numbers_of_training_images(run: Path) -> None:
    predictions = evaluate(run, CPU, REGISTRY)
    summary = summary_of(Run(run), predictions)
    assert summary.abundance is not None
    with (run / "splits.csv").open() as file:
        labels = [row["label"] for row in csv.DictReader(file) if row["split"] == "train"]
    assert summary.abundance.train_images == tuple(labels.count(name) for name in predictions.classes)
    assert summary.headline["accuracy"].value == np.mean(predictions.predicted == predictions.labels)


def test_an_empty_part(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    text = (copy / "splits.csv").read_text().replace('"val"', '"train"')
    (copy / "splits.csv").write_text(text)
    with pytest.raises(DataError) as failure:
        evaluate(copy, CPU, REGISTRY, part="val")
    assert str(failure.value) == (
        f"{copy}/splits.csv: no image is in the val part; name a part that has some with --split"
    )


def test_a_run_without_weights(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "best.safetensors").unlink()
    with pytest.raises(RunError) as failure:
        evaluate(copy, CPU, REGISTRY)
    assert str(failure.value) == (
        f"{copy}: the run has no weights yet (no best.safetensors): its first epoch has not ended, or they were "
        "removed; "
        f"let it train, or resume with `resnet-lab train --resume {copy}`"
    )


def test_a_run_that_ended_before_its_first_weights(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "best.safetensors").unlink()
    Run(copy).write({**Run(copy).read(), "status": "epoch 1, step 2 of 9: the training loss is nan"})
    with pytest.raises(RunError) as failure:
        evaluate(copy, CPU, REGISTRY)
    assert str(failure.value) == (
        f"{copy}: the run has no weights (no best.safetensors), since it ended: epoch 1, step 2 of 9: the training "
        "loss is nan"
    )


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_outputs_that_are_no_numbers(run: Path, tmp_path: Path, value: float) -> None:
    """An infinite negative logit is a probability of 0, and as little an answer."""
    copy = shutil.copytree(run, tmp_path / "run")
    metadata, tensors = checkpoint.read(copy / "best.safetensors")
    tensors["fc.bias"][0] = value
    checkpoint.write(copy / "best.safetensors", checkpoint.restore(metadata, tensors, ""), metadata)
    with pytest.raises(CheckpointError) as failure:
        evaluate(copy, CPU, REGISTRY)
    assert str(failure.value) == (
        f"{copy}/best.safetensors: the network's outputs are non-finite; with fp16, try "
        "--precision fp32, otherwise train it again with a lower learning rate"
    )


def test_an_image_of_another_class_than_in_the_training(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    swap_labels(copy)
    with pytest.raises(DataError) as failure:
        evaluate(copy, CPU, REGISTRY)
    assert re.search(
        rf"\.png is of the class '\w+' now, and of '\w+' in {copy}/splits\.csv; restore what changed, or score all "
        "images with --data ",
        str(failure.value),
    )


def test_a_class_of_the_run_s_own_images_is_not_left_out(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    with pytest.raises(ConfigError) as failure:
        evaluate(copy, CPU, REGISTRY, class_map={"red": ""})
    assert str(failure.value) == (
        "--class-map 'red=': the run's own parts are scored whole; name other images with --data to leave a class out"
    )
