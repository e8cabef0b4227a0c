import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sklearn.metrics import balanced_accuracy_score

from resnet_lab import checkpoint
from resnet_lab.data.config import DataConfig
from resnet_lab.train.config import TrainConfig
from tests.cli.conftest import QUICK


def test_a_folder_of_paintings(cli: Callable, paintings: Path) -> None:
    code, out, err = cli("train", "--data", paintings, *QUICK, "--augment", "flip,rotate90", "--out", "run", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["run"] == "run"
    assert told["best_epoch"] in (1, 2)
    assert set(told["test"]) == {"accuracy", "macro_accuracy", "macro_precision", "macro_recall", "macro_f1", "n"}
    with Path("run/splits.csv").open() as file:
        assert told["test"]["n"] == sum(row["split"] == "test" for row in csv.DictReader(file))
    assert sorted(path.name for path in Path("run").iterdir()) == [
        "best.safetensors", "curves.png", "last.safetensors", "metrics.csv", "run.json", "splits.csv",
    ]  # fmt: skip
    assert "24 images of 2 classes; training on cpu in fp32" in err
    assert re.search(r"epoch   2: loss \d\.\d+, validation loss", err)
    record = json.loads(Path("run/run.json").read_text())
    assert record["config"]["augment"] == ["flip", "rotate90"]
    assert record["status"] == "finished"


def test_the_screen_without_json(cli: Callable, paintings: Path) -> None:
    code, out, _ = cli("train", "--data", paintings, *QUICK, "--out", "run")
    assert code == 0
    assert re.search(r"test part, weights of epoch \d, \d images", out)
    assert re.search(r"macro accuracy +\d\.\d{4}", out)
    assert "run folder: run" in out


def test_the_default_folder_is_named_by_time_and_network(cli: Callable, paintings: Path) -> None:
    code, out, _ = cli("train", "--data", paintings, *QUICK, "--epochs", 1, "--json")
    assert code == 0
    assert re.fullmatch(r"runs/\d{8}-\d{6}-resnet20", json.loads(out)["run"])


def test_a_configuration_file_and_an_option_over_it(cli: Callable, paintings: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(
        '[model]\nmodel = "resnet20"\ninput_size = 8\nattn = "se@3"\n'
        f'[data]\nsource = "{paintings}"\n'
        '[train]\nepochs = 3\nbatch_size = 8\nlr = 1e-3\nprecision = "fp32"\n'
    )
    code, _, _ = cli("train", "--config", "run.toml", "--epochs", 1, "--act", "gelu", "--out", "run")
    assert code == 0
    record = json.loads(Path("run/run.json").read_text())
    assert (record["config"]["epochs"], record["config"]["lr"]) == (1, 1e-3)
    assert record["spec"]["stages"][2]["block"]["attn"] == "se"
    assert record["spec"]["stages"][0]["block"]["act"] == "gelu"


def test_eval_gives_the_same_figures_again(cli: Callable, paintings: Path) -> None:
    trained = json.loads(cli("train", "--data", paintings, *QUICK, "--out", "run", "--json").out)
    code, out, _ = cli("eval", "run", "--precision", "fp32", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["test"] == trained["test"]
    assert told["best_epoch"] == trained["best_epoch"]
    assert [row["name"] for row in told["classes"]] == ["blue", "red"]
    validation = json.loads(cli("eval", "run", "--split", "val", "--precision", "fp32", "--json").out)["val"]
    with Path("run/metrics.csv").open() as file:
        best = max(float(row["val_macro_accuracy"]) for row in csv.DictReader(file))
    assert validation["macro_accuracy"] == pytest.approx(best)


def test_eval_and_predict_agree_on_another_folder(cli: Callable, paintings: Path) -> None:
    cli("train", "--data", paintings, *QUICK, "--epochs", 1, "--out", "run")
    code, out, _ = cli("eval", "run", "--data", paintings, "--precision", "fp32", "--json")
    told = json.loads(out)
    assert (code, told["split"]) == (0, "all")
    predicted = json.loads(cli("predict", "run", paintings, "--precision", "fp32", "--json").out)["images"]
    assert len(predicted) == told["all"]["n"] == 24
    truth = [Path(row["path"]).parent.name for row in predicted]
    named = [row["top"][0]["class"] for row in predicted]
    assert told["all"]["macro_accuracy"] == pytest.approx(balanced_accuracy_score(truth, named))
    assert all(sum(best["probability"] for best in row["top"]) == pytest.approx(1) for row in predicted)


def test_eval_and_predict_as_tables(cli: Callable, paintings: Path) -> None:
    cli("train", "--data", paintings, *QUICK, "--epochs", 1, "--out", "run")
    out = cli("eval", "run").out
    assert re.search(r"blue +\d\.\d{3} +\d\.\d{3} +\d\.\d{3} +\d\b", out)
    code, out, _ = cli("predict", "run/best.safetensors", paintings / "red" / "0.png", "--top", 1)
    assert code == 0
    assert re.search(r"(red|blue) +\d\.\d{4}", out)


BAD = {
    "--data absent": "absent: no such folder, and no data set of that name; known: digits, synthetic",
    "--lr -1": "train: lr: input should be greater than 0, got -1.0",
    "--epochs 0": "train: epochs: input should be greater than or equal to 1, got 0",
    "--optimizer adma": "train: optimizer: input should be 'adam', 'adamw' or 'sgd', got 'adma'",
    "--augment flop": "train: augment: unknown augmentation 'flop'; did you mean 'flip' or 'crop'?",
    "--augment crop(scale=2)": "train: augment: crop(scale=2.0): scale must be above 0 and at most 1",
    "--balance both": "train: balance: input should be 'none', 'sampling' or 'loss', got 'both'",
    "--fit stretch": "data: fit: input should be 'squash', 'crop' or 'pad', got 'stretch'",
    "--cache memory": "data: cache: input should be 'auto', 'disk' or 'stream', got 'memory'",
    "--folds 2": "data: folds: input should be greater than or equal to 3, got 2",
    "--fold 1": "data: fold is 1, but not of how many; give folds too",
    "--folds 5 --fold 5": (
        "fold 5 of 5: there must be at least 3 folds (test, validation, training), and they are counted from 0"
    ),
    "--folds 5 --split-file splits.csv": (
        "data: folds and split_file each say which image stands in which part; give one of them"
    ),
    "--device tpu": "device 'tpu' is not a device; write auto, cpu, cuda or cuda:0",
    "--attn cbm": "stage 1: unknown attention 'cbm'; did you mean 'cbam'?",
    "--config absent.toml": "absent.toml: cannot read the configuration: No such file or directory",
}


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_leaves_no_run_folder(cli: Callable, tmp_path: Path, arguments: str) -> None:
    code, out, err = cli("train", "--out", "run", "--json", *arguments.split())
    assert (code, out) == (2, "")
    assert err == f"resnet-lab: {BAD[arguments]}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[trian]\n", "c.toml: unknown table 'trian'; did you mean 'train'?"),
        ("[train]\nepoch = 3\n", "c.toml: unknown option 'epoch'; did you mean 'epochs'?"),
        ("[data]\nsorce = 'x'\n", "c.toml: unknown option 'sorce'; did you mean 'source' or 'strict'?"),
        ("[data]\nsource = 3\n", "c.toml: source: input should be a valid string, got 3"),
        ("[model]\nattention = 'se'\n", "c.toml: unknown key 'attention'; did you mean 'attn'?"),
        ("[train\n", "c.toml: not TOML: "),
    ],
)
def test_bad_configuration_files(cli: Callable, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    code, out, err = cli("train", "--config", "c.toml", "--out", "run")
    assert (code, out) == (2, "")
    assert err.startswith(f"resnet-lab: {message}")
    assert not (tmp_path / "run").exists()


def test_an_existing_run_folder_is_left_as_it_is(cli: Callable, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "note").write_text("precious")
    code, out, err = cli("train", "--out", "run")
    assert (code, out) == (2, "")
    assert err == "resnet-lab: run exists already and is left as it is; choose another name or remove it\n"
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["note"]


def test_bad_files_are_left_out_counted_and_on_record(cli: Callable, paintings: Path) -> None:
    (paintings / "red" / "3.png").write_bytes(b"no image")
    (paintings / "red" / "notes.txt").write_text("two words")
    code, _, err = cli("train", "--data", paintings, *QUICK, "--out", "run")
    assert code == 0
    assert (
        "2 of 25 files cannot be used and are left out, the first red/3.png (not an image of a known format); " in err
    )
    assert "23 images of 2 classes; training on cpu" in err
    record = json.loads(Path("run/run.json").read_text())
    assert [bad["path"] for bad in record["data"]["bad"]] == ["red/3.png", "red/notes.txt"]
    assert record["data"]["bad"][0]["cause"] == "not an image of a known format"
    assert sum(record["data"]["images"].values()) == 23


def test_strict_refuses_bad_files(cli: Callable, paintings: Path) -> None:
    (paintings / "red" / "3.png").write_bytes(b"no image")
    code, out, err = cli("train", "--data", paintings, *QUICK, "--strict", "--out", "run")
    assert (code, out) == (2, "")
    assert err == (
        f"resnet-lab: {paintings}: 1 of 24 files cannot be used, the first red/3.png (not an image of a known format); "
        "repair or remove them: `resnet-lab data check` lists all\n"
    )
    assert not Path("run").exists()


def test_a_split_file_is_kept_to(cli: Callable, paintings: Path) -> None:
    cli("train", "--data", paintings, *QUICK, "--epochs", 1, "--out", "first")
    code, _, _ = cli(
        "train", "--data", paintings, *QUICK, "--epochs", 1, "--seed", 7, "--split-file", "first/splits.csv",
        "--out", "second",
    )  # fmt: skip
    assert code == 0
    assert Path("second/splits.csv").read_text() == Path("first/splits.csv").read_text()
    cli("train", "--data", paintings, *QUICK, "--epochs", 1, "--seed", 7, "--out", "third")
    assert Path("third/splits.csv").read_text() != Path("first/splits.csv").read_text()


def test_a_way_of_making_pictures_square_goes_with_the_weights(cli: Callable, paintings: Path) -> None:
    arguments = ("train", "--data", paintings, *QUICK, "--epochs", 1, "--fit", "crop", "--out", "run", "--json")
    trained = json.loads(cli(*arguments).out)
    assert checkpoint.read("run/best.safetensors")[0].fit == "crop"
    assert json.loads(cli("eval", "run", "--precision", "fp32", "--json").out)["test"] == trained["test"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_training_saves_its_weights(
    cli: Callable, paintings: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    command = [
        sys.executable,
        "-m",
        "resnet_lab",
        "train",
        "--data",
        paintings,
        *QUICK,
        "--epochs",
        10**6,
        "--out",
        "run",
    ]
    with subprocess.Popen([str(word) for word in command], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "run" / "last.safetensors").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"stopped by {number.name}; the weights of the last step are in run/last.safetensors" in err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == f"stopped by {number.name}"
    assert cli("predict", "run/last.safetensors", paintings / "red" / "1.png").code == 0


def test_the_help_tells_the_defaults_that_are_taken(cli: Callable) -> None:
    text = " ".join(cli("train", "--help").out.replace("│", " ").split())
    shown = dict(re.findall(r" --([a-z-]+) (?:(?! --).)*?\[default: \((.*?)\)\]", text))
    written = {True: "yes", False: "no", (): "none", None: "none"}
    for name, value in {**TrainConfig().model_dump(), **DataConfig().model_dump()}.items():
        if (option := name.replace("_", "-")) in shown:
            expected = f"{value:g}" if isinstance(value, float) else written.get(value, str(value))
            assert shown[option] == (str(value) if option in ("seed", "fold") else expected)
    assert {"epochs", "lr", "batch-size", "seed", "augment", "zero-init-residual", "weight-decay", "fit"} < set(shown)
