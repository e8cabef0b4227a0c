import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="needs the package optuna")

SMALL = (
    "--size", 8, "--data", "digits", "--epochs", 1, "--set", "train.batch_size=256", "--set", "train.precision=fp32",
    "--set", "train.compile=off", "--set", "train.device=cpu", "--set", "model.model=resnet20",
)  # fmt: skip


@pytest.mark.slow
def test_from_options_to_a_study(cli: Callable) -> None:
    search = ("study", "search", "--attn", "none,eca", "--range", "train.lr=1e-3,1e-2,log", *SMALL, "--out", "found")
    code, out, err = cli(*search, "--trials", 2)
    assert code == 0, err
    lines = err.splitlines()
    assert lines[0].startswith("baseline: attn=none: validation macro accuracy 0.")
    assert [line[:7] for line in lines[1:]] == ["1 of 2:", "2 of 2:"]
    assert out.startswith("exploratory: chosen on the validation part at one seed\n")
    assert "importance among the tries (fANOVA)" in out

    code, out, err = cli("study", "search", "--resume", "found", "--trials", 3, "--json")
    assert (code, err) == (0, "")
    content = json.loads(out)
    assert content["label"] == "exploratory: chosen on the validation part at one seed"
    assert len(content["tried"]) == 3
    for row in [content["baseline"], *content["tried"]]:
        record = json.loads((Path("found/trials") / row["trial"] / "run.json").read_text())
        with open(Path("found/trials") / row["trial"] / "metrics.csv") as file:
            header, *epochs = (line.strip().split(",") for line in file)
        best = epochs[record["best_epoch"] - 1]
        assert row["validation"] == pytest.approx(float(best[header.index("val_macro_accuracy")]))
    if content["confirm"] is not None:
        code, out, err = cli("study", "plan", content["confirm"], "--spread", "0.01", "--json")
        assert code == 0, err
        assert json.loads(out)["trials"] == 12


def test_bad_input(cli: Callable) -> None:
    Path("s.toml").write_text('[study.search]\n"train.lr" = {low = 0.1, high = 0.01}\n')
    Path("t.toml").write_text("[study]\nseeds = 3\n")
    for arguments, message in {
        (): "the options: there is nothing to search; give a factor two levels, or [study.search] a range",
        ("s.toml",): "s.toml: study.search: train.lr: low must be less than high, got 0.1 and 0.01",
        ("t.toml",): "t.toml: there is nothing to search; give a factor two levels, or [study.search] a range",
        ("t.toml", "--attn", "none,se"): "--attn cannot be combined with t.toml; set it in the file",
        ("--range", "train.lr"): "--range 'train.lr' must be TABLE.KEY=LOW,HIGH or TABLE.KEY=LOW,HIGH,log, such as ",
        ("--range", "train.lr=1e-3,1e-2,lag"): "--range 'train.lr=1e-3,1e-2,lag' must be TABLE.KEY=LOW,HIGH or ",
        ("--range", "lr=1e-3,1e-2"): "the options: arm 'arm': unknown key 'lr'; write one of model, depth, ",
        ("--range", "train.lr=0,1e-2,log"): "the options: study.search: train.lr: a range by log must begin above 0, ",
        ("--attn", "none,seee"): "attn 'seee': stage 1: unknown attention 'seee'; did you mean 'se'?",
        ("--resume", "absent"): "absent is not a search folder: it holds no search.json; name one that `resnet-lab ",
        ("--resume", "absent", "--out", "b"): "--out cannot be combined with --resume, which keeps the design",
        ("--resume", "absent", "--attn", "se"): "--attn cannot be combined with --resume, which keeps the design",
    }.items():  # fmt: skip
        code, out, err = cli("study", "search", *arguments)
        assert (code, out) == (2, ""), arguments
        assert err.startswith(f"resnet-lab: {message}"), err
        assert err.count("\n") == 1
    assert not Path("studies").exists()
