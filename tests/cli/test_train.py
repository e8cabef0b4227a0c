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
from typing import Any

import pytest
import torch
from PIL import Image
from sklearn.metrics import balanced_accuracy_score

from resnet_lab.cli.train import _find_learning_rate
from resnet_lab.core.errors import ConfigError
from resnet_lab.data.config import DataConfig
from resnet_lab.network import checkpoint, zoo
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.learner import Learner
from tests.cli.conftest import QUICK


def test_a_network_that_overflows_has_diverged(cli: Callable, paintings: Path) -> None:
    code, out, err = cli("train", "--data", paintings, *QUICK, "--optimizer", "sgd", "--lr", 1e30, "--out", "run")
    assert (code, out) == (2, "")
    content = r"resnet-lab: epoch 1, step \d of 3: the training loss is (nan|inf) at learning rate "
    assert re.match(content, err.splitlines()[-1])
    code, out, err = cli("eval", "run")
    assert (code, out) == (2, "")
    assert err.startswith("resnet-lab: run: the run has no weights (no best.safetensors), since it ended: epoch 1, ")


def test_a_folder_of_paintings(cli: Callable, paintings: Path) -> None:
    code, out, err = cli("train", "--data", paintings, *QUICK, "--augment", "flip,rotate90", "--out", "run", "--json")
    content = json.loads(out)
    assert code == 0
    assert content["run"] == "run"
    assert content["best_epoch"] in (1, 2)
    assert set(content["test"]) == {"accuracy", "macro_accuracy", "macro_precision", "macro_recall", "macro_f1", "n"}
    with Path("run/splits.csv").open() as file:
        assert content["test"]["n"] == sum(row["split"] == "test" for row in csv.DictReader(file))
    assert sorted(path.name for path in Path("run").iterdir()) == [
        ".lock", "best.safetensors", "curves.png", "last.safetensors", "metrics.csv", "predictions", "run.json",
        "splits.csv", "times.csv",
    ]  # fmt: skip
    assert "24 images of 2 classes; training on cpu in fp32" in err
    assert re.search(r"epoch   2: loss \d\.\d+, macro accuracy \d\.\d+; validation \d\.\d+, [01]\.\d{4}", err)
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
    content = json.loads(out)
    assert code == 0
    assert trained["test"].items() <= content["test"].items()
    assert content["best_epoch"] == trained["best_epoch"]
    assert [row["name"] for row in content["classes"]] == ["blue", "red"]
    validation = json.loads(cli("eval", "run", "--split", "val", "--precision", "fp32", "--json").out)["val"]
    with Path("run/metrics.csv").open() as file:
        best = max(float(row["val_macro_accuracy"]) for row in csv.DictReader(file))
    assert validation["macro_accuracy"] == pytest.approx(best)


def test_eval_and_predict_agree_on_another_folder(cli: Callable, trained: Path, paintings: Path) -> None:
    code, out, _ = cli("eval", "run", "--data", paintings, "--precision", "fp32", "--json")
    content = json.loads(out)
    assert (code, content["split"]) == (0, "all")
    predicted = json.loads(cli("predict", "run", paintings, "--precision", "fp32", "--json").out)["images"]
    assert len(predicted) == content["all"]["n"] == 24
    truth = [Path(row["path"]).parent.name for row in predicted]
    named = [row["top"][0]["class"] for row in predicted]
    assert content["all"]["macro_accuracy"] == pytest.approx(balanced_accuracy_score(truth, named))
    assert all(sum(best["probability"] for best in row["top"]) == pytest.approx(1) for row in predicted)


def test_eval_and_predict_as_tables(cli: Callable, trained: Path, paintings: Path) -> None:
    out = cli("eval", "run").out
    assert re.search(r"blue +\d\.\d{3} +\d\.\d{3} +\d\.\d\d to \d\.\d\d +\d\.\d{3} +\d\b", out)
    code, out, _ = cli("predict", "run/best.safetensors", paintings / "red" / "0.png", "--top", 1)
    assert code == 0
    assert re.search(r"(red|blue) +\d\.\d{4}", out)


BAD = {
    "--data absent": "absent: no such folder, and no data set of that name; known: digits, synthetic",
    "--lr -1": "train: lr: input should be greater than 0, got -1.0",
    "--epochs 0": "train: epochs: input should be greater than or equal to 1, got 0",
    "--optimizer adma": "train: optimizer: input should be 'adam', 'adamw', 'lamb' or 'sgd', got 'adma'",
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
    "--folds 5 --split-file splits.csv": ("data: folds and split_file each define the split; give one of them"),
    "--device tpu": "device 'tpu' is not a device; write auto, cpu, cuda, cuda:0, mps or xpu",
    "--attn cbm": "stage 1: unknown attention 'cbm'; did you mean 'cbam' or 'bam'?",
    "--config absent.toml": "absent.toml: cannot be read: No such file or directory",
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
        ("[train]\nepoch = 3\n", "c.toml: unknown option 'epoch'; did you mean 'epochs' or "),
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


@pytest.mark.slow
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
    content = json.loads(cli("eval", "run", "--precision", "fp32", "--json").out)
    assert trained["test"].items() <= content["test"].items()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_training_saves_its_state(
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
        "--compile",
        "off",
        "--out",
        "run",
    ]
    with subprocess.Popen([str(word) for word in command], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 200
        while not (tmp_path / "run" / "best.safetensors").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"stopped by {number.name}; resume with `resnet-lab train --resume run`" in err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == f"stopped by {number.name}"
    assert cli("predict", "run", paintings / "red" / "1.png").code == 0


DESCRIBED = {
    "channels_last": "by device",
    "threads": "cores that other programs leave free",
    **dict.fromkeys(("init_seed", "split_seed", "order_seed"), "that of --seed"),
}


def test_the_help_has_the_defaults_in_use(cli: Callable) -> None:
    text = " ".join(cli("train", "--help").out.replace("│", " ").split())
    shown = dict(re.findall(r" --([a-z-]+) (?:(?! --).)*?\[default: \((.*?)\)\]", text))
    written = {True: "yes", False: "no", (): "none", None: "none"}
    for name, value in {**TrainConfig().model_dump(), **DataConfig().model_dump()}.items():
        if (option := name.replace("_", "-")) in shown:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            expected = f"{value:g}" if number else written.get(value, str(value))
            assert shown[option] == DESCRIBED.get(name, expected), name
    options = {name.replace("_", "-") for name in (*TrainConfig.model_fields, *DataConfig.model_fields)} - {"source"}
    cut = {"checkpoint-activations"}  # too long for a column
    assert options - {"channels-last", "progressive-size"} - cut <= set(shown)
    assert shown["progressive"] == "none"
    assert shown["data"] == DataConfig().source


def test_a_recipe_with_values_put_in(cli: Callable, paintings: Path) -> None:
    code, _, _ = cli(
        "train", "--recipe", "digits-quick", "--data", paintings, *QUICK, "--set", "train.ema=0.5",
        "--set", "model.attn=se@3", "--epochs", 1, "--out", "run",
    )  # fmt: skip
    assert code == 0
    record = json.loads(Path("run/run.json").read_text())
    assert (record["config"]["schedule"], record["config"]["ema"], record["config"]["epochs"]) == ("one_cycle", 0.5, 1)
    assert record["spec"]["stages"][2]["block"]["attn"] == "se"


def test_options_override_a_file(cli: Callable, paintings: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        '[model]\nmodel = "resnet20"\ninput_size = 8\n[data]\nstrict = true\nfolds = 3\n[train]\n'
        'epochs = 1\nbatch_size = 8\nprecision = "fp32"\n'
        'weights = "absent.pth"\naugment = ["flip"]\npatience = 3\nclip_norm = 1.0\n'
    )
    options = ("--weights", "none", "--augment", "none", "--patience", "none", "--clip-norm", 2, "--decay-norms", "no",
               "--order-seed", 5, "--folds", "none")  # fmt: skip
    code, _, err = cli("train", "--config", "c.toml", "--data", paintings, *options, "--out", "run")
    assert code == 0, err
    record = json.loads(Path("run/run.json").read_text())
    values = {name: record["config"][name] for name in ("weights", "augment", "patience", "clip_norm", "decay_norms")}
    assert values == {"weights": None, "augment": [], "patience": None, "clip_norm": 2.0, "decay_norms": False}
    assert (record["config"]["order_seed"], record["config"]["batch_size"]) == (5, 8)
    assert (record["data"]["folds"], record["data"]["strict"]) == (None, True)


def test_a_recipe_and_a_configuration_file(cli: Callable) -> None:
    code, _, err = cli("train", "--recipe", "strong", "--config", "c.toml")
    assert code == 2
    assert err == (
        "resnet-lab: --recipe and --config each define the training; give one of them, and change it with --set\n"
    )


@pytest.fixture
def stopped(cli: Callable, paintings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was interrupted in its second epoch."""
    real = Learner.step
    steps = []

    def step(self: Learner, *arguments: Any) -> Any:
        steps.append(1)
        if len(steps) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, *arguments)

    monkeypatch.setattr(Learner, "step", step)
    assert cli("train", "--data", paintings, *QUICK, "--out", "run").code == 143
    monkeypatch.setattr(Learner, "step", real)


def test_a_resumption(cli: Callable, stopped: None) -> None:
    code, out, err = cli("train", "--resume", "run", "--json")
    assert code == 0
    assert "resuming at epoch" in err
    assert json.loads(out)["run"] == "run"
    assert cli("train", "--resume", "run").err == (
        "resnet-lab: run: this training is finished; `resnet-lab eval run` scores it\n"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--lr", "0.5"), "run was started with lr 0.003, and 0.5 is asked for"),
        (("--fit", "pad"), "run was started with fit squash, and pad is asked for"),
        (("--act", "gelu"), "run was started with network resnet20, and another is asked for"),
    ],
)
def test_a_resumption_with_other_wishes(cli: Callable, stopped: None, options: tuple[str, ...], message: str) -> None:
    code, _, err = cli("train", "--resume", "run", *options)
    assert code == 2
    assert err == f"resnet-lab: {message}; leave that out, or start a new run with --weights run\n"


def test_a_resumption_with_the_same_wishes(cli: Callable, stopped: None, paintings: Path) -> None:
    """The source by another path, too: a run names it by the absolute one."""
    assert cli("train", "--resume", "run", "--data", os.path.relpath(paintings), "--size", 8).code == 0


def test_what_cannot_be_given_with_a_resumption(cli: Callable, stopped: None) -> None:
    for option, *value in (("--recipe", "strong"), ("--find-lr",)):
        code, _, err = cli("train", "--resume", "run", option, *value)
        assert code == 2
        assert err == f"resnet-lab: {option} cannot be combined with --resume, which keeps the run's configuration\n"


def test_a_range_test_writes_no_events(cli: Callable) -> None:
    assert cli("train", "--find-lr", "--tensorboard", "--out", "rates.png") == (
        2, "", "resnet-lab: --track is of a training, and --find-lr makes a plot alone; leave one of them out\n",
    )  # fmt: skip
    assert not Path("rates.png").exists()


@pytest.mark.slow
def test_weights_of_a_run_into_a_changed_network_with_frozen_stages(cli: Callable, paintings: Path) -> None:
    cli("train", "--data", paintings, *QUICK, "--epochs", 1, "--out", "first")
    code, _, err = cli(
        "train", "--data", paintings, *QUICK, "--attn", "se@3", "--weights", "first", "--freeze", "1-2",
        "--augment", "rotate90", "--cache-frozen", "on", "--out", "second",
    )  # fmt: skip
    assert code == 0
    assert "of the parameters outside the classifier loaded" in err
    assert "the output of stem to layer2 is computed once and stored" in err
    (_, first), (_, second) = (checkpoint.read(f"{run}/best.safetensors") for run in ("first", "second"))
    assert torch.equal(first["layer2.0.conv1.weight"], second["layer2.0.conv1.weight"])
    assert torch.equal(first["bn1.running_mean"], second["bn1.running_mean"])
    assert not torch.equal(first["layer3.0.conv1.weight"], second["layer3.0.conv1.weight"])
    record = json.loads(Path("second/run.json").read_text())
    assert record["config"]["freeze"] == ["stem", "layer1", "layer2"]
    assert record["weights"]["share"] > 0.9


def test_a_stage_that_is_not_there(cli: Callable, paintings: Path) -> None:
    code, _, err = cli("train", "--data", paintings, *QUICK, "--freeze", "4", "--out", "run")
    assert code == 2
    assert err == "resnet-lab: freeze: the network has no part 'layer4'; it has stem, layer1, layer2, layer3, fc\n"


@pytest.mark.slow
def test_a_range_test(cli: Callable) -> None:
    code, out, _ = cli("train", "--size", 8, "--precision", "fp32", "--find-lr", "--out", "rates.png", "--json")
    content = json.loads(out)
    assert code == 0
    assert 1e-5 < content["suggestion"] < 1
    assert len(content["rates"]) == len(content["losses"])
    with Image.open("rates.png") as picture:
        assert picture.format == "PNG"
    assert cli("train", "--find-lr", "--out", "rates.png").code == 2


def test_a_range_test_in_several_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with pytest.raises(ConfigError) as failure:
        _find_learning_rate(zoo.get("resnet20"), DataConfig(), TrainConfig(), tmp_path / "a.png", None, False)
    assert str(failure.value) == "--find-lr is for one process; start it without torchrun"


def test_events_for_tensorboard(cli: Callable, paintings: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the package tensorboard")
    assert cli("train", "--data", paintings, *QUICK, "--epochs", 1, "--tensorboard", "--out", "run").code == 0
    assert list(Path("run/tensorboard").glob("events.out.tfevents.*"))
