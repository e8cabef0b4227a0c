import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

SMALL = (
    "--size", 8, "--data", "digits", "--epochs", 1, "--set", "train.batch_size=256", "--set", "train.precision=fp32",
    "--set", "train.compile=off", "--set", "train.device=cpu", "--set", "model.model=resnet20",
)  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two arms and three seeds."""
    return tmp_path_factory.mktemp("study") / "study"


def test_from_options_to_a_verdict(cli: Callable, done: Path) -> None:
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
    assert arm["parameters"] > baseline["parameters"]
    assert arm["difference"] == effect["difference"]


def test_said_again_without_training(cli: Callable, done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_lab.study.trials.train", None)
    code, out, err = cli("study", "report", done, "--json", "--markdown", "r.md", "--csv", "t.csv")
    assert code == 0, err
    content = json.loads(out)
    text = Path("r.md").read_text()
    assert f"- {content['effects'][0]['in_words']}" in text
    assert "## Method" in text
    with open("t.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["arm"], row["seed"], row["attn"]) for row in rows][:2] == [("none", "0", "none"), ("eca", "0", "eca")]
    assert float(rows[0]["macro_accuracy"]) == content["trials"][0]["scores"]["macro_accuracy"]
    again = cli("study", "run", "--resume", done)
    assert again.code == 0
    assert content["effects"][0]["in_words"] in again.out
    assert cli("study", "report", done, "--csv", "t.csv") == (
        2, "", "resnet-lab: t.csv exists already and is left as it is; choose another name or remove it\n",
    )  # fmt: skip


def test_what_failed_and_what_is_missing_is_said(cli: Callable, done: Path) -> None:
    shutil.copytree(done, "copy")
    first, second = sorted(Path("copy/trials").glob("eca-*.json"))[:2]
    content = json.loads(first.read_text())
    first.write_text(json.dumps({**content, "problem": "it diverged", "scores": {}, "validation": None}))
    second.unlink()
    code, out, _ = cli("study", "report", "copy")
    assert code == 0
    assert "eca, seed 0 failed: it diverged" in out
    assert "1 trials are not over" in out
    assert "1 seed" in out
    assert "exploratory" in out


def test_a_plan(cli: Callable, done: Path) -> None:
    code, out, err = cli("study", "plan", "--attn", "none,eca", *SMALL, "--seeds", 6, "--pilot", done, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["trials"], told["tests"], told["smallest_p"], told["problem"]) == (12, 1, 2 / 64, None)
    assert told["seconds"] == pytest.approx(6 * sum(arm["seconds"] for arm in told["arms"]))
    differences = json.loads(cli("study", "report", done, "--json").out)["effects"][0]["differences"]
    assert told["spread"] == pytest.approx(np.std(differences, ddof=1))
    powers = [outlook["power"] for outlook in told["outlooks"]]
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


def test_bad_input(cli: Callable, done: Path) -> None:
    for arguments, message in {
        ("run",): "there is nothing to compare: name a study file, or parts such as --attn none,cbam",
        ("run", "--attn", "none"): "the options: there is no arm beside the baseline; give a factor two levels",
        ("run", "--attn", "none,se", "--metric", "kappa"): "the options: study: metric: input should be 'accuracy', ",
        ("run", "s.toml", "--attn", "se"): "--attn cannot be given beside s.toml; say it in the file",
        ("run", "--resume", done, "--attn", "se"): "--attn cannot be given with --resume, which goes on as it began",
        ("report", "absent"): "absent is not a study folder: it holds no study.json; name one that",
        ("run", "--attn", "none,se", "--data", "absent"): "absent: no such folder, and no data set of that name",
    }.items():  # fmt: skip
        code, out, err = cli("study", *arguments)
        assert (code, out) == (2, "")
        assert err.startswith(f"resnet-lab: {message}"), err
        assert err.count("\n") == 1
