import csv
import io
import json
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from markdown_it import MarkdownIt

from resnet_lab.bench import results
from resnet_lab.bench.arms import arms_of
from resnet_lab.core.errors import ConfigError, RunError
from resnet_lab.network import zoo
from tests.bench.results_by_hand import bench, result

BASE = [10.0, 11.0, 9.0, 10.0, 12.0, 10.0]


def content(factor: float = 1.5) -> dict:
    plain, changed = arms_of([zoo.get("resnet18")], {"act": ["relu", "gelu"]})
    slower = [factor * each for each in BASE]
    found = bench([result(plain, BASE, BASE), result(changed, slower, BASE, 2 * 10**9)])
    return json.loads(json.dumps(results.as_json(found, torch.device("cpu")), allow_nan=False))


def test_what_every_row_carries() -> None:
    found = content()
    arm = found["arms"][1]
    assert (arm["name"], arm["parameters"], arm["macs"]) == ("gelu", 1000, 2 * 10**9)
    timing = arm["infer"]
    assert (timing["median_ms"], timing["n"], timing["ratio"], timing["interval"]) == (15, 6, 1.5, [1.5, 1.5])
    assert timing["samples_ms"] == [1.5 * each for each in BASE]
    assert {"type", "name", "threads", "torch", "python", "commit"} <= found["machine"].keys()
    assert arm["spec_hash"] == zoo.get("resnet18").modified(act="gelu").hash
    assert "train" not in arm
    assert (found["left_out"], found["remarks"]) == ({"x": "why"}, ["a remark"])


def test_csv_and_markdown_say_the_same() -> None:
    found = content()
    rows = list(csv.DictReader(io.StringIO(results.as_csv(found))))
    assert [row["name"] for row in rows] == ["relu", "gelu"]
    assert (float(rows[1]["infer_ratio"]), float(rows[1]["infer_low"]), rows[1]["infer_verdict"]) == (
        1.5,
        1.5,
        "slower",
    )
    assert rows[1]["machine_torch"] == version("torch")
    assert rows[1]["train_median_ms"] == ""
    text = results.as_markdown(found)
    assert "| gelu | 1,000 | 2 G | 15.00 | 1.500 (1.500 to 1.500) |" in text
    assert "| relu | 1,000 | 1 G | 10.00 | 1 |" in text
    assert "- a remark" in text


def test_two_results_that_agree_and_differ() -> None:
    (baseline, change) = results.diff(content(), content(1.51), ("a", "b"))
    assert (baseline.arm, baseline.verdict) == ("relu", "agree")
    assert (change.arm, change.mode, change.verdict) == ("gelu", "infer", "agree")
    assert change.change == pytest.approx(1.51 / 1.5)
    assert change.interval == pytest.approx((1.51 / 1.5,) * 2), "no spread in either"
    assert results.diff(content(), content(1.6), ("a", "b"))[1].verdict == "differ"
    few = content()
    few["arms"][1]["infer"]["interval"] = None
    (_, change) = results.diff(content(), few, ("a", "b"))
    assert (change.verdict, change.interval) == ("undecided", None)


@pytest.mark.parametrize(
    ("interval", "margin", "verdict"),
    [
        ([1.4, 1.6], 0.02, "undecided"),
        ([1.4, 1.6], 0.1, "agree"),
        ([1.55, 1.6], 0.02, "differ"),
        ([1.55, 1.6], 0.05, "undecided"),
        ([1.4, 1.45], 0.02, "differ"),
    ],
)
def test_a_wide_interval_is_no_agreement(interval: list[float], margin: float, verdict: str) -> None:
    new = content()
    new["arms"][1]["infer"] |= {"ratio": sum(interval) / 2, "interval": interval}
    (_, change) = results.diff(content(), new, ("a", "b"), margin=margin)
    assert change.verdict == verdict
    assert change.interval == pytest.approx([end / 1.5 for end in interval]), "the old ratio has no spread"


@pytest.mark.parametrize("margin", [-0.1, 1.0, float("nan")])
def test_a_margin_is_a_share(margin: float) -> None:
    with pytest.raises(ConfigError) as failure:
        results.diff(content(), content(), ("a", "b"), margin=margin)
    assert str(failure.value) == f"--margin {margin}: a margin is a share from 0 to below 1, such as 0.02 for 2%"


def test_different_machines_are_refused_by_default() -> None:
    other = content()
    other["machine"]["threads"] = 99
    with pytest.raises(RunError) as failure:
        results.diff(content(), other, ("a.json", "b.json"))
    assert str(failure.value) == (
        f"a.json and b.json were measured on different machines (threads {torch.get_num_threads()} and 99); "
        "give --unlike to compare them"
    )
    assert len(results.diff(content(), other, ("a", "b"), unlike=True)) == 2


def test_nothing_in_common() -> None:
    other = content()
    for arm in other["arms"]:
        arm["batch"] = 77
    with pytest.raises(RunError) as failure:
        results.diff(content(), other, ("a", "b"))
    assert str(failure.value) == "a and b have no arm in common; they were given other networks or settings"


def test_files_of_other_formats(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    with pytest.raises(RunError) as failure:
        results.read(path)
    assert str(failure.value) == f"{path}: cannot be read: No such file or directory"
    for text in ("[]", '{"arms": []}'):
        path.write_text(text)
        with pytest.raises(RunError) as failure:
            results.read(path)
        assert str(failure.value) == f"{path}: not a result of `resnet-lab bench --out`; name a file that it wrote"
    path.write_text("no json")
    with pytest.raises(RunError, match=r"r\.json: damaged: not JSON: .*; restore the file, or measure"):
        results.read(path)
    path.write_text(json.dumps({**content(), "format": 2}))
    with pytest.raises(RunError) as failure:
        results.read(path)
    assert str(failure.value) == (
        f"{path}: result format 2, and this resnet-lab reads 1; measure again, or use the version that wrote it"
    )
    path.write_text(json.dumps(content()))
    assert results.read(path)["arms"][0]["name"] == "relu"


def test_names_stay_names() -> None:
    stored = content()
    stored["arms"][1]["name"], stored["remarks"] = "=a|<b>`", ["<b>|x"]
    stored["machine"]["name"] = "<b>"
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(results.as_markdown(stored))
    assert "<b>" not in page
    assert "<td>=a|&lt;b&gt;`</td>" in page
    rows = list(csv.DictReader(io.StringIO(results.as_csv(stored))))
    assert rows[1]["name"] == "'=a|<b>`"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (None, "input should be a table, or be left out, got None"),
        ({"memory": -5}, ".memory: input should be greater than or equal to 0, got -5"),
        ({"interval": [5.0, 1.0]}, ".interval: input should have the lower end first, got [5.0, 1.0]"),
        ({"median_ms": 1e-300}, "median_ms is 1e-300, and 15 by its samples"),
        ({"ratio": 1e300}, "ratio is 1e+300, outside its interval of 1.5 to 1.5"),
    ],
)
def test_timings_that_cannot_be(tmp_path: Path, changes: dict[str, object] | None, problem: str) -> None:
    stored, path = content(), tmp_path / "r.json"
    stored["arms"][1]["infer"] = None if changes is None else stored["arms"][1]["infer"] | changes
    path.write_text(json.dumps(stored))
    with pytest.raises(RunError) as failure:
        results.read(path)
    assert str(failure.value) == (
        f"{path}: damaged: arms.1.infer{'' if problem.startswith('.') else ': '}{problem}; restore the file, or "
        "measure again"
    )
