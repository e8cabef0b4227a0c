import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import resnet_lab.cli.report  # noqa: F401 (adds its command)
from tests.cli.conftest import QUICK
from tests.report.parsing import Page, require_readable_aloud, require_self_contained


@pytest.fixture
def run(barely_trained: Path) -> str:
    return "run"


@pytest.mark.slow
def test_a_page_with_the_figures_of_eval(cli: Callable, run: str) -> None:
    code, out, err = cli("report", run, "--split", "train", "--gallery", 3, "--plots", "plots", "--json")
    assert code == 0, err
    content = json.loads(out)
    assert content["report"] == "run/report.html"
    html = Path("run/report.html").read_text()
    require_self_contained(html)
    require_readable_aloud(html)
    scored = json.loads(cli("eval", run, "--split", "train", "--json").out)
    assert {**content["headline"]} == scored["train"]
    for name in ("intervals", "classes", "confusion", "pairs", "calibration", "ranks", "abundance"):
        assert content[name] == scored[name]
    assert content["history"][0]["epoch"] == content["best_epoch"] == 1
    assert content["network"]["parameters"] == sum(stage["parameters"] for stage in content["network"]["stages"])
    shown = content["mistakes"]
    assert 1 <= len(shown) <= 3
    assert all(work["predicted"]["class"] != work["true"]["class"] == work["path"].split("/")[0] for work in shown)
    assert all(near["path"].split("/")[0] == work["predicted"]["class"] for work in shown for near in work["nearest"])
    assert len(Page(html).all("img")) == 6 * len(shown)
    assert sorted(content["plots"]) == sorted(str(path) for path in Path("plots").iterdir())
    for path in Path("plots").glob("*.png"):
        with Image.open(path) as image:
            image.load()


@pytest.mark.slow
def test_the_page_is_replaced_and_other_files_are_not(cli: Callable, run: str) -> None:
    code, out, _ = cli("report", run)
    assert (code, out) == (0, "page: run/report.html\n")
    assert cli("report", run).code == 0
    assert "Maps by grad-cam: share" in Path("run/report.html").read_text()
    assert cli("report", run, "--maps", "occlusion", "--gallery", 1).code == 0
    page = Path("run/report.html").read_text()
    assert "Maps by occlusion: share" in page
    assert "<code>input</code>, 7 × 7 positions" in page, "windows of 2 of 8 pixels, 1 apart"
    code, out, _ = cli("report", run, "--out", "my.html", "--plots", "plots", "--gallery", 0)
    assert (code, out) == (0, "page: my.html\nplots: 12 files in plots\n")
    assert "#works" not in Path("my.html").read_text()
    assert cli("report", run, "--out", "my.html") == (
        2, "", "resnet-lab: my.html exists already and is left as it is; choose another name or remove it\n",
    )  # fmt: skip


@pytest.mark.slow
def test_several_runs_on_one_page(cli: Callable, paintings: Path, run: str) -> None:
    cli("train", "--data", paintings, *QUICK, "--act", "gelu", "--split-file", "run/splits.csv", "--out", "gelu")
    code, out, err = cli("report", run, "gelu", "--split", "train", "--json", "--plots", "plots")
    assert code == 0, err
    content = json.loads(out)
    assert content["report"] == "run/compared-with-gelu.html"
    html = Path(content["report"]).read_text()
    require_self_contained(html)
    require_readable_aloud(html)
    assert [each["run"] for each in content["runs"]] == ["run", "gelu"]
    compared = json.loads(cli("compare", run, "gelu", "--split", "train", "--json").out)
    assert content["comparisons"][0] == {key: value for key, value in compared.items() if key != "split"}
    disputed = compared["fixed"] + compared["broken"]
    assert len(Page(html).all("img")) == 3 * min(24, len(disputed)) > 0
    assert len(content["plots"]) == 10


def test_a_map_of_embeddings(cli: Callable, paintings: Path, run: str) -> None:
    code, out, err = cli("report", run, "--data", paintings, "--map", "--gallery", 0, "--plots", "plots", "--json")
    assert code == 0, err
    content = json.loads(out)
    assert (content["map"]["n"], content["map"]["scored"]) == (24, 24)
    assert content["map"]["accuracy"] == content["headline"]["accuracy"]
    assert all((paintings / image["path"]).exists() for image in content["map"]["images"])
    assert {"plots/map.png", "plots/map.svg"} <= set(content["plots"])
    assert 'id="map"' in Path("run/report.html").read_text()
    assert cli("report", run, "other", "--map") == (
        2, "", "resnet-lab: --map is of one run, got 2; leave it out, or name one run\n",
    )  # fmt: skip
    code, out, err = cli("report", run, "--map", "--out", "my.html")
    assert (code, out) == (2, "")
    assert "a map of embeddings takes at least 20 scored images, got " in err
    assert not Path("my.html").exists()


def test_another_source(cli: Callable, paintings: Path, run: str) -> None:
    code, out, _ = cli("report", run, "--data", paintings, "--json")
    content = json.loads(out)
    assert (code, content["split"], content["source"]) == (0, "all", str(paintings))
    assert "map" not in content
    assert content["headline"]["n"] == 24


@pytest.mark.slow
def test_a_run_whose_images_are_gone(cli: Callable, paintings: Path, run: str) -> None:
    cli("eval", run)
    paintings.rename("elsewhere")
    code, out, _ = cli("report", run, "--json")
    content = json.loads(out)
    assert code == 0
    assert any(
        text.startswith("The images cannot be read now, so the kept predictions are shown")
        for text in content["remarks"]
    )
    assert "mistakes" not in content
    assert content["headline"]["n"] > 0


def test_bad_input(cli: Callable, paintings: Path, run: str) -> None:
    assert cli("report", "absent") == (
        2, "", "resnet-lab: absent is not a run folder: it holds no run.json; name one that `resnet-lab train` made\n",
    )  # fmt: skip
    content = json.loads(Path("run/run.json").read_text())
    Path("run/run.json").write_text(json.dumps({**content, "status": "running"}))
    code, out, err = cli("report", run, "--split", "test")
    assert (code, out) == (2, "")
    assert err.startswith("resnet-lab: run: the training is not finished (running), and its test part stays unseen")
    assert cli("report", run).code == 0
    cli("train", "--data", paintings, *QUICK, "--epochs", 1, "--seed", 3, "--out", "other")
    code, out, err = cli("report", "other", run)
    assert (code, out) == (2, "")
    assert "other and run were scored on different images: " in err
