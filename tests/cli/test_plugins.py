import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest


def test_every_built_in_is_listed(cli: Callable) -> None:
    code, out, err = cli("plugins", "list", "--json")
    rows = json.loads(out)["plugins"]
    assert (code, err) == (0, "")
    own = {(row["kind"], row["name"]) for row in rows if row["source"] == "resnet-lab"}
    assert {
        *(("activation", name) for name in ("relu", "leaky_relu", "gelu", "silu", "mish", "hardswish")),
        *(("convolution", name) for name in ("dense", "depthwise", "separable")),
        *(("norm", name) for name in ("batch", "group", "layer", "none")),
        *(("attention", name) for name in ("none", "se", "eca", "cbam")),
        *(("block", name) for name in ("basic", "bottleneck")),
        ("dataset", "digits"),
        ("dataset", "synthetic"),
    } == own
    cbam = next(row for row in rows if row["name"] == "cbam")
    assert cbam == {
        "name": "cbam", "kind": "attention", "source": "resnet-lab", "version": version("resnet-lab"),
        "status": "loaded",
        "parameters": {"reduction": 16, "kernel_size": 7, "norm": False, "position": "branch"},
    }  # fmt: skip


def install(folder: Path, name: str, code: str) -> None:
    """What pip leaves of a distribution with one module."""
    module = name.replace("-", "_")
    (folder / f"{module}.py").write_text(code)
    info = folder / f"{module}-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.3\n")
    (info / "entry_points.txt").write_text(f"[resnet_lab]\n{module} = {module}\n")


@pytest.fixture
def broken(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.mktemp("site")
    install(folder, "lab-broken", "raise RuntimeError('out of luck')\n")
    monkeypatch.syspath_prepend(folder)


@pytest.mark.usefixtures("broken")
def test_a_broken_plugin_is_listed_and_stops_nothing(cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = cli("plugins", "list", "--json")
    assert code == 0
    assert json.loads(out)["plugins"][-1] == {
        "name": "lab_broken", "kind": "plugin", "source": "lab-broken", "version": "0.3", "status": "failed",
        "cause": "RuntimeError: out of luck",
    }  # fmt: skip
    monkeypatch.setenv("COLUMNS", "160")
    assert "failed: RuntimeError: out of luck" in cli("plugins", "list").out
    code, out, err = cli("build", "--depth", 18, "--json")
    assert (code, json.loads(out)["parameters"]) == (0, 11_689_512)
    assert err == "resnet-lab: warning: plugin lab_broken (lab-broken 0.3) failed: RuntimeError: out of luck\n"


@pytest.mark.usefixtures("broken")
def test_a_plugin_left_out(cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = json.loads(cli("plugins", "list", "--no-plugin", "lab-broken", "--json").out)["plugins"]
    assert rows[-1]["status"] == "disabled"
    monkeypatch.setenv("RESNET_LAB_PLUGINS", "")
    assert cli("build", "--depth", 18).err == ""
    monkeypatch.setenv("RESNET_LAB_PLUGINS", "lab_brokn")
    code, out, err = cli("build", "--depth", 18)
    assert (code, out) == (2, "")
    assert err == "resnet-lab: plugin 'lab_brokn' is not installed; did you mean 'lab_broken' or 'lab-broken'?\n"


@pytest.mark.usefixtures("broken")
def test_a_broken_plugin_is_named_where_it_may_be_needed(cli: Callable) -> None:
    code, _, err = cli("build", "--attn", "lucky")
    assert code == 2
    assert err.splitlines()[-1] == (
        "resnet-lab: stage 1: unknown attention 'lucky'; known: cbam, eca, none, se; "
        "plugin lab_broken (lab-broken 0.3) failed: RuntimeError: out of luck"
    )
