import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from resnet_lab.network import zoo
from tests.bench.short import shorten

QUICK = ("--model", "resnet20", "--size", 8, "--batch-size", 2, "--precision", "fp32", "--mode", "infer")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


@pytest.mark.slow
def test_everything_that_is_written(cli: Callable) -> None:
    code, out, err = cli(
        "bench", *QUICK, "--act", "relu,gelu", "--attn", "none,cbam", "--rounds", 6, "--peer", "timm", "--explain",
        "--out", "b.json", "--csv", "b.csv", "--markdown", "b.md", "--plots", "plots", "--html", "b.html",
        "--json",
    )  # fmt: skip
    assert code == 0, err
    content = json.loads(out)
    assert json.loads(Path("b.json").read_text()) == content
    names = ["relu none", "relu cbam", "gelu none", "gelu cbam"]
    assert [arm["name"] for arm in content["arms"]] == names
    assert content["left_out"] == {f"{name} (timm)": "timm has no such network" for name in names}
    for arm in content["arms"]:
        assert {"name", "parameters", "macs", "infer"} <= arm.keys()
        assert {"median_ms", "iqr_ms", "n", "ratio", "interval"} <= arm["infer"].keys()
        assert arm["infer"]["n"] == 6
    assert content["reasons"]["gelu none"][0].startswith("1.000 times the multiply-adds, ")
    with open("b.csv", newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == names
    assert "| relu cbam |" in Path("b.md").read_text()
    with Image.open("plots/time-infer.png") as picture:
        assert picture.width > 800
    text = Path("plots/time-infer.svg").read_text()
    assert text.startswith("<?xml")
    assert Path("plots/stages.png").exists()
    html = Path("b.html").read_text()
    assert '<h2 id="roofline">Roofline</h2>' in html
    out = cli("bench", "report", "b.json", "--out", "again.html", "--json").out
    assert json.loads(out) == {"page": "again.html", "plots": []}
    assert Path("again.html").read_text() == html
    code, out, _ = cli("bench", "report", "b.json", "--plots", "drawn")
    assert (code, out) == (0, "page: b.html\nplots: 14 files in drawn\n")
    code, out, _ = cli("bench", "diff", "b.json", "b.json", "--json")
    changes = json.loads(out)["changes"]
    assert (code, [change["change"] for change in changes]) == (0, [1] * 4)
    assert changes[0]["verdict"] == "agree"  # the baseline's, whose ratio is 1
    for change in changes[1:]:
        low, high = change["interval"] or (0, 2)
        assert low < 1 < high
        assert change["verdict"] == ("agree" if low >= 0.98 and high <= 1.02 else "undecided")
    code, out, _ = cli("bench", "diff", "b.json", "b.json")
    assert "agree" in out
    assert cli("bench", *QUICK, "--out", "b.json") == (
        2, "", "resnet-lab: b.json exists already and is left as it is; choose another name or remove it\n",
    )  # fmt: skip


@pytest.mark.slow
def test_the_screen(cli: Callable) -> None:
    code, out, _ = cli(
        "bench",
        *QUICK[:-4],
        "--act",
        "relu,gelu",
        "--rounds",
        1,
        "--explain",
        "--batch-size",
        "1,2,4",
        "--mode",
        "infer",
    )
    assert code == 0
    for text in ("images/s", "a second copy of the baseline", "time grows as batch^", "undecided", "FLOPs = 2 x MACs"):
        assert text in out


def test_networks_from_files(cli: Callable) -> None:
    for number, attn in enumerate(("none", "se")):
        Path(f"{number}.json").write_text(zoo.get("resnet20").modified(attn=attn, input_size=8, name=attn).to_json())
    code, out, _ = cli("bench", "--spec", "0.json", "--spec", "1.json", *QUICK[2:], "--rounds", 1, "--json")
    assert (code, [arm["name"] for arm in json.loads(out)["arms"]]) == (0, ["none", "se"])


def test_the_arms_of_a_study(cli: Callable) -> None:
    text = """[study.arms.plain]
[study.arms.gated]
attn = "se"
[model]
model = "resnet20"
input_size = 8
[train]
batch_size = 2
precision = "fp32"
"""
    Path("s.toml").write_text(text)
    code, out, err = cli("bench", "--study", "s.toml", "--mode", "infer", "--rounds", 1, "--json")
    assert code == 0, err
    arms = json.loads(out)["arms"]
    assert [(arm["name"], arm["batch"], arm["dtype"]) for arm in arms] == [
        ("plain", 2, "float32"), ("gated", 2, "float32"),
    ]  # fmt: skip
    assert arms[1]["spec_hash"] == zoo.get("resnet20").modified(attn="se", input_size=8).hash
    for option, value in (
        ("--act", "gelu"),
        ("--size", 8),
        ("--batch-size", 4),
        ("--layout", "auto"),
        ("--peer", "timm"),
    ):
        assert cli("bench", "--study", "s.toml", option, value) == (
            2, "", f"resnet-lab: {option} cannot be combined with --study, which names the arms\n",
        )  # fmt: skip
    Path("s.toml").write_text(text.replace("batch_size = 2", 'batch_size = "auto"'))
    assert cli("bench", "--study", "s.toml") == (
        2, "", "resnet-lab: s.toml: arm 'plain' has batch_size auto; a bench needs a number\n",
    )  # fmt: skip


@pytest.mark.slow
def test_memory_in_a_process_of_its_own(cli: Callable) -> None:
    code, out, err = cli(
        "bench", *QUICK, "--batch-size", "1,256", "--size", 32, "--rounds", 1, "--process-memory", "--json"
    )
    assert code == 0, err
    few, many = (arm["process_memory"]["infer"] for arm in json.loads(out)["arms"])
    assert many - few > 255 * 16 * 32 * 32 * 4  # at least one feature map more of every image


def test_a_page_of_no_bench(cli: Callable) -> None:
    Path("b.json").write_text("[]")
    assert cli("bench", "report", "b.json") == (
        2, "", "resnet-lab: b.json: not a result of `resnet-lab bench --out`; name a file that it wrote\n",
    )  # fmt: skip
    assert cli("bench", "report", ".") == (2, "", "resnet-lab: .: cannot be read: Is a directory\n")
    code, _, err = cli("bench", "report", "b.json", "--out", "b.json")
    assert (code, err) == (
        2, "resnet-lab: b.json exists already and is left as it is; choose another name or remove it\n",
    )  # fmt: skip


def test_bad_input(cli: Callable, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    for arguments, message in {
        ("--peer", "keras"): "unknown peer 'keras'; peers are torchvision, timm",
        ("--batch-size", "8,x"): "bench: batch_size.1: input should be a valid integer, got 'x'",
        ("--batch-size", "8,0"): "bench: batch_size.1: input should be greater than or equal to 1, got 0",
        ("--batch-size", "none"): "bench: batch_size: list should have at least 1 item, got []",
        ("--batch", "8,4"): "--batch is --batch-size now; write --batch-size 8,4",
        ("--mode", "speed"): "bench: mode.0: input should be 'latency', 'infer' or 'train', got 'speed'",
        ("--compile", "auto"): "bench: compile.0: input should be 'off', 'on' or 'max', got 'auto'",
        ("--layout", "x"): "bench: layout.0: input should be 'auto', 'channels-last' or 'channels-first', got 'x'",
        ("--rounds", "0"): "bench: rounds: input should be greater than or equal to 1, got 0",
        ("--act", "relu,rleu"): "stage 1: unknown activation 'rleu'; did you mean 'relu'",
        ("--model", "resnet18", "--depth", "18"): "--model and --depth each name networks; give one of them",
        ("--act", "relu,relu"): "the arms 'relu' and 'relu' are the same network, run alike; name one",
        ("diff", "other.json", "other.json"): "other.json: not a result of `resnet-lab bench --out`; name a file",
    }.items():  # fmt: skip
        code, out, err = cli("bench", *arguments)
        assert (code, out) == (2, "")
        assert err.startswith(f"resnet-lab: {message}"), err
        assert err.count("\n") == 1
