import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest


def test_table_csv_and_json(cli: Callable, trained: Path, paintings: Path, tmp_path: Path) -> None:
    (paintings / "red" / "bad.png").write_text("no image")
    warning = (
        f"resnet-lab: warning: {paintings}/red/bad.png: unreadable image (not an image of a known format); left out"
    )
    code, out, err = cli("predict", "run", paintings / "red", "--json")
    assert code == 0
    assert warning in err
    content = json.loads(out)
    assert content["bad"] == [{"path": f"{paintings}/red/bad.png", "cause": "not an image of a known format"}]
    assert len(content["images"]) == 12
    code, out, err = cli("predict", "run", f"{paintings}/red/*.png", "--csv")
    assert code == 0
    assert warning in err
    rows = list(csv.DictReader(io.StringIO(out)))
    assert {row["path"] for row in rows} == {image["path"] for image in content["images"]}
    for image in content["images"]:
        own = [row for row in rows if row["path"] == image["path"]]
        assert [(row["rank"], row["class"], float(row["probability"])) for row in own] == [
            (str(rank), top["class"], round(top["probability"], 6)) for rank, top in enumerate(image["top"], 1)
        ]
    code, out, _ = cli("predict", "run", paintings / "red" / "3.png", "--top", 1)
    assert code == 0
    assert "probability" in out
    assert cli("predict", "run", paintings, "--csv", "--json") == (
        2, "", "resnet-lab: --csv and --json both print; give one of them\n",
    )  # fmt: skip


def test_embeddings(cli: Callable, trained: Path, paintings: Path) -> None:
    code, out, _ = cli("predict", "run", paintings / "red", "--features-out", "red.parquet")
    assert code == 0
    assert out.rstrip().endswith("embeddings: 12 rows in red.parquet")
    code, out, _ = cli("predict", "run", paintings / "red", "--features-out", "again.parquet", "--json")
    assert (code, json.loads(out)["features"]) == (0, "again.parquet")
    tables = [pd.read_parquet(name) for name in ("red.parquet", "again.parquet")]
    pd.testing.assert_frame_equal(*tables)
    assert tables[0].path.tolist() == [image["path"] for image in json.loads(out)["images"]]
    assert cli("predict", "run", paintings / "red", "--features-out", "red.csv") == (
        2, "", "resnet-lab: red.csv: embeddings are written as Parquet; name a file that ends in .parquet\n"
    )  # fmt: skip


def test_bad_input(cli: Callable, trained: Path, paintings: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpg").write_text("no image")
    for arguments, message in {
        ("run", "absent.jpg"): "absent.jpg: no such image or folder",
        ("run", "empty"): (
            "empty holds no image; images end in .avif, .bmp, .gif, .jfif, .jpeg, .jpg, .png, .tif, .tiff, .webp"
        ),
        ("run", "text.jpg"): (
            "text.jpg: unreadable image (not an image of a known format); none of the images can be read"
        ),
        ("empty", "text.jpg"): (
            "empty is not a run folder: it holds no run.json; name one that `resnet-lab train` made"
        ),
        ("text.jpg", "text.jpg"): "text.jpg: not a whole safetensors file",
    }.items():  # fmt: skip
        code, out, err = cli("predict", *arguments)
        assert (code, out) == (2, "")
        assert err.startswith(f"resnet-lab: {message}")
        assert err.count("\n") == 1
    assert cli("predict", "run", "text.jpg", "--runtime", "tensorrt") == (
        2, "", "resnet-lab: runtime 'tensorrt' must be one of auto, torch, onnx\n"
    )  # fmt: skip


def test_untrained_weights_are_refused(cli: Callable, paintings: Path) -> None:
    cli("build", "--model", "resnet20", "--weights-out", "w.safetensors")
    code, out, err = cli("predict", "w.safetensors", paintings)
    assert (code, out) == (2, "")
    assert err == (
        "resnet-lab: w.safetensors: the weights name no classes and normalisation, as those that `resnet-lab train` "
        "writes do; they cannot be used on images\n"
    )


@pytest.mark.slow
def test_onnx_runtime_gives_the_same_answers(cli: Callable, trained: Path, paintings: Path) -> None:
    pytest.importorskip("onnxscript")
    by_torch, by_onnx = (
        json.loads(cli("predict", "run", paintings / "red", "--json", "--precision", "fp32", "--runtime", runtime).out)
        for runtime in ("torch", "onnx")
    )
    assert (by_torch["runtime"], by_onnx["runtime"]) == ("torch", "onnx")
    for one, other in zip(by_torch["images"], by_onnx["images"], strict=True):
        assert [each["class"] for each in one["top"]] == [each["class"] for each in other["top"]]
        assert [each["probability"] for each in one["top"]] == pytest.approx(
            [each["probability"] for each in other["top"]], abs=1e-5
        )


def test_a_runtime_that_does_not_fit(cli: Callable, trained: Path, paintings: Path) -> None:
    assert cli("predict", "run", paintings, "--runtime", "onnx", "--precision", "bf16") == (
        2, "",
        "resnet-lab: runtime onnx computes in fp32 on the CPU without torch's compiler, and precision is bf16; "
        "use precision fp32, or another runtime\n",
    )  # fmt: skip
    assert json.loads(cli("predict", "run", paintings / "red", "--json").out)["runtime"] == "torch"  # of few images
