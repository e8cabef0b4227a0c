import csv
import errno
import json
import os
import re
import shutil
import signal
from hashlib import sha256
from importlib.metadata import version
from itertools import count
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import balanced_accuracy_score

import resnet_lab
from resnet_lab.core.errors import CheckpointError, ConfigError, DataError, PluginError, ResNetLabError, RunError
from resnet_lab.core.history import Epoch
from resnet_lab.core.run_folder import Run
from resnet_lab.data.config import DataConfig
from resnet_lab.device import choose, memory
from resnet_lab.evaluation.inference import logits
from resnet_lab.evaluation.scoring import evaluate
from resnet_lab.network import checkpoint, zoo
from resnet_lab.network.plugins import load
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.interruption import Interrupted
from resnet_lab.train.learner import Learner
from resnet_lab.train.progress import TrainingWatcher
from resnet_lab.train.record import recorded_choices
from resnet_lab.train.tally import DivergedError
from resnet_lab.train.training import resume, train

SPEC = zoo.get("resnet20").modified(input_size=8, in_channels=1)
QUICK = TrainConfig(epochs=3, lr=1e-2, precision="fp32", device="cpu")


class Listener(TrainingWatcher):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.phases: dict[str, int] = {}
        self.rows: list[Epoch] = []

    def begin(self, what: str, total: int, done: int = 0) -> None:
        self.phase = what
        self.phases[what] = -total

    def advance(self) -> None:
        self.phases[self.phase] += 1

    def say(self, text: str) -> None:
        self.notes.append(text)

    def epoch(self, epoch: Epoch, best: Epoch) -> None:
        self.rows.append(epoch)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Listener]:
    folder, listener = tmp_path_factory.mktemp("runs") / "run", Listener()
    train(SPEC.modified(conv="depthwise"), "digits", QUICK, folder=folder, command=["mine"], watcher=listener)
    return folder, listener


def test_the_folder_holds_what_is_documented(trained: tuple[Path, Listener]) -> None:
    folder, listener = trained
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock", "best.safetensors", "curves.png", "last.safetensors", "metrics.csv", "predictions", "run.json",
        "splits.csv", "times.csv",
    ]  # fmt: skip
    record = json.loads((folder / "run.json").read_text())
    assert (record["status"], record["command"]) == ("finished", ["mine"])
    assert record["spec_hash"] == SPEC.modified(conv="depthwise", num_classes=10).hash
    parts = pd.read_csv(folder / "splits.csv")["split"].value_counts()
    assert record["data"]["images"] == parts.to_dict()
    assert parts.sum() == len(load_digits().target)
    assert record["config"] == QUICK.model_dump(mode="json")
    assert record["versions"]["torch"] == version("torch")
    assert record["device"]["dtype"] == "float32"
    metrics = pd.read_csv(folder / "metrics.csv")
    assert metrics["epoch"].tolist() == [1, 2, 3]
    assert metrics["val_loss"].tolist() == pytest.approx([row.val_loss for row in listener.rows], rel=1e-5)
    best = metrics.sort_values(["val_macro_accuracy", "val_loss"], ascending=[False, True])["epoch"].iloc[0]
    assert record["best_epoch"] == best
    assert record["seconds"] == pytest.approx(pd.read_csv(folder / "times.csv")["seconds"].sum(), rel=1e-3)
    with Image.open(folder / "curves.png") as image:
        assert image.size == (1350, 540)


def test_the_watcher_is_notified(trained: tuple[Path, Listener]) -> None:
    _, listener = trained
    assert "depthwise in block basic: each is followed by a 1x1 convolution" in listener.notes[0]
    assert listener.notes[1] == (
        "1797 images of 10 classes; training on cpu in fp32 (as asked), channels-last (no reordering between "
        "convolutions), compiled where measured to be faster"
    )
    assert listener.phases == {"decoding": 0, "training": 0}


def test_the_test_scores_are_those_of_the_best_weights(trained: tuple[Path, Listener]) -> None:
    """Computed again from the files alone, with scikit-learn's pixels and scores."""
    folder, _ = trained
    with (folder / "splits.csv").open() as file:
        rows = list(csv.DictReader(file))
    chosen = [int(row["path"].removeprefix("digits/")) for row in rows if row["split"] == "test"]
    taught = [int(row["path"].removeprefix("digits/")) for row in rows if row["split"] == "train"]
    pixels = np.round(load_digits().images / 16 * 255) / 255
    labels = load_digits().target
    assert all(row["label"] == str(labels[index]) for index, row in enumerate(rows))
    x = torch.tensor((pixels[chosen] - pixels[taught].mean()) / pixels[taught].std(), dtype=torch.float32)
    with torch.no_grad():
        predictions = resnet_lab.load(folder / "best.safetensors")(x.unsqueeze(1)).argmax(1)
    record = json.loads((folder / "run.json").read_text())
    assert record["test"]["macro_accuracy"] == pytest.approx(balanced_accuracy_score(labels[chosen], predictions))
    assert record["test"]["n"] == len(chosen)
    metadata, _ = checkpoint.read(folder / "best.safetensors")
    assert metadata.classes == tuple("0123456789")
    assert metadata.mean == pytest.approx([pixels[taught].mean()])
    assert metadata.std == pytest.approx([pixels[taught].std()])


def test_near_copies_are_optional_in_older_records(trained: tuple[Path, Listener], tmp_path: Path) -> None:
    shutil.copytree(trained[0], tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["data"].pop("near_copies") == "on"
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    _, data, _ = recorded_choices(Run.open(tmp_path / "run"))
    assert (data.near_copies, data.split_file) == ("on", tmp_path / "run" / "splits.csv")


def test_a_folder_that_exists_is_left_alone(trained: tuple[Path, Listener]) -> None:
    folder, _ = trained
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    with pytest.raises(RunError, match="exists already and is left as it is"):
        train(SPEC, "digits", QUICK, folder=folder)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.fixture
def two_colours(tmp_path: Path) -> Path:
    for name, colour in (("a", 10), ("b", 200)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(6):
            Image.new("L", (8, 8), colour + number).save(tmp_path / "data" / name / f"{number}.png")
    return tmp_path / "data"


def test_what_is_wrong_with_the_data_is_found_before_the_folder_is_made(tmp_path: Path, two_colours: Path) -> None:
    (two_colours / "b" / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of 12 files cannot be used, the first b/0\.png \(empty file\)"):
        train(SPEC, DataConfig(source=str(two_colours), strict=True), QUICK, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_single_images_are_refused_where_batch_norm_has_nothing_to_average(tmp_path: Path, two_colours: Path) -> None:
    """4 pixels are 1 in the last stage; 8 are 4, and group norm needs no batch."""
    config = QUICK.model_copy(update={"batch_size": 1, "epochs": 1})
    with pytest.raises(ConfigError) as failure:
        train(SPEC.modified(input_size=4), str(two_colours), config, folder=tmp_path / "run")
    assert str(failure.value) == (
        "this network cannot learn from a single image: Expected more than 1 value per channel when training, "
        "got input size torch.Size([1, 64, 1, 1]); raise batch_size, or lower accumulate"
    )
    assert not (tmp_path / "run").exists()
    train(SPEC, str(two_colours), config, folder=tmp_path / "larger")
    train(SPEC.modified(input_size=4, norm="group(groups=4)"), str(two_colours), config, folder=tmp_path / "grouped")


class Impatient(TrainingWatcher):
    """Sends a signal after so many steps."""

    def __init__(self, steps: int, number: signal.Signals = signal.SIGTERM) -> None:
        self.left = steps
        self.number = number

    def step(self, epoch: int, epochs: int, latest: tuple[float, float] | None, images_per_second: float) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)


FULL = QUICK.model_copy(
    update={
        "epochs": 3, "batch_size": 2, "ema": 0.9, "augment": ("flip", "mixup"), "balance": "sampling", "accumulate": 2,
    }
)  # fmt: skip


def digests(folder: Path) -> dict[str, str]:
    names = ("best.safetensors", "last.safetensors", "metrics.csv")
    return {name: sha256((folder / name).read_bytes()).hexdigest() for name in names}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A set and a run of 3 epochs of 5 steps on it."""
    data = tmp_path_factory.mktemp("data")
    for name, colour in (("a", 10), ("b", 200)):
        (data / name).mkdir()
        for number in range(6):
            Image.new("L", (8, 8), colour + number).save(data / name / f"{number}.png")
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(SPEC.modified(dropout=0.2), str(data), FULL, folder=folder)
    return data, folder


def test_activations_computed_again_change_no_bit(tmp_path: Path, undisturbed: tuple[Path, Path]) -> None:
    data, whole = undisturbed
    config = FULL.model_copy(update={"checkpoint_activations": True})
    train(SPEC.modified(dropout=0.2), str(data), config, folder=tmp_path / "run")
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "run" / "metrics.csv").drop(columns=["seconds", "images_per_second"], errors="ignore"),
        pd.read_csv(whole / "metrics.csv").drop(columns=["seconds", "images_per_second"], errors="ignore"),
    )
    assert digests(tmp_path / "run")["last.safetensors"] == digests(whole)["last.safetensors"]


def test_activations_are_not_computed_again_in_compiled_code(tmp_path: Path, two_colours: Path) -> None:
    config = QUICK.model_copy(update={"checkpoint_activations": True, "compile": "on"})
    with pytest.raises(ConfigError) as failure:
        train(SPEC, str(two_colours), config, folder=tmp_path / "run")
    assert str(failure.value) == (
        "checkpoint_activations and compile = on exclude each other: compiled code decides itself what it computes "
        "again; give --compile off, or leave --checkpoint-activations out"
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("steps", [1, 4, 5, 8])
def test_an_interrupted_training_resumes_bit_for_bit(
    tmp_path: Path, undisturbed: tuple[Path, Path], number: signal.Signals, steps: int
) -> None:
    data, whole = undisturbed
    per_epoch = len(pd.read_csv(whole / "splits.csv").query("split == 'train'")) // 2
    with pytest.raises(Interrupted):
        train(
            SPEC.modified(dropout=0.2), str(data), FULL, folder=tmp_path / "run", watcher=Impatient(steps, number)
        )  # fmt: skip
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == f"stopped by {number.name}"
    listener = Listener()
    resume(tmp_path / "run", watcher=listener)
    done = (steps - 1) // per_epoch  # an epoch is over when it has been validated
    assert f"resuming at epoch {done + 1} after {steps - done * per_epoch} steps" in listener.notes
    assert digests(tmp_path / "run") == digests(whole)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"
    assert not (tmp_path / "run" / "state.safetensors").exists()


def test_the_mean_of_the_last_epochs_resumes_bit_for_bit(tmp_path: Path, two_colours: Path) -> None:
    """Stopped after the first epoch that it takes in; its weights are saved, and not those of the last epoch."""
    config = FULL.model_copy(update={"ema": 0.0, "average_last": 2})
    spec = SPEC.modified(dropout=0.2)
    train(spec, str(two_colours), config, folder=tmp_path / "whole")
    train(spec, str(two_colours), config.model_copy(update={"average_last": 0}), folder=tmp_path / "none")
    per_epoch = len(pd.read_csv(tmp_path / "whole" / "splits.csv").query("split == 'train'")) // 2
    with pytest.raises(Interrupted):
        train(spec, str(two_colours), config, folder=tmp_path / "run", watcher=Impatient(2 * per_epoch + 1))
    resume(tmp_path / "run")
    assert digests(tmp_path / "run") == digests(tmp_path / "whole")
    assert digests(tmp_path / "none")["last.safetensors"] != digests(tmp_path / "whole")["last.safetensors"]


def test_lamb_resumes_bit_for_bit(tmp_path: Path, two_colours: Path) -> None:
    """Its count of steps too, which is a group's."""
    config = FULL.model_copy(update={"optimizer": "lamb", "weight_decay": 0.02, "decay_norms": False})
    train(SPEC, str(two_colours), config, folder=tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(SPEC, str(two_colours), config, folder=tmp_path / "run", watcher=Impatient(3))
    resume(tmp_path / "run")
    assert digests(tmp_path / "run") == digests(tmp_path / "whole")
    versions = json.loads((tmp_path / "run" / "run.json").read_text())["versions"]
    assert versions["timm"] == version("timm")


def test_a_finished_training_is_not_resumed(undisturbed: tuple[Path, Path]) -> None:
    _, folder = undisturbed
    with pytest.raises(RunError) as failure:
        resume(folder)
    assert str(failure.value) == (f"{folder}: this training is finished; `resnet-lab eval {folder}` scores it")


@pytest.fixture
def stopped(tmp_path: Path, two_colours: Path) -> Path:
    with pytest.raises(Interrupted):
        train(SPEC, str(two_colours), FULL, folder=tmp_path / "run", watcher=Impatient(6))
    return tmp_path / "run"


def test_other_images_end_a_resumption(stopped: Path, two_colours: Path) -> None:
    Image.new("L", (8, 8), 99).save(two_colours / "a" / "new.png")
    with pytest.raises(RunError) as failure:
        resume(stopped)
    assert str(failure.value) == (
        f"{stopped} cannot be resumed: {two_colours} has changed since (12 images then, 13 now); "
        "restore the images, or start a new run"
    )
    (two_colours / "a" / "new.png").unlink()
    Image.new("L", (8, 8), 77).save(two_colours / "a" / "0.png")
    with pytest.raises(RunError, match=r"\(12 images as then, but not the same ones\); restore the images"):
        resume(stopped)


def test_two_processes_do_not_train_in_one_folder(stopped: Path) -> None:
    with Run.open(stopped).locked(), pytest.raises(RunError) as failure:
        resume(stopped)
    assert str(failure.value) == (
        f"{stopped}: another process is training in this run folder; wait for it, or stop it first"
    )


def test_a_plugin_that_is_missing_on_resumption(stopped: Path) -> None:
    record = json.loads((stopped / "run.json").read_text())
    (stopped / "run.json").write_text(json.dumps({**record, "plugins": {"some-plugin": "1.2"}}))
    with pytest.raises(PluginError) as failure:
        resume(stopped)
    assert str(failure.value) == (
        "the run was made with some-plugin 1.2, and it is not installed: pip install some-plugin==1.2"
    )


def test_a_damaged_state(stopped: Path) -> None:
    content = bytearray((stopped / "state.safetensors").read_bytes())
    content[-1] ^= 1
    (stopped / "state.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError) as failure:
        resume(stopped)
    assert str(failure.value) == (
        f"{stopped}/state.safetensors: the training state file is damaged: its content does not match its checksum; "
        "copy it again"
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"step": -1}, "step: input should be greater than or equal to 0, got -1"),
        ({"step": "1"}, "step: input should be a valid integer, got '1'"),
        ({"history": [{"epoch": 1}]}, "history.0.learning_rate: field required"),
        ({"seconds": float("inf")}, "seconds: input should be less than or equal to 10000000000, got inf"),
        ({"scaler": []}, "scaler: input should be a table, got []"),
    ],
)
def test_a_state_of_another_form(stopped: Path, changes: dict[str, object], problem: str) -> None:
    path = stopped / "state.safetensors"
    header, tensors = checkpoint.read_sealed(path, "resnet_lab_training", 1, "state")
    checkpoint.write_sealed(path, "resnet_lab_training", {**header, **changes}, tensors)
    with pytest.raises(CheckpointError) as failure:
        resume(stopped)
    assert str(failure.value) == f"{path}: {problem}"


@pytest.mark.parametrize(
    ("name", "tensor", "problem"),
    [
        ("exp_avg", None, "parameter 0 has exp_avg_sq, step, not exp_avg, exp_avg_sq, step"),
        ("exp_avg", torch.tensor(0.5), r"exp_avg of parameter 0 is \(\) of torch.float32"),
        ("step", torch.tensor(-5.0), "step of parameter 0 is negative"),
        ("step", torch.ones(1), r"step of parameter 0 is \(1,\) of torch.float32"),
        ("max_exp_avg_sq", torch.ones(1), "parameter 0 has exp_avg, exp_avg_sq, max_exp_avg_sq, step, not "),
    ],
)
def test_a_state_with_an_entry_of_another_form(
    stopped: Path, name: str, tensor: torch.Tensor | None, problem: str
) -> None:
    path = stopped / "state.safetensors"
    header, tensors = checkpoint.read_sealed(path, "resnet_lab_training", 1, "state")
    tensors.pop(f"optimizer.0.{name}", None)
    added = {} if tensor is None else {f"optimizer.0.{name}": tensor}
    checkpoint.write_sealed(path, "resnet_lab_training", header, {**tensors, **added})
    with pytest.raises(CheckpointError, match=f"of another network or optimiser than the run describes: {problem}"):
        resume(stopped)
    moved = {key.replace("optimizer.0.", "optimizer.-1."): value for key, value in {**tensors, **added}.items()}
    checkpoint.write_sealed(path, "resnet_lab_training", header, moved)
    with pytest.raises(CheckpointError, match="than the run describes: there is no parameter -1"):
        resume(stopped)


def test_a_state_with_an_impossible_accuracy(stopped: Path) -> None:
    path = stopped / "state.safetensors"
    header, tensors = checkpoint.read_sealed(path, "resnet_lab_training", 1, "state")
    header["history"][0]["val_accuracy"] = 9.0
    checkpoint.write_sealed(path, "resnet_lab_training", header, tensors)
    with pytest.raises(CheckpointError) as failure:
        resume(stopped)
    assert str(failure.value) == f"{path}: epoch 1: val_accuracy is 9, and accuracies are in [0, 1]"
    header["history"][0] |= {"val_accuracy": 0.5, "train_loss": float("inf")}
    checkpoint.write_sealed(path, "resnet_lab_training", header, tensors)
    with pytest.raises(CheckpointError) as failure:
        resume(stopped)
    assert str(failure.value) == f"{path}: epoch 1: train_loss is inf, and should be finite"


def test_a_state_of_fewer_epochs_than_the_table(stopped: Path) -> None:
    path = stopped / "state.safetensors"
    header, tensors = checkpoint.read_sealed(path, "resnet_lab_training", 1, "state")
    done, before = len(header["history"]), (stopped / "metrics.csv").read_bytes()
    checkpoint.write_sealed(path, "resnet_lab_training", {**header, "history": [], "step": 0}, tensors)
    with pytest.raises(RunError) as failure:
        resume(stopped)
    assert str(failure.value) == (
        f"{path} is of epoch 1 after 0 steps, and metrics.csv has {done} epochs, so that one of them is of another "
        "training; restore the run folder"
    )
    assert (stopped / "metrics.csv").read_bytes() == before


def test_a_record_with_more_in_its_counts_or_without_sources(stopped: Path, two_colours: Path) -> None:
    """Keys of later versions are left alone."""
    record = json.loads((stopped / "run.json").read_text())
    record["data"]["images"]["remark"] = "all"
    (stopped / "run.json").write_text(json.dumps({**record, "plugin_sources": None}))
    Image.new("L", (8, 8), 99).save(two_colours / "a" / "new.png")
    with pytest.raises(RunError, match=r"has changed since \(12 images then, 13 now\)"):
        resume(stopped)


def test_a_state_beyond_the_epoch_or_of_other_classes(stopped: Path) -> None:
    path = stopped / "state.safetensors"
    header, tensors = checkpoint.read_sealed(path, "resnet_lab_training", 1, "state")
    checkpoint.write_sealed(path, "resnet_lab_training", {**header, "step": 2**52}, tensors)
    with pytest.raises(CheckpointError, match=rf"step {2**52} of an epoch of \d+ steps; the state is damaged"):
        resume(stopped)
    checkpoint.write_sealed(path, "resnet_lab_training", header, {**tensors, "tally": tensors["tally"][:1].clone()})
    with pytest.raises(CheckpointError, match=r"of another network or optimiser than the run describes: tally is \(1"):
        resume(stopped)
    for tally, problem in (
        (tensors["tally"] - 1e9, "a sum is negative or non-finite"),
        (torch.zeros_like(tensors["tally"]), "no image was seen in 1 steps"),
    ):
        checkpoint.write_sealed(path, "resnet_lab_training", {**header, "step": 1}, {**tensors, "tally": tally})
        with pytest.raises(CheckpointError, match=f"than the run describes: tally: {problem}"):
            resume(stopped)


def test_a_full_disk_leaves_the_last_state(tmp_path: Path, two_colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second state finds no room."""
    written = []
    real = os.replace

    def replace_or_fail(source: str, target: Path) -> None:
        if Path(target).name == "state.safetensors":
            written.append(target)
            if len(written) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace_or_fail)
    with pytest.raises(RunError) as failure:
        train(SPEC, str(two_colours), FULL, folder=tmp_path / "run")
    assert str(failure.value) == f"{tmp_path}/run/state.safetensors: cannot be written: No space left on device"
    assert not list((tmp_path / "run").glob(".state*"))
    monkeypatch.setattr(os, "replace", real)
    listener = Listener()
    resume(tmp_path / "run", watcher=listener)
    assert "resuming at epoch 2 after 0 steps" in listener.notes


def test_more_micro_batches_than_images(tmp_path: Path, two_colours: Path) -> None:
    config = QUICK.model_copy(update={"batch_size": 2, "accumulate": 3})
    with pytest.raises(ConfigError) as failure:
        train(SPEC, str(two_colours), config, folder=tmp_path / "run")
    assert str(failure.value) == (
        "accumulate is 3, and the smallest share of a step has 2 images; give at most as many"
    )


def test_more_copies_of_an_image_than_a_step_has_images(tmp_path: Path, two_colours: Path) -> None:
    config = QUICK.model_copy(update={"batch_size": 2, "repeats": 100_000})
    with pytest.raises(ConfigError) as failure:
        train(SPEC, str(two_colours), config, folder=tmp_path / "run")
    assert str(failure.value) == "repeats is 100000, and a step has 2 images; give at most as many"
    assert not (tmp_path / "run").exists()


def test_a_warm_up_as_long_as_the_training(tmp_path: Path, two_colours: Path) -> None:
    with pytest.raises(ConfigError, match="warmup_epochs is 3"):
        train(SPEC, str(two_colours), QUICK.model_copy(update={"warmup_epochs": 3.0}), folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_batch_larger_than_the_set(tmp_path: Path, two_colours: Path) -> None:
    with pytest.raises(ConfigError) as failure:
        train(SPEC, str(two_colours), QUICK.model_copy(update={"batch_size": 64}), folder=tmp_path / "run")
    assert re.fullmatch(
        r"batch_size is 64, and the training part has \d+ images; give at most as many", str(failure.value)
    )


def test_a_step_beyond_the_memory_is_refused_before_anything_is_decoded(
    two_colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "total_memory", lambda: 2**15)
    listener, config = Listener(), QUICK.model_copy(update={"batch_size": 4, "accumulate": 2})
    with pytest.raises(ConfigError, match="a training step on 2 images of 8 x 8 pixels takes"):
        train(SPEC, str(two_colours), config, folder=tmp_path / "run", watcher=listener)
    assert listener.phases == {}
    assert not (tmp_path / "run").exists()


def test_no_more_memory_is_asked_for_than_the_training_part_needs(
    two_colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default batch size comes down to the training part's 2 images, of 12."""
    asked = []

    def record(network: object, shape: tuple[int, ...], *_: object, **__: object) -> None:
        asked.append(shape[0])

    monkeypatch.setattr("resnet_lab.train.preparation.require_memory", record)
    parts = {0: "train", 1: "val"}
    rows = [f"{name}/{number}.png,{name},{parts.get(number, 'test')}" for name in "ab" for number in range(6)]
    (tmp_path / "split.csv").write_text("\n".join(["path,label,split", *rows]))
    data = DataConfig(source=str(two_colours), split_file=tmp_path / "split.csv")
    train(SPEC, data, QUICK.model_copy(update={"epochs": 1}), folder=tmp_path / "run")
    assert asked == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"dropout": 0.3}], ids=["plain", "dropout"])
def test_the_same_seed_writes_the_same_bytes(tmp_path: Path, two_colours: Path, changes: dict) -> None:
    """Whatever was drawn from torch's global generator before."""
    config, written = QUICK.model_copy(update={"augment": ("flip",)}), []
    for number in range(2):
        torch.rand(number + 1)
        train(SPEC.modified(**changes), str(two_colours), config, folder=tmp_path / str(number))
        written.append(sha256((tmp_path / str(number) / "last.safetensors").read_bytes()).hexdigest())
    assert written[0] == written[1]


def test_a_divergence_is_on_record(tmp_path: Path, two_colours: Path) -> None:
    config = QUICK.model_copy(update={"lr": 1e30, "optimizer": "sgd", "batch_size": 4})
    with pytest.raises(ResNetLabError, match="the training loss is"):
        train(SPEC.modified(norm="none"), str(two_colours), config, folder=tmp_path / "run")
    assert "the training loss is" in json.loads((tmp_path / "run" / "run.json").read_text())["status"]


def test_a_divergence_leaves_the_state_before_it(
    tmp_path: Path, two_colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Learner.step

    def diverging(self: Learner, x: torch.Tensor, y: torch.Tensor, rate: float) -> Any:
        loss, weight, outputs = real(self, x, y, rate)
        calls.append(1)
        return (loss * nan if len(calls) == 8 else loss), weight, outputs

    calls: list[int] = []
    monkeypatch.setattr(Learner, "step", diverging)
    with pytest.raises(DivergedError) as failure:
        train(SPEC, str(two_colours), FULL, folder=tmp_path / "run")
    assert re.fullmatch(
        r"epoch 2, step \d of \d: the training loss is nan at learning rate 0\.0\d+; try a lower rate \(--lr\), "
        r"--clip-norm 1, or --precision fp32; the state before it, of epoch 2 after 0 steps, is kept in \S+safetensors",
        str(failure.value),
    )
    assert (tmp_path / "run" / "state.safetensors").exists()


def test_an_overflowing_validation_keeps_earlier_best_weights(
    tmp_path: Path, two_colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflowing(*args: Any) -> torch.Tensor:
        calls.append(1)
        return logits(*args) * (nan if len(calls) == 3 else 1)

    calls: list[int] = []
    monkeypatch.setattr("resnet_lab.train.loop.logits", overflowing)
    with pytest.raises(DivergedError, match="epoch 3, step 1 of 1: the outputs for 2 of 2 validation images are non-"):
        train(SPEC, str(two_colours), QUICK, folder=tmp_path / "run")
    run, listener = Run(tmp_path / "run"), Listener()
    assert [row["epoch"] for row in run.epochs()] == [1, 2]
    assert run.read()["status"].startswith("epoch 3, step 1 of 1: the outputs for 2 of 2 validation images")
    evaluate(run.folder, choose("cpu", "fp32"), load(only=[]), watcher=listener)
    assert f"{run.folder}: the training has not finished ({run.read()['status']})" in listener.notes[0]


def test_a_test_part_that_overflows_is_not_scored(
    tmp_path: Path, two_colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnet_lab.train.trainer.logits", lambda *args: logits(*args) - inf)
    with pytest.raises(DivergedError, match=r"epoch \d, step 1 of 1: the outputs for 2 of 2 test images are non-"):
        train(SPEC, str(two_colours), QUICK, folder=tmp_path / "run")
    record = Run(tmp_path / "run").read()
    assert "test" not in record
    assert "2 of 2 test images are non-finite" in record["status"]


@pytest.mark.slow
def test_the_default_command_learns_digits(tmp_path: Path) -> None:
    """ResNet-20 at 16 pixels with the default configuration: 0.989 to 1 over eight seeds when it was chosen."""
    result = train(zoo.get("resnet20").modified(input_size=16), "digits", folder=tmp_path / "run")
    assert result.test.macro_accuracy >= 0.98


def test_curves_are_drawn_when_it_costs_little_and_at_the_end(
    tmp_path: Path, two_colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, drawn = count(), []

    def draw(epochs: list[object], title: str, best_epoch: int, sizes: dict[int, int]) -> bytes:
        drawn.append(len(epochs))
        for _ in range(1000):
            next(clock)
        return b"PNG"

    monkeypatch.setattr("resnet_lab.train.trainer.monotonic", lambda: next(clock))
    monkeypatch.setattr("resnet_lab.train.trainer.draw_curves", draw)
    train(
        SPEC,
        str(two_colours),
        TrainConfig(epochs=4, batch_size=2, compile="off", save_minutes=1e6),
        folder=tmp_path / "run",
    )
    assert drawn == [1, 4]


@pytest.mark.slow
def test_bf16_is_not_trained_with_where_its_gradients_are_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ResNet-20 has divided by 2 before its last stride."""
    monkeypatch.setattr("resnet_lab.device.placement.computes_bf16", lambda device: True)
    config = TrainConfig(epochs=1, batch_size=512, device="cpu", compile="off")
    for size, precision in ((2, "fp32"), (3, "bf16")):
        folder = tmp_path / str(size)
        train(zoo.get("resnet20").modified(input_size=size), "digits", config, folder=folder)
        assert Run(folder).read()["device"]["precision"] == precision
    asked = config.model_copy(update={"precision": "bf16"})
    with pytest.raises(ConfigError, match="a stride of 2 over 1 x 1 pixels, whose bf16 gradients are wrong on a CPU"):
        train(zoo.get("resnet20").modified(input_size=2), "digits", asked, folder=tmp_path / "asked")
    assert not (tmp_path / "asked").exists()
