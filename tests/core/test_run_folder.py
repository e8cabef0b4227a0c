import errno
import json
import os
import re
from pathlib import Path

import pytest

from resnet_lab.core.errors import RunError
from resnet_lab.core.files import write_atomically
from resnet_lab.core.run_folder import Run
from tests.run_records import run_record

SCORES = {
    **dict.fromkeys(("accuracy", "macro_accuracy", "macro_precision", "macro_recall", "macro_f1"), 0.5), "n": 2,
}  # fmt: skip


def test_a_record_comes_back(tmp_path: Path) -> None:
    content = run_record(status="running")
    Run(tmp_path / "runs" / "first").create(content, b"path,label,split\n")
    run = Run.open(tmp_path / "runs" / "first")
    assert run.read() == {"format": 1, **content}
    assert run.splits.read_bytes() == b"path,label,split\n"
    content = run_record(status="finished", of_a_later_version=["ä", "b"])
    run.write(content)
    assert run.read() == {"format": 1, **content}
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["first"]


def test_a_folder_is_never_used_twice(tmp_path: Path) -> None:
    with pytest.raises(RunError) as failure:
        Run(tmp_path).create({}, b"")
    assert str(failure.value) == f"{tmp_path} exists already and is left as it is; choose another name or remove it"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError) as failure:
        Run(tmp_path / "file" / "run").create({}, b"")
    assert re.fullmatch(
        rf"{tmp_path}/file/run: the run folder cannot be made: (Not a directory|File exists)", str(failure.value)
    )


def test_a_folder_is_made_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(RunError, match=r"run\.json: cannot be written: No space left on device"):
        Run(tmp_path / "run").create({"status": "running"}, b"")
    assert list(tmp_path.iterdir()) == []


def test_permissions_are_those_of_any_new_folder(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    Run(tmp_path / "run").create({}, b"")
    assert (tmp_path / "run").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_one_process_at_a_time(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.create({}, b"")
    with run.locked(), pytest.raises(RunError) as failure, Run(tmp_path / "run").locked():
        pass
    assert str(failure.value) == (
        f"{tmp_path}/run: another process is training in this run folder; wait for it, or stop it first"
    )
    with run.locked():
        pass


def test_best_weights_that_no_state_names_are_removed(tmp_path: Path) -> None:
    """A kill may come between the weights of an epoch and the state that names them."""
    run = Run(tmp_path)
    for epoch in (2, 3):
        run.best_of_epoch(epoch).write_text(f"of epoch {epoch}")
    run.best.write_text("of epoch 1")
    run.settle_best(2)
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]
    assert run.best.read_text() == "of epoch 2"
    run.settle_best(2)
    assert run.best.read_text() == "of epoch 2"


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(RunError) as failure:
        Run.open(tmp_path)
    assert str(failure.value) == (
        f"{tmp_path} is not a run folder: it holds no run.json; name one that `resnet-lab train` made"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("[]", "input should be a table, got []"),
        ("{}", "format: field required"),
        (json.dumps({**run_record(), "format": "x"}), "format: input should be a valid integer, got 'x'"),
        (json.dumps({**run_record(plugin_files=[{}]), "format": 1}), "plugin_files.0.path: field required"),
        (
            json.dumps(
                {**run_record(device={"name": "x", "type": "cpu", "dtype": "float32", "kernels": [1]}), "format": 1}
            ),
            "device.kernels.0: input should be a valid string, got 1",
        ),
        (json.dumps({**run_record(plugins={"a": 1}), "format": 1}), "plugins.a: input should be a valid string, got 1"),
    ],
)
def test_a_damaged_record(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError) as failure:
        Run.open(tmp_path).read()
    assert str(failure.value) == (
        f"{tmp_path}/run.json: damaged: {problem}; the run's weights can still be used by their path"
    )


def test_classes_that_are_named_twice_or_not_at_all(tmp_path: Path) -> None:
    for classes, problem in ((["a", "b", "a"], "class 'a' is listed twice"), (["a", ""], "a class has no name")):
        content = run_record()
        content["data"]["classes"] = classes
        Run(tmp_path).write(content)
        with pytest.raises(RunError, match=rf"run\.json: damaged: data\.classes: {problem}, got "):
            Run(tmp_path).read()


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("epoch,val_loss\n1,0.5\n2,much\n", "line 3: val_loss: damaged: not a decimal number, got 'much'"),
        ("epoch,val_loss\n1\n", "line 2: 1 values for 2 columns"),
        ("epoch,val_loss\n1,\0\n", "line 2: val_loss: damaged: not a decimal number, got '\\x00'"),
    ],
)
def test_damaged_epochs(tmp_path: Path, table: str, problem: str) -> None:
    (tmp_path / "metrics.csv").write_text(table)
    with pytest.raises(RunError) as failure:
        Run(tmp_path).epochs()
    assert str(failure.value) == f"{tmp_path}/metrics.csv: {problem}; restore the file"


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (["1.png,b,train", "2.png,\u00e4,val", "1.png,b,train"], "line 4: damaged: 1.png is listed twice"),
        (["1.png,b,train", "2.png,c,val"], "line 3: damaged: 'c' is none of the run's classes"),
    ],
)
def test_a_damaged_split(tmp_path: Path, rows: list[str], problem: str) -> None:
    run = Run(tmp_path)
    run.write(run_record())
    run.splits.write_text("\n".join(["path,label,split", *rows]), encoding="utf-8")
    with pytest.raises(RunError) as failure:
        run.images_by_part()
    assert str(failure.value) == f"{run.splits}: {problem}; restore the file"


def test_a_record_of_a_newer_program(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"format": 2}')
    with pytest.raises(RunError) as failure:
        Run.open(tmp_path).read()
    assert str(failure.value) == (
        f"{tmp_path}/run.json: run format 2 is newer than this resnet-lab reads (1); upgrade resnet-lab"
    )


@pytest.mark.parametrize("letter", ["q", "\u753b"])
def test_predictions_on_a_source_with_a_long_name(letter: str, tmp_path: Path) -> None:
    """File systems take names of 255 bytes, which a temporary name has 10 more of."""
    source = f"images/{letter * (255 // len(letter.encode()))}"
    path = Run(tmp_path).predictions("all", source, whole=False)
    path.parent.mkdir()
    write_atomically(path, b"")
    assert path.exists()
    assert path != Run(tmp_path).predictions("all", source[:-1], whole=False)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"best_epoch": 0}, "best_epoch: input should be greater than or equal to 1, got 0"),
        ({"seconds": -1}, "seconds: input should be greater than or equal to 0, got -1"),
        ({"test": {**SCORES, "accuracy": 1.5}}, "test.accuracy: input should be less than or equal to 1, got 1.5"),
        ({"test": {**SCORES, "n": -3}}, "test.n: input should be greater than or equal to 0, got -3"),
        ({"test": {"n": 1}}, "test.accuracy: field required"),
        ({"test": {name: value for name, value in SCORES.items() if name != "n"}}, "test.n: field required"),
        ({"config": {"epochs": 0}}, "config.epochs: input should be greater than or equal to 1, got 0"),
        ({"config": {"epochs": 3, "lr": -0.1}}, "config.lr: input should be greater than 0, got -0.1"),
        ({"config": {"epochs": 3, "lr": "1"}}, "config.lr: input should be a valid number, got '1'"),
        ({"config": {"epochs": 3, "ema": 1}}, "config.ema: input should be less than 1, got 1"),
    ],
)
def test_numbers_that_no_training_has(tmp_path: Path, changes: dict[str, object], problem: str) -> None:
    Run(tmp_path).write(run_record(**changes))
    with pytest.raises(RunError) as failure:
        Run(tmp_path).read()
    assert str(failure.value) == (
        f"{tmp_path}/run.json: damaged: {problem}; the run's weights can still be used by their path"
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"copies": -1}, "copies: input should be greater than or equal to 0, got -1"),
        ({"images": {"train": -8, "val": 2, "test": 2}}, "images.train: input should be greater than or equal to 0"),
        ({"std": [0.0, 1.0, 1.0]}, "std.0: input should be greater than 0, got 0.0"),
    ],
)
def test_numbers_that_no_images_have(tmp_path: Path, changes: dict[str, object], problem: str) -> None:
    content = run_record()
    content["data"] |= changes
    Run(tmp_path).write(content)
    with pytest.raises(RunError, match=re.escape(f"{tmp_path}/run.json: damaged: data.{problem}")):
        Run(tmp_path).read()


def test_results_of_null_are_those_of_a_run_without_them(tmp_path: Path) -> None:
    Run(tmp_path).write(run_record(best_epoch=None, seconds=None, test=None))
    assert Run(tmp_path).read()["test"] is None


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("seconds", "inf", "seconds: damaged: not a decimal number, got 'inf'"),
        ("train_loss", "nan", "train_loss: damaged: not a decimal number, got 'nan'"),
        ("seconds", "1_0", "seconds: damaged: not a decimal number, got '1_0'"),
        ("seconds", "1e999", "damaged: seconds: input should be less than or equal to 10000000000, got inf"),
        ("train_loss", "1e999", "damaged: train_loss: input should be a finite number, got inf"),
        ("seconds", "1e300", "damaged: seconds: input should be less than or equal to 10000000000, got 1e+300"),
        ("seconds", "-1", "damaged: seconds: input should be greater than or equal to 0, got -1.0"),
        ("val_accuracy", "1.5", "damaged: val_accuracy: input should be less than or equal to 1, got 1.5"),
        ("val_accuracy", "-0.5", "damaged: val_accuracy: input should be greater than or equal to 0, got -0.5"),
        ("val_loss", "-1", "damaged: val_loss: input should be greater than or equal to 0, got -1.0"),
    ],
)  # fmt: skip
def test_figures_that_no_epoch_has(tmp_path: Path, column: str, value: str, problem: str) -> None:
    (tmp_path / "metrics.csv").write_text(f"epoch,{column}\n1,{value}\n")
    with pytest.raises(RunError) as failure:
        Run(tmp_path).epochs()
    assert str(failure.value) == f"{tmp_path}/metrics.csv: line 2: {problem}; restore the file"


def test_epochs_are_whole_numbers(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch\n1.5\n")
    with pytest.raises(
        RunError, match=r"line 2: damaged: epoch: input should be a multiple of 1, got 1\.5; restore the file"
    ):
        Run(tmp_path).epochs()


def test_a_split_of_other_numbers_than_the_record_s(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write(run_record())  # of 8, 2 and 2 images
    rows = [f"{number}.png,b,{part}" for number, part in enumerate(["train"] * 8 + ["val"] * 2 + ["test"] * 2)]
    run.splits.write_text("\n".join(["path,label,split", *rows]))
    assert sum(run.images_by_part().values()) == 12
    run.splits.write_text("\n".join(["path,label,split", *rows[:-1], "11.png,b,train"]))
    with pytest.raises(RunError) as failure:
        run.images_by_part()
    assert str(failure.value) == (
        f"{run.splits}: damaged: it has 9 images in the train part, and {run.record} has 8; restore the file"
    )


def test_scores_of_another_number_of_images_than_the_test_part(tmp_path: Path) -> None:
    Run(tmp_path).write(run_record(test={**SCORES, "n": 3}))
    with pytest.raises(RunError) as failure:
        Run(tmp_path).read()
    assert str(failure.value) == (
        f"{tmp_path}/run.json: damaged: test.n is 3, and data.images.test 2; the run's weights can still be used by "
        "their path"
    )


@pytest.mark.parametrize(
    ("setting", "value", "problem"),
    [
        ("optimizer", "magic", "input should be 'adam', 'adamw', 'lamb' or 'sgd', got 'magic'"),
        ("schedule", 3, "input should be 'exponential', 'step', 'cosine', 'one_cycle' or 'constant', got 3"),
        ("balance", None, ""),
        ("batch_size", "many", "input should be a valid integer, got 'many'"),
        ("cache_frozen", "x", "input should be 'auto', 'on' or 'off', got 'x'"),
        ("augment", "flip", "input should be a list, got 'flip'"),
        ("freeze", [1], "input should be a valid string, got 1"),
        ("deterministic", "yes", "input should be a valid boolean, got 'yes'"),
        ("weights", [], "input should be a valid string, got []"),
    ],
)
def test_settings_of_another_kind(tmp_path: Path, setting: str, value: object, problem: str) -> None:
    Run(tmp_path).write(run_record(config={"epochs": 3, setting: value}))
    if not problem:
        Run(tmp_path).read()
        return
    with pytest.raises(RunError) as failure:
        Run(tmp_path).read()
    assert f"run.json: damaged: config.{setting}" in str(failure.value)
    assert f"{problem}; the run's weights can still be used by their path" in str(failure.value)


def test_epochs_are_counted_from_one(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch\n1\n3\n")
    with pytest.raises(RunError) as failure:
        Run(tmp_path).epochs()
    assert str(failure.value) == (
        f"{tmp_path}/metrics.csv: line 3: damaged: epoch should be 2, got 3; restore the file"
    )
