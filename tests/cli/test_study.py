import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from resnet_lab.data.sources import open_images
from resnet_lab.evaluation import opened_run
from resnet_lab.study.deciding import decided_eagerly
from resnet_lab.study.trials import trials_of
from tests.bench.short import shorten
from tests.study.fabricated import by_chance, design, fabricate

SMALL = (
    "--size", 8, "--data", "digits", "--epochs", 1, "--set", "train.batch_size=256", "--set", "train.precision=fp32",
    "--set", "train.compile=off", "--set", "train.device=cpu", "--set", "model.model=resnet20",
)  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two arms and three seeds."""
    return tmp_path_factory.mktemp("study") / "study"


def test_from_options_to_a_verdict(cli: Callable, done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)
    code, out, err = cli("study", "run", "--attn", "none,eca", *SMALL, "--seeds", 3, "--out", done, "--json")
    assert code == 0, err
    content = json.loads(out)
    assert content["baseline"] == "none"
    (effect,) = content["effects"]
    assert {"name", "difference", "interval", "p_holm", "verdict", "n"} <= effect.keys()
    assert (effect["name"], effect["n"]) == ("attn eca", 3)
    scores = {(row["arm"], row["seed"]): row["scores"]["macro_accuracy"] for row in content["trials"]}
    differences = [scores["eca", seed] - scores["none", seed] for seed in range(3)]
    assert effect["differences"] == pytest.approx(differences)
    assert effect["difference"] == pytest.approx(np.mean(differences))
    baseline, arm = content["arms"]
    assert (baseline["name"], baseline["verdict"], arm["name"]) == ("none", "baseline", "eca")
    assert (baseline["difference"], baseline["interval"], baseline["p_holm"], baseline["n"]) == (0, None, None, 3)
    assert arm["parameters"] > baseline["parameters"]
    assert arm["difference"] == effect["difference"]


PHASES = [
    "measuring the arms' costs", "measuring bandwidth and matrix rate", "preparing: latency", "timing: latency",
    "preparing: infer", "timing: infer", "preparing: train", "timing: train",
]  # fmt: skip


def test_the_costs_are_stopped_and_resumed(cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)

    def stop(*arguments: object, **options: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("resnet_lab.study.costs.bench", stop)
        code, _, err = cli("study", "run", "--attn", "none,eca", *SMALL, "--seeds", 1, "--out", "study")
    assert code == 130
    assert err.splitlines()[-2:] == [
        "resnet-lab: the trials are finished and their costs are not measured; resume with `resnet-lab study run "
        "--resume study`, or leave the costs out with --no-bench",
        "resnet-lab: stopped",
    ]
    assert not Path("study/bench.json").exists()
    monkeypatch.setattr("resnet_lab.study.trials.train", None)
    code, _, err = cli("study", "run", "--resume", "study")
    assert code == 0, err
    assert [line for line in err.splitlines() if line in PHASES] == PHASES
    assert Path("study/bench.json").exists()


def test_a_study_without_costs_is_resumed_without(cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)
    options = ("--attn", "none,eca", *SMALL, "--seeds", 1, "--no-bench", "--out", "study", "--json")
    assert cli("study", "run", *options).code == 0
    assert cli("study", "run", "--resume", "study", "--json").code == 0
    assert not Path("study/bench.json").exists()
    assert cli("study", "run", "--resume", "study", "--bench", "--json").code == 0
    assert Path("study/bench.json").exists()


def test_a_finished_study_is_reported_without_training(
    cli: Callable, done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnet_lab.study.trials.train", None)
    code, out, err = cli("study", "report", done, "--json", "--markdown", "r.md", "--csv", "t", "--latex", "r.tex")
    assert code == 0, err
    content = json.loads(out)
    text = Path("r.md").read_text()
    assert f"- {content['effects'][0]['in_words']}" in text
    assert "## Method" in text
    assert "attn eca" in Path("r.tex").read_text()
    rows = list(csv.DictReader(Path("t/trials.csv").read_text().splitlines()))
    assert [(row["arm"], row["seed"], row["attn"]) for row in rows][:2] == [("none", "0", "none"), ("eca", "0", "eca")]
    assert float(rows[0]["macro_accuracy"]) == content["trials"][0]["scores"]["macro_accuracy"]
    assert sorted(path.name for path in Path("t").iterdir()) == [
        "arms.csv", "curves.csv", "effects.csv", "trials.csv",
    ]  # fmt: skip
    again = cli("study", "run", "--resume", done)
    assert again.code == 0
    assert content["effects"][0]["in_words"] in again.out
    assert cli("study", "report", done, "--csv", "t") == (
        2, "", "resnet-lab: t exists already and is left as it is; choose another name or remove it\n",
    )  # fmt: skip


def test_costs_are_measured_once(cli: Callable, done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = json.loads((done / "bench.json").read_text())
    arms = json.loads(cli("study", "report", done, "--json").out)["arms"]
    for row, arm in zip(bench["arms"], arms, strict=True):
        assert row["name"] == arm["name"]
        assert arm["costs"]["train"]["median_ms"] == np.median(row["train"]["samples_ms"])
        assert arm["costs"]["infer"]["images_a_second"] == pytest.approx(1000 * 256 / row["infer"]["median_ms"])
    assert arms[0]["costs"]["latency"]["ratio"] == 1
    monkeypatch.setattr("resnet_lab.study.costs.bench", None)
    assert cli("study", "run", "--resume", done, "--json").code == 0


@pytest.mark.slow
def test_the_program_s_own(cli: Callable) -> None:
    listed = {row["name"]: row for row in json.loads(cli("study", "list", "--json").out)["studies"]}
    assert (listed["digits-parts"]["arms"], listed["paintings-five"]["arms"]) == (8, 5)
    assert "digits-parts" in cli("study", "list").out
    shown = cli("study", "show", "digits-parts")
    Path("mine.toml").write_text(shown.out)
    assert json.loads(cli("study", "show", "mine.toml", "--json").out)["study"]["name"] == "digits-parts"
    printed = json.loads(cli("study", "plan", "mine.toml", "--seeds", 4, "--size", 8, "--json").out)
    assert (printed["trials"], len(printed["arms"])) == (32, 8)
    assert cli("study", "run", "digits-part") == (
        2, "",
        "resnet-lab: digits-part: no such file, and no study of that name; "
        "did you mean 'digits-parts' or 'digits-parts-small'?\n",
    )  # fmt: skip


def test_factors_of_a_recipe(cli: Callable) -> None:
    options = ("--attn", "none,eca", "--factor", "train.lr=1e-3,1e-2", "--size", 8)
    printed = json.loads(cli("study", "plan", "--recipe", "digits-quick", *options, "--json").out)
    assert [arm["arm"] for arm in printed["arms"]] == ["none 1e-3", "none 1e-2", "eca 1e-3", "eca 1e-2"]
    assert printed["tests"] == 3
    code, out, err = cli("study", "plan", "--depth", "19,34")
    assert (code, out) == (2, "")
    assert "arm '19'" in err
    code, out, err = cli("study", "plan", "--factor", "lr=1,2")
    assert (code, out) == (2, "")
    assert err == "resnet-lab: --factor 'lr=1,2' must be TABLE.KEY=LIST, such as train.lr=1e-3,1e-2\n"


def test_a_page_and_its_plots(cli: Callable, done: Path) -> None:
    code, out, err = cli("study", "report", done)
    assert code == 0, err
    assert out.splitlines()[-1] == f"page: {done / 'report.html'}"
    html = (done / "report.html").read_text()
    assert "attn eca: " in html
    (done / "report.html").write_text("old")
    code, out, err = cli("study", "report", done, "--out", "page.html", "--plots", "plots", "--json")
    assert code == 0, err
    content = json.loads(out)
    assert content["page"] == "page.html"
    assert (done / "report.html").read_text() == "old"
    assert Path("page.html").read_text() == html
    assert "plots/effects.png" in content["plots"]
    assert all(Path(path).stat().st_size > 1000 for path in content["plots"])
    assert cli("study", "report", done, "--out", "page.html") == (
        2, "", "resnet-lab: page.html exists already and is left as it is; choose another name or remove it\n",
    )  # fmt: skip
    out = cli("study", "report", done, "--plots", "plots").out
    assert out.splitlines()[-1] == f"plots: {len(content['plots'])} files in plots"
    assert (done / "report.html").read_text() == html


@pytest.mark.parametrize("option", ["--markdown", "--latex", "--csv", "--parquet", "--plots"])
def test_no_output_has_the_place_of_the_page(cli: Callable, done: Path, tmp_path: Path, option: str) -> None:
    folder = Path(shutil.copytree(done, tmp_path / "copy"))
    (folder / "report.html").unlink(missing_ok=True)
    path = folder / "trials" / ".." / "report.html"
    assert cli("study", "report", folder, option, path) == (
        2, "", f"resnet-lab: {option} and the page are both {path}; give {option} another name, or the page, with "
        "--out\n",
    )  # fmt: skip
    assert not (folder / "report.html").exists()


def test_a_folder_of_something_else_is_no_study_s(cli: Callable) -> None:
    Path("pictures/cats").mkdir(parents=True)
    assert cli("study", "run", "--attn", "none,se", "--out", "pictures") == (
        2, "",
        "resnet-lab: pictures is a folder of something else: it holds no study.json; name a new one with --out\n",
    )  # fmt: skip
    assert [path.name for path in Path("pictures").iterdir()] == ["cats"]


def test_failed_and_missing_trials_are_reported(cli: Callable, done: Path) -> None:
    shutil.copytree(done, "copy")
    first, second = sorted(Path("copy/trials").glob("eca-*.json"))[:2]
    content = json.loads(first.read_text())
    first.write_text(json.dumps({**content, "problem": "it diverged", "scores": {}, "validation": None}))
    second.unlink()
    code, out, _ = cli("study", "report", "copy")
    assert code == 0
    assert "eca, seed 0 failed: it diverged" in out
    assert "1 trials have not finished" in out
    assert "1 seed" in out
    assert "exploratory" in out


def test_a_plan_takes_the_pilot_s_resolution(cli: Callable, done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its arms are decided already; of a further arm the clock decides. The source is opened once."""
    decided, opened = [], []
    monkeypatch.setattr(
        "resnet_lab.study.deciding.decided_eagerly",
        lambda study, sources: decided.extend(arm.name for arm in study.arms) or decided_eagerly(study, sources),
    )
    monkeypatch.setattr(
        opened_run, "open_images", lambda source, *args, **kw: opened.append(source) or open_images(source, *args, **kw)
    )
    pilot = json.loads((done / "resolved.json").read_text())["arms"].values()
    out = cli("study", "plan", "--attn", "none,eca,se", *SMALL, "--seeds", 6, "--pilot", done, "--json").out
    assert {each["name"] for each in pilot} == {"none", "eca"}
    assert decided == ["se"]
    assert {arm["epochs"] for arm in json.loads(out)["arms"]} == {each["epochs"] for each in pilot}
    assert opened == ["digits"]


def test_a_plan(cli: Callable, done: Path) -> None:
    code, out, err = cli("study", "plan", "--attn", "none,eca", *SMALL, "--seeds", 6, "--pilot", done, "--json")
    assert code == 0, err
    printed = json.loads(out)
    assert (printed["trials"], printed["tests"], printed["smallest_p"], printed["problem"]) == (12, 1, 2 / 64, None)
    assert printed["seconds"] == pytest.approx(6 * sum(arm["seconds"] for arm in printed["arms"]))
    differences = json.loads(cli("study", "report", done, "--json").out)["effects"][0]["differences"]
    assert printed["spreads"][0]["deviation"] == pytest.approx(np.std(differences, ddof=1))
    powers = [outlook["power"] for outlook in printed["outlooks"]]
    assert powers == sorted(powers)
    code, out, _ = cli("study", "plan", "--attn", "none,eca", *SMALL, "--seeds", 2, "--spread", "0.01")
    assert code == 0
    assert "no verdict: 2 seeds reach no verdict, whatever they find; take 3 at least" in out
    assert "seeds for 80%" in out


def test_a_file(cli: Callable) -> None:
    Path("s.toml").write_text('[study]\nname = "mine"\nseeds = 1\n[study.arms.a]\n[study.arms.b]\nattn = "seee"\n')
    code, out, err = cli("study", "run", "s.toml")
    assert (code, out) == (2, "")
    assert err == "resnet-lab: arm 'b': stage 1: unknown attention 'seee'; did you mean 'se'?\n"
    assert not Path("studies").exists()


def test_looks_of_commas_alone_are_refused(cli: Callable) -> None:
    assert cli("study", "plan", "--attn", "none,eca", "--looks", ",") == (
        2, "", "resnet-lab: --looks: ',' is a list without items; write them with commas between, or none\n",
    )  # fmt: skip


def test_bad_input(cli: Callable, done: Path) -> None:
    for arguments, message in {
        ("run",): "there is nothing to compare: name a study file, or parts such as --attn none,cbam",
        ("run", "--attn", "none"): "the options: there is no arm other than the baseline; give a factor two levels",
        ("run", "--attn", "none,se", "--metric", "kappa"): "the options: study: metric: input should be 'accuracy', ",
        ("run", "--model", "resnet20", "--depth", "18,34"): "the options: model and depth each name networks; give one",
        ("run", "--factor", "train.lr=1e-3,1e-2", "--tune-lr", "0.1"): "the options: tune_lr sets each arm's learning",
        ("run", "s.toml", "--attn", "se"): "--attn cannot be combined with s.toml; set it in the file",
        ("run", "--resume", done, "--attn", "se"): "--attn cannot be combined with --resume, which keeps the design",
        ("run", "--resume", done, "--out", "b"): "--out cannot be combined with --resume, which keeps the design",
        ("run", "--attn", "none,se", "--metric", "top5_accuracy", "--data", "synthetic(classes=5)"):
        "synthetic(classes=5): metric top5_accuracy is for more than 5 classes, and there are 5; take another",
        ("report", "q" * 300): f"{'q' * 300} is not a study folder: it holds no study.json; name one that",
        ("run", "--resume", "q" * 300): f"{'q' * 300} is not a study folder: it holds no study.json; name one that",
        ("search", "--resume", "q" * 300): f"{'q' * 300}",
        ("report", "absent"): "absent is not a study folder: it holds no study.json; name one that",
        ("run", "--attn", "none,se", "--data", "absent"): "absent: no such folder, and no data set of that name",
    }.items():  # fmt: skip
        code, out, err = cli("study", *arguments)
        assert (code, out) == (2, "")
        assert err.startswith(f"resnet-lab: {message}"), err
        assert err.count("\n") == 1


@pytest.mark.long
def test_a_thousand_trials_are_reported_in_20_seconds(tmp_path: Path) -> None:
    """CPU time of the whole command, in one of three tries, since the machine may have other work."""
    factors = {"act": ["relu", "gelu"], "attn": ["none", "eca"], "conv": ["dense", "depthwise"]}
    factors |= {"train.label_smoothing": [0.0, 0.1], "train.ema": [0.0, 0.9]}
    chosen = design(factors=factors, seeds=32)
    assert len(trials_of(chosen)) == 1024
    folder = tmp_path / "study"
    fabricate(folder, chosen, by_chance({arm.name: 0.8 for arm in chosen.arms}), n=200, classes=10)
    command, seconds = [sys.executable, "-m", "resnet_lab", "study", "report", folder, "--json"], []
    while not seconds or (min(seconds) >= 20 and len(seconds) < 3):
        before = os.times()
        done = subprocess.run(command, capture_output=True, text=True)
        after = os.times()
        seconds.append(sum(after[2:4]) - sum(before[2:4]))
        assert done.returncode == 0, done.stderr
    assert min(seconds) < 20, seconds
    assert [arm["n"] for arm in json.loads(done.stdout)["arms"]] == [32] * 32
    assert (folder / "report.html").stat().st_size > 10**6


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--looks", "4,2"), "looks must increase, got 4, 2; give each number of seeds once, in order"),
        (
            ("--looks", "4,6", "--seeds", 8),
            "the last look is at 6 seeds, and seeds is 8; give looks that end there, or leave seeds out",
        ),
        (("--looks", "4,6", "--adaptive"), "adaptive chooses the looks; give looks or adaptive"),
    ],
)
def test_looks_that_cannot_be(cli: Callable, options: tuple[object, ...], told: str) -> None:
    code, _, err = cli("study", "run", "--attn", "none,eca", *SMALL, *options)
    assert (code, err) == (2, f"resnet-lab: the options: {told}\n")
