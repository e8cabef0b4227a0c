"""The functions against the commands: the same bits, figures and verdicts."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import accuracy_score, recall_score

import resnet_lab
from resnet_lab.cli import main
from resnet_lab.core.errors import ConfigError, DataError, ResNetLabError, RunError, SpecError
from resnet_lab.data.sources.permission import PERMISSIONS
from resnet_lab.train.interruption import Interrupted
from resnet_lab.train.learner import Learner

SMALL = {"size": 8, "epochs": 2, "batch_size": 256, "precision": "fp32", "compile": "off", "seed": 5}


def options(settings: dict[str, Any]) -> list[str]:
    """The same for the command line."""
    return [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in PERMISSIONS:
        monkeypatch.setenv(variable, "")  # which arguments set; undone after the test


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    """What a command prints with --json."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main([*map(str, arguments), "--json"])
    assert not end.value.code
    return json.loads(capsys.readouterr().out)


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def test_five_lines_do_what_the_commands_do(capsys: pytest.CaptureFixture[str]) -> None:
    settings = {**SMALL, "epochs": 1}
    run = resnet_lab.train("digits", act="gelu", augment="crop,jitter", **settings, out="api/run")
    evaluated = resnet_lab.evaluate(run, split="val")
    report = resnet_lab.report(run, gallery=3, maps="occlusion")

    trained = command(capsys, "train", "--act", "gelu", "--augment", "crop,jitter", *options(settings), "--out", "cli")
    for name in ("best.safetensors", "last.safetensors", "metrics.csv", "splits.csv"):
        assert digest(run.folder / name) == digest(Path("cli") / name), name
    assert trained["test"] == run.metrics
    scored = command(capsys, "eval", "cli", "--split", "val")
    assert {name: value for name, value in scored["val"].items() if name != "n"} == evaluated.metrics
    assert scored["classes"] == evaluated.classes
    assert scored["intervals"]["accuracy"] == list(evaluated.intervals["accuracy"] or ())
    numbers = command(capsys, "report", "cli", "--gallery", 3, "--maps", "occlusion")
    assert numbers["confusion"] == report.numbers["confusion"]
    assert numbers["mistakes"] == report.numbers["mistakes"]
    assert report.page == Path("api/run/report.html")
    assert report.page.read_text().startswith("<!DOCTYPE html>")


@pytest.fixture
def trained(made_once: Callable) -> resnet_lab.Run:
    return resnet_lab.Run(
        made_once("interactive-run", lambda folder: resnet_lab.train(**SMALL, out=folder / "run", quiet=True)) / "run"
    )


def test_a_run_is_plain_data(trained: resnet_lab.Run) -> None:
    with (trained.folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [each["epoch"] for each in trained.history] == [1, 2]
    assert [f"{each['val_loss']:.6g}" for each in trained.history] == [row["val_loss"] for row in rows]
    assert trained.status == "finished"
    assert trained.best_epoch == max((1, 2), key=lambda epoch: float(rows[epoch - 1]["val_macro_accuracy"]))
    assert trained.record["command"][0].startswith("resnet_lab.train(size=8, epochs=2, batch_size=256, ")
    assert resnet_lab.load(trained.weights).fc.out_features == 10
    assert resnet_lab.Run(str(trained.folder)) == trained
    with pytest.raises(FrozenInstanceError):
        trained.folder = Path("elsewhere")  # type: ignore[misc]


def test_an_evaluation_is_scikit_learn_s(trained: resnet_lab.Run) -> None:
    found = resnet_lab.evaluate(trained.folder, quiet=True)
    labels, named = found.predictions.labels, found.predictions.probabilities.argmax(1)
    assert found.metrics["accuracy"] == pytest.approx(accuracy_score(labels, named))
    assert [each["recall"] for each in found.classes] == pytest.approx(recall_score(labels, named, average=None))
    assert found.metrics["macro_accuracy"] == pytest.approx(trained.metrics["macro_accuracy"])
    assert f"{trained.folder.name}: test part, weights of epoch" in found._repr_html_()
    assert found == found
    assert found != resnet_lab.evaluate(trained.folder, split="val", quiet=True)


def test_a_run_shows_itself_without_computing(trained: resnet_lab.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept is shown, on a machine without the images or the GPU too."""
    monkeypatch.setattr("resnet_lab.evaluation.run_summary.predictions_of", pytest.fail)
    html = trained._repr_html_()
    assert f"{trained.metrics['accuracy']:.3f}" in html
    assert html.count("<svg") == 2


def test_what_cannot_be_shown_is_said(trained: resnet_lab.Run, tmp_path: Path) -> None:
    folder = tmp_path / "<b>run"
    folder.mkdir()
    (folder / "run.json").write_bytes((trained.folder / "run.json").read_bytes())
    shown = resnet_lab.Run(folder)
    (folder / "run.json").write_text("{")
    html = shown._repr_html_()
    assert "run.json: damaged: not JSON" in html
    assert "<b>run" not in html


@pytest.mark.slow
def test_a_study_has_the_command_s_verdicts(capsys: pytest.CaptureFixture[str]) -> None:
    few = {**SMALL, "epochs": 1}
    del few["seed"]
    study = resnet_lab.study(act=["relu", "gelu"], seeds=2, bench=False, out="study", quiet=True, **few)
    found = command(capsys, "study", "report", "study")
    (effect,) = found["effects"]
    assert study.verdicts == [
        {"name": "act gelu", "verdict": "exploratory", "difference": effect["difference"],
         "interval": effect["interval"], "p": effect["p_holm"], "seeds": 2, "sentence": effect["in_words"]}
    ]  # fmt: skip
    assert study.arms == found["arms"]
    assert [(each["arm"], each["seed"]) for each in study.trials] == [
        (each["arm"], each["seed"]) for each in found["trials"]
    ]
    assert "exploratory" in study._repr_html_()
    assert resnet_lab.report(study, quiet=True).numbers["effects"] == found["effects"]
    with pytest.raises(ConfigError) as refused:
        resnet_lab.report(study, split="val")
    assert str(refused.value) == "data, split and map are of runs, and this is a study; leave them out"
    command(capsys, "study", "run", "--act", "relu,gelu", "--seeds", 2, "--no-bench", *options(few), "--out", "cli")
    trials = sorted(path.relative_to("cli") for path in Path("cli/trials").glob("*/best.safetensors"))
    assert len(trials) == 4
    assert [digest("cli" / each) for each in trials] == [digest("study" / each) for each in trials]

    before = {path: path.stat().st_mtime_ns for path in Path("study/trials").rglob("*.safetensors")}
    again = resnet_lab.study(out="study", bench=False, quiet=True)
    assert again == study == resnet_lab.Study("study")
    assert {path: path.stat().st_mtime_ns for path in Path("study/trials").rglob("*.safetensors")} == before


def interrupt(monkeypatch: pytest.MonkeyPatch, number: signal.Signals, at: int = 9) -> None:
    """Send this process a signal at a step of the next training."""
    real, steps = Learner.step, []

    def step(self: Learner, *arguments: Any) -> Any:
        steps.append(1)
        if len(steps) == at:
            os.kill(os.getpid(), number)
        return real(self, *arguments)

    monkeypatch.setattr(Learner, "step", step)


def test_a_call_again_resumes(
    trained: resnet_lab.Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt(monkeypatch, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        resnet_lab.train(**SMALL, out="run")
    assert "stopped by SIGINT; call resnet_lab.train again with out='run' to resume" in capsys.readouterr().err
    assert resnet_lab.Run("run").status != "finished"
    assert resnet_lab.Run("run").metrics == {}
    assert "is not finished" in resnet_lab.Run("run")._repr_html_()
    run = resnet_lab.train(**SMALL, out="run")
    assert "resuming at epoch" in capsys.readouterr().err
    assert digest(run.weights) == digest(trained.weights)

    written = run.weights.stat().st_mtime_ns
    assert resnet_lab.train(**SMALL, out="run") == run
    assert resnet_lab.train(out="run", quiet=True) == run
    assert run.weights.stat().st_mtime_ns == written
    assert "run: finished before, with the same settings" in capsys.readouterr().err


def test_sigterm_is_not_taken_for_the_keyboard(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, signal.SIGTERM)
    with pytest.raises(Interrupted, match="stopped by SIGTERM"):
        resnet_lab.train(**SMALL, out="run", quiet=True)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lr": 0.5}, "was started with lr 0.003, and 0.5 is asked for; leave that out, or start a new run with"),
        ({"data": "synthetic"}, "was started with source digits, and synthetic is asked for"),
        ({"act": "gelu"}, "was started with network resnet20, and another is asked for"),
        ({"folds": 5}, "was started with folds None, and 5 is asked for"),
    ],
)
def test_a_run_of_other_settings_stays(trained: resnet_lab.Run, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resnet_lab.train(**{**SMALL, **changed}, out=trained.folder, quiet=True)


def test_folds_are_the_same_when_asked_for_again() -> None:
    settings = {**SMALL, "epochs": 1, "folds": 5, "fold": 2}
    run = resnet_lab.train(**settings, out="run", quiet=True)
    assert resnet_lab.train(**settings, out="run", quiet=True) == run


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: resnet_lab.train(epoch=3), ConfigError,
         "resnet_lab.train: unknown option 'epoch'; did you mean 'epochs'"),
        (lambda: resnet_lab.study(sed=3), ConfigError,
         "resnet_lab.study: unknown option 'sed'; did you mean 'seeds'"),
        (lambda: resnet_lab.train(epochs=0), ConfigError,
         "resnet_lab.train: epochs: input should be greater than or equal to 1, got 0"),
        (lambda: resnet_lab.train(augment=",,"), ConfigError, "augment: ',,' is a list without items"),
        (lambda: resnet_lab.train(act=3), SpecError,
         "act must be a component, written as text, or a list of them, got 3"),
        (lambda: resnet_lab.train(depth=19), SpecError, "model: unknown network 'resnet19'"),
        (lambda: resnet_lab.train(model="resnet18", depth=18), SpecError,
         "--model and --depth each name a network; give one of them"),
        (lambda: resnet_lab.train(model=resnet_lab.zoo.get("resnet20"), depth=18), ConfigError,
         "resnet_lab.train: model and depth each name a network; give one of them"),
        (lambda: resnet_lab.train("nowhere"), DataError, "nowhere: no such folder, and no data set of that name"),
        (lambda: resnet_lab.train(recipe="digit-quick"), ConfigError, "digit-quick: no such recipe"),
        (lambda: resnet_lab.train(dilate="x"), SpecError, "dilate must be stages separated by commas, such as 3,4"),
        (lambda: resnet_lab.study(), ConfigError, "there is nothing to compare"),
        (lambda: resnet_lab.study(act="relu,gelu", processes=0), ConfigError,
         "resnet_lab.study: processes must be at least 1, got 0"),
        (lambda: resnet_lab.study(act="relu,gelu", processes="2"), ConfigError,
         "resnet_lab.study: processes must be at least 1, got '2'"),
        (lambda: resnet_lab.study(factors="train.lr=1,2"), ConfigError,
         "resnet_lab.study: factors must be a dictionary of levels, such as {'train.lr': [0.001, 0.01]}, got "
         "'train.lr=1,2'"),
        (lambda: resnet_lab.evaluate("run", data="digits", split="val"), ConfigError,
         "split is of the run's own images, and all of data are scored; leave one of them out"),
        (lambda: resnet_lab.report("run", data="digits", split="val"), ConfigError,
         "split is of the runs' own images, and all of data are scored; leave one of them out"),
        (lambda: resnet_lab.report([]), ConfigError,
         "resnet_lab.report: there is nothing to report; name a run or a study"),
        (lambda: resnet_lab.report(None), ConfigError,
         "a run or study is named by its object or its folder, got None"),
        (lambda: resnet_lab.report([3]), ConfigError, "a run or study is named by its object or its folder, got 3"),
        (lambda: resnet_lab.evaluate(["run"]), ConfigError,
         "a run or study is named by its object or its folder, got ['run']"),
        (lambda: resnet_lab.report("run", maps="saliency"), ConfigError,
         "resnet_lab.report: maps must be grad-cam, hires-cam, occlusion, integrated-gradients, got 'saliency'"),
        (lambda: resnet_lab.report("run", gallery=-3), ConfigError,
         "resnet_lab.report: gallery must be from 0 to 200, got -3"),
        (lambda: resnet_lab.report("run", split="tests"), ConfigError,
         "resnet_lab.report: split must be train or val or test, got 'tests'"),
        (lambda: resnet_lab.evaluate("nowhere"), RunError, "nowhere is not a run folder"),
        (lambda: resnet_lab.Run("nowhere"), RunError, "nowhere is not a run folder"),
        (lambda: resnet_lab.Study("nowhere"), RunError, "nowhere is not a study folder"),
    ],
)  # fmt: skip
def test_errors(call: Callable[[], object], error: type[ResNetLabError], message: str) -> None:
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value).startswith(message)
    assert list(Path().iterdir()) == []


def test_one_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with pytest.raises(ConfigError) as raised:
        resnet_lab.train()
    assert str(raised.value) == "resnet_lab.train is for one process; start `resnet-lab train` with torchrun"


def test_several_runs_are_compared(trained: resnet_lab.Run) -> None:
    other = resnet_lab.train(**{**SMALL, "epochs": 1, "seed": 5}, attn="eca", out="other", quiet=True)
    made = resnet_lab.report([trained, other.folder], out="page.html", quiet=True)
    assert made.page == Path("page.html")
    assert made.numbers["comparisons"][0]["second"] == str(other.folder)
    assert "B other fixed" in " ".join(made._repr_html_().replace("<b>", "").split())
    with pytest.raises(RunError, match=r"page\.html exists already"):
        resnet_lab.report(trained, out="page.html", quiet=True)


def test_packages_are_functions_and_stay_packages() -> None:
    """In a fresh process, whichever is asked for first; none of it imports torch before it is called."""
    code = (
        "import inspect, sys, resnet_lab\n"
        "from resnet_lab import study\n"
        "import resnet_lab.train as train, resnet_lab.report\n"
        "assert all(map(callable, (train, study, resnet_lab.report)))\n"
        "assert train is resnet_lab.train is sys.modules['resnet_lab.train']\n"
        "assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "from resnet_lab.train import TrainConfig, train as low\n"
        "assert low is train.train and train.TrainConfig is TrainConfig\n"
        "assert list(inspect.signature(train).parameters)[:3] == ['data', 'model', 'depth']\n"
        "assert not callable(resnet_lab.network)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
