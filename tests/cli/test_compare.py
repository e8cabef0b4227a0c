import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from resnet_lab.data.sources import open_images
from resnet_lab.evaluation import opened_run
from tests.cli.conftest import QUICK


@pytest.mark.slow
def test_two_runs(cli: Callable, paintings: Path) -> None:
    cli("train", "--data", paintings, *QUICK, "--epochs", 1, "--out", "a")
    cli(
        "train",
        "--data",
        paintings,
        *QUICK,
        "--act",
        "gelu",
        "--epochs",
        3,
        "--split-file",
        "a/splits.csv",
        "--out",
        "b",
    )
    code, out, err = cli("compare", "a", "b", "--split", "train", "--json")
    assert code == 0, err
    content = json.loads(out)
    scores = [json.loads(cli("eval", run, "--split", "train", "--json").out)["train"] for run in "ab"]
    for name, row in content["figures"].items():
        assert [row["first"], row["second"]] == [score[name] for score in scores]
    assert content["sign_test"]["fixed"] == len(content["fixed"])
    code, out, _ = cli("compare", "a", "b", "--split", "train")
    assert code == 0
    assert f"B fixed {len(content['fixed'])} and broke {len(content['broken'])} of {content['n']} images" in out
    for row in content["fixed"][:10]:
        assert f"fixed: {row['path']} ({row['true']})" in out


def test_runs_on_different_images(cli: Callable, paintings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their source is opened once."""
    opened = []
    monkeypatch.setattr(
        opened_run, "open_images", lambda source, *args, **kw: opened.append(source) or open_images(source, *args, **kw)
    )
    cli("train", "--data", paintings, *QUICK, "--epochs", 1, "--out", "a")
    shutil.copytree("a", "b")
    lines = Path("b/splits.csv").read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.endswith('"test"'))
    path = lines[at].split(",")[0].strip('"')
    lines[at] = lines[at].replace('"test"', '"val"')
    Path("b/splits.csv").write_text("\n".join(lines) + "\n")
    record = json.loads(Path("b/run.json").read_text())
    record["data"]["images"]["test"] -= 1
    record["data"]["images"]["val"] += 1
    record["test"]["n"] -= 1
    Path("b/run.json").write_text(json.dumps(record))
    code, out, err = cli("compare", "a", "b")
    assert (code, out) == (2, "")
    assert f"resnet-lab: a and b were scored on different images: 1 scored by a alone ({path})" in err
    assert opened == [str(paintings)]
