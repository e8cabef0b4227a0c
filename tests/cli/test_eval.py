import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score

from resnet_lab.cli.scores import print_summary
from resnet_lab.evaluation.metrics import summarise
from resnet_lab.evaluation.predictions import Predictions


def test_embeddings(cli: Callable, trained: Path) -> None:
    code, out, _ = cli("eval", "run", "--split", "train", "--features-out", "train.parquet", "--json")
    assert (code, json.loads(out)["features"]) == (0, "train.parquet")
    table = pd.read_parquet("train.parquet")
    assert set(table.part) == {"train"}
    assert table["class"].value_counts().to_dict() == {
        each["name"]: each["support"] for each in json.loads(out)["classes"]
    }
    code, out, _ = cli("eval", "run", "--features-out", "test.parquet")
    assert code == 0
    assert out.rstrip().endswith(f"embeddings: {len(pd.read_parquet('test.parquet'))} rows in test.parquet")
    assert cli("eval", "--weights", "w.pth", "--data", "digits", "--features-out", "a.parquet") == (
        2, "",
        "resnet-lab: --features-out is of a run, and --weights are scored on all images of --data; leave it out\n"
    )  # fmt: skip


def test_every_number(cli: Callable, trained: Path, paintings: Path) -> None:
    code, out, err = cli("eval", "run", "--split", "val", "--csv", "val.csv", "--json")
    assert code == 0, err
    content = json.loads(out)
    assert (content["run"], content["split"], content["best_epoch"]) == ("run", "val", content["best_epoch"])
    with open("val.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert content["val"]["macro_accuracy"] == pytest.approx(
        balanced_accuracy_score([row["true"] for row in rows], [row["predicted"] for row in rows])
    )
    assert content["val"]["n"] == len(rows)
    low, high = content["intervals"]["accuracy"]
    assert low <= content["val"]["accuracy"] <= high
    assert Path(content["predictions"]) == Path("run/predictions/val.safetensors")
    assert Path(content["predictions"]).exists()
    again = cli("eval", "run", "--split", "val", "--json")
    assert json.loads(again.out) == content
    assert "are taken from run/predictions/val.safetensors" in again.err
    assert cli("eval", "run", "--csv", "val.csv") == (
        2, "", "resnet-lab: val.csv exists already and is left as it is; choose another name or remove it\n",
    )  # fmt: skip


@pytest.mark.slow
def test_onnx_runtime_scores_the_same_and_is_recorded(cli: Callable, trained: Path) -> None:
    pytest.importorskip("onnxscript")
    by_torch = json.loads(cli("eval", "run", "--precision", "fp32", "--runtime", "torch", "--json").out)
    by_onnx = json.loads(cli("eval", "run", "--runtime", "onnx", "--again", "--json").out)
    assert (by_torch.pop("runtime"), by_onnx.pop("runtime")) == ("torch", "onnx")
    assert Predictions.read(Path(by_onnx["predictions"])).origin.device["runtime"] == "onnx"
    assert by_onnx["confusion"] == by_torch["confusion"]
    assert by_onnx["test"] == pytest.approx(by_torch["test"], abs=1e-4)


def test_another_source(cli: Callable, trained: Path, paintings: Path) -> None:
    code, out, _ = cli("eval", "run", "--data", paintings, "--json")
    content = json.loads(out)
    assert (code, content["split"], content["all"]["n"]) == (0, "all", 24)
    assert Path(content["predictions"]).name.startswith("all-paintings-")
    assert Path(content["predictions"]).exists()


def test_the_screen(cli: Callable, trained: Path, paintings: Path) -> None:
    code, out, _ = cli("eval", "run", "--split", "train")
    assert code == 0
    for text in ("macro accuracy", "95% interval", "calibration error (ECE)", "by chance", "rank of the truth", "red"):
        assert text in out


def test_bad_input(cli: Callable, trained: Path, paintings: Path, tmp_path: Path) -> None:
    assert cli("eval", "absent") == (
        2, "", "resnet-lab: absent is not a run folder: it holds no run.json; name one that `resnet-lab train` made\n",
    )  # fmt: skip
    (paintings / "red").rename(paintings / "green")
    code, out, err = cli("eval", "run", "--data", paintings)
    assert (code, out) == (2, "")
    assert err == (
        f"resnet-lab: {paintings}: its classes are not the network's: missing ['red'], unknown ['green']; "
        "use a folder with the same class names, or map them with --class-map 'green=red' (or 'green=' to "
        "leave it out)\n"
    )
    code, out, err = cli("eval", "run", "--data", paintings, "--class-map", "green=red", "--json")
    assert (code, json.loads(out)["all"]["n"], json.loads(out)["absent"]) == (0, 24, [])
    assert "'green' is taken for 'red'" in err
    Path("run/best.safetensors").unlink()
    code, _, err = cli("eval", "run")
    assert code == 2
    assert err.startswith("resnet-lab: run: the run has no weights yet (no best.safetensors)")


def test_the_screen_names_the_intervals_of_few_images(capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.array([0, 0, 1, 1, 1, 2, 2, 2])
    print_summary(summarise(labels, np.eye(3, dtype=np.float32)[labels], tuple("abc")), "few")
    out = capsys.readouterr().out
    assert "Interval for macro accuracy and macro recall: Wilson over classes." in out
    named = "No interval for log loss (nats), Brier score and mean p(true class)"
    assert f"{named}: fewer than 5 images are classified wrongly, or correctly." in out


def test_views_are_averaged_over_where_asked_for(cli: Callable, trained: Path, paintings: Path) -> None:
    code, out, _ = cli("eval", "run", "--tta", "flip", "--json")
    content = json.loads(out)
    assert (code, content["tta"]) == (0, ["flip"])
    assert Path(content["predictions"]).name == "test-tta-flip.safetensors"
    assert json.loads(cli("eval", "run", "--json").out)["tta"] == []
    assert "mean of 8 views (flip, rotate90)" in cli("eval", "run", "--tta", "flip,rotate90").out
    code, out, _ = cli("predict", "run", paintings, "--tta", "rotate90", "--json")
    assert (code, json.loads(out)["tta"]) == (0, ["rotate90"])
    for command in (("eval", "run"), ("predict", "run", paintings)):
        code, out, err = cli(*command, "--tta", "jitter")
        assert (code, out) == (2, "")
        assert err.startswith("resnet-lab: tta 'jitter': test-time augmentation averages over all views of an image, ")
