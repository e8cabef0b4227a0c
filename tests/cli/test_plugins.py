import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import click
import pytest
import typer

from resnet_lab.cli.root import app
from resnet_lab.testing import checking
from tests.cli.conftest import QUICK


def test_every_built_in_is_listed(cli: Callable) -> None:
    code, out, err = cli("plugins", "list", "--json")
    rows = json.loads(out)["plugins"]
    assert (code, err) == (0, "")
    own = {(row["kind"], row["name"]) for row in rows if row["source"] == "resnet-lab"}
    assert {
        *(("activation", name) for name in ("relu", "leaky_relu", "gelu", "silu", "mish", "hardswish", "prelu")),
        *(("convolution", name) for name in ("dense", "depthwise", "separable", "ws", "partial", "ghost")),
        *(
            ("norm", name)
            for name in ("batch", "frozen_batch", "filter_response", "group", "instance", "layer", "none")
        ),
        *(("attention", name) for name in ("none", "se", "eca", "cbam", "bam", "gc", "coord", "strip", "ela")),
        *(("block", name) for name in ("basic", "bottleneck", "sk_basic", "sk_bottleneck")),
        *(("shortcut", name) for name in ("projection", "zero_pad", "pooled_projection")),
        *(("stem", name) for name in ("plain", "deep", "deep_tiered", "cifar", "patchify", "space_to_depth")),
        *(("downsample", name) for name in ("strided", "average", "blur", "max_blur")),
        *(("pool", name) for name in ("average", "maximum", "average_maximum", "concatenation", "gem")),
        *(("tracker", name) for name in ("tensorboard", "mlflow", "wandb", "aim")),
        ("dataset", "digits"),
        ("dataset", "synthetic"),
    } == own
    cbam = next(row for row in rows if row["name"] == "cbam")
    assert cbam == {
        "name": "cbam", "kind": "attention", "source": "resnet-lab", "version": version("resnet-lab"),
        "status": "loaded",
        "parameters": {"reduction": 16, "kernel_size": 7, "norm": False, "init": "default", "position": "branch"},
    }  # fmt: skip


def install(folder: Path, name: str, code: str) -> None:
    """Install as pip does a distribution with one module."""
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
    monkeypatch.delenv("RESNET_LAB_PLUGINS")
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
        "resnet-lab: stage 1: unknown attention 'lucky'; known: bam, cbam, coord, eca, ela, gc, none, se, strip; "
        "plugin lab_broken (lab-broken 0.3) failed: RuntimeError: out of luck"
    )


# One file


HALVE = """from torch import nn
from resnet_lab.plugin_api import hookimpl

class Halve(nn.Module):
    def forward(self, x):
        return x / 2

@hookimpl
def register_activations(register):
    register("halve", Halve)
"""


@pytest.fixture
def halve(tmp_path: Path) -> Path:
    path = tmp_path / "halve.py"
    path.write_text(HALVE)
    return path


def test_a_file_is_listed(cli: Callable, halve: Path) -> None:
    digest = hashlib.sha256(halve.read_bytes()).hexdigest()
    rows = json.loads(cli("plugins", "list", "--plugin", "halve.py", "--json").out)["plugins"]
    assert next(row for row in rows if row["name"] == "halve") == {
        "name": "halve", "kind": "activation", "source": "halve.py (file)", "version": digest[:12], "status": "loaded",
        "parameters": {},
    }  # fmt: skip


def test_a_file_that_fails_is_bad_input(cli: Callable, halve: Path) -> None:
    halve.write_text(HALVE.replace("Halve)", "Halves)"))
    code, out, err = cli("build", "--depth", 18, "--plugin", "halve.py")
    assert (code, out) == (2, "")
    assert err == f"resnet-lab: plugin file {halve}, line 10: NameError: name 'Halves' is not defined\n"


def test_every_command_that_can_leave_plugins_out_can_load_files() -> None:
    found = {}

    def walk(command: click.Command, name: str) -> None:
        for each, inner in getattr(command, "commands", {}).items():
            walk(inner, f"{name} {each}")
        options = {option for parameter in command.get_params(typer.Context(command)) for option in parameter.opts}
        found[name] = "--no-plugin" in options, "--plugin" in options

    walk(typer.main.get_command(app), "")
    assert [name for name, (one, other) in found.items() if one != other] == []
    assert sum(one for one, _ in found.values()) >= 15


def asked_for(where: str, file: Path) -> str:
    return (
        f"resnet-lab: {where} needs the plugin file {file}, and a file that a record names is never loaded by itself; "
        f"read it, and give it with --plugin {file}\n"
    )


@pytest.mark.slow
def test_a_file_in_a_training_and_after_it(cli: Callable, halve: Path, paintings: Path, recwarn: object) -> None:
    """Recorded, needed, asked for on resumption, and warned of in one line once it has changed."""
    digest = hashlib.sha256(halve.read_bytes()).hexdigest()
    code, _, err = cli("train", *QUICK, "--data", paintings, "--act", "halve", "--plugin", "halve.py", "--out", "run")
    assert code == 0, err
    record = json.loads(Path("run/run.json").read_text())
    assert record["plugins"] == {"halve.py (file)": digest[:12]}
    assert record["plugin_sources"] == {"halve.py (file)": digest}
    assert record["plugin_files"] == [{"path": str(halve), "source": digest}]

    os.environ["RESNET_LAB_PLUGIN_FILES"] = ""
    code, _, err = cli("eval", "run", "--again")
    assert (code, err) == (
        2,
        f"resnet-lab: run/best.safetensors: unknown activation 'halve'; it came from halve.py (file) {digest[:12]}; "
        "it is not loaded: give it with --plugin halve.py\n",
    )
    Path("run/run.json").write_text(json.dumps({**record, "status": "running"}))
    halve.write_text(HALVE + "# another\n")
    now = hashlib.sha256(halve.read_bytes()).hexdigest()
    code, _, err = cli("train", "--resume", "run")
    assert (code, err) == (2, asked_for("run", halve))
    command = [sys.executable, "-m", "resnet_lab", "eval", "run", "--again", "--plugin", "halve.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)  # whose warnings are told
    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if "warning" in line] == [
        "resnet-lab: warning: run/best.safetensors: made with another source of halve.py (file) (SHA-256 "
        f"{digest[:12]}) than is loaded now ({now[:12]}); its results may differ"
    ]


@pytest.mark.slow
def test_processes_of_a_study_have_the_file(cli: Callable, halve: Path, paintings: Path) -> None:
    design = ("--act", "relu,halve", "--model", "resnet20", "--size", 8, "--epochs", 1, "--seeds", 1, "--no-bench")
    settings = ("--set", "train.batch_size=8", "--set", "train.compile=off")
    arguments = (*design, *settings, "--data", paintings, "--out", "study", "--json")
    code, _, err = cli("study", "run", *arguments, "--processes", 2, "--plugin", "halve.py")
    assert code == 0, err
    files = json.loads(Path("study/study.json").read_text())["plugin_files"]
    assert [file["path"] for file in files] == [str(halve)]
    assert cli("study", "report", "study", "--json", "--plugin", "halve.py").code == 0
    os.environ["RESNET_LAB_PLUGIN_FILES"] = ""
    code, _, err = cli("study", "report", "study")
    assert (code, err) == (2, asked_for("study", halve))


@pytest.mark.slow
def test_a_search_resumes_with_the_file(cli: Callable, halve: Path) -> None:
    pytest.importorskip("optuna", reason="needs the package optuna")
    small = ("--model", "resnet20", "--size", 8, "--data", "digits", "--epochs", 1, "--set", "train.batch_size=256")
    space = ("--act", "relu,halve", "--range", "train.lr=1e-3,1e-2", *small, "--set", "train.compile=off")
    code, _, err = cli("study", "search", *space, "--trials", 1, "--plugin", "halve.py", "--out", "found", "--json")
    assert code == 0, err
    code, _, err = cli("study", "search", "--resume", "found", "--trials", 1, "--plugin", "halve.py", "--json")
    assert code == 0, err
    os.environ["RESNET_LAB_PLUGIN_FILES"] = ""
    code, _, err = cli("study", "search", "--resume", "found", "--trials", 2)
    assert (code, err) == (2, asked_for("found", halve))


# Checks


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks that take seconds are not made."""
    kept = [each for each in checking.MODULE_CHECKS if each.name in ("shapes", "determinism", "dtype", "elementwise")]
    monkeypatch.setattr(checking, "MODULE_CHECKS", tuple(kept))


def test_a_component_is_checked(cli: Callable, halve: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    code, out, err = cli("plugins", "check", "halve", "--plugin", "halve.py", "--json")
    assert (code, err) == (0, "")
    (report,) = json.loads(out)["components"]
    assert (report["kind"], report["component"], report["passed"]) == ("activation", "halve", True)
    assert [(each["check"], each["status"]) for each in report["checks"]] == [
        ("shapes", "passed"), ("determinism", "passed"), ("elementwise", "passed"), ("dtype", "passed"),
    ]  # fmt: skip
    out = cli("plugins", "check", "halve.py").out
    assert out.splitlines()[:2] == ["activation halve", "  shapes          passed  32 cases"]


def test_a_failed_check_ends_in_2(cli: Callable, halve: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    halve.write_text(HALVE.replace("x / 2", "x.float() / 2"))
    digest = hashlib.sha256(halve.read_bytes()).hexdigest()[:12]
    code, out, err = cli("plugins", "check", "halve", "--plugin", "halve.py")
    assert (code, err) == (
        2, f"resnet-lab: halve.py (file) {digest}: failed checks: activation halve: dtype\n"
    )  # fmt: skip
    assert [line.strip() for line in out.splitlines()[-3:]] == [
        "dtype           failed  the output is float32",
        "case: bfloat16, input 2x64x8x8",
        "hint: where float32 is needed inside, end with .to(x.dtype)",
    ]


def test_a_file_of_kernels_alone_is_checked(cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quick.py").write_text(
        """
from torch import nn
from resnet_lab.plugin_api import hookimpl


class Quick(nn.BatchNorm2d):
    suits = staticmethod(lambda module: True)


@hookimpl
def register_kernels(register):
    register(nn.BatchNorm2d, Quick)
"""
    )
    code, out, err = cli("plugins", "check", "quick.py", "--plugin", "quick.py")
    assert (code, err) == (0, "")
    assert out.startswith("kernels Quick\n  names           passed")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cbm",), "there is no component and no plugin 'cbm'; did you mean 'cbam' or 'bam'?"),
        (("cbam", "--kind", "conv"), "there is no convolution and no plugin 'cbam'; known: "),
        (("cbam", "--kind", "convs"), "unknown kind 'convs' of component; did you mean 'convolution'?"),
        (("cbam(reduction=no)",), "check: attention cbam: parameter 'reduction': "),
        (("lab-broken",), "plugin lab_broken (lab-broken 0.3) failed: RuntimeError: out of luck"),
    ],
)
@pytest.mark.usefixtures("broken")
def test_what_cannot_be_checked(cli: Callable, arguments: tuple[str, ...], message: str) -> None:
    code, _, err = cli("plugins", "check", *arguments)
    assert code == 2
    assert err.splitlines()[-1].startswith(f"resnet-lab: {message}")


BAD = """import torch
from torch import nn
from resnet_lab.plugin_api import hookimpl

class Crooked(nn.Module):
    def __init__(self, channels):
        super().__init__()
    def forward(self, x):
        return x[..., 1:]

class Moody(Crooked):
    def forward(self, x):
        return x * torch.rand(())

def unmade(channels):
    raise KeyError("a part")

@hookimpl
def register_attentions(register):
    register("crooked", Crooked)
    register("moody", Moody)
    register("unmade", unmade)
"""


@pytest.fixture
def bad(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("site")
    install(folder, "lab-bad", BAD)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("RESNET_LAB_PLUGINS", "lab-bad")
    yield
    sys.modules.pop("lab_bad", None)


@pytest.mark.usefixtures("bad")
def test_a_plugin_that_breaks_its_contract(cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named with distribution, version and cause, and what does not need it works."""
    quick(monkeypatch)
    code, _, err = cli("plugins", "check", "lab-bad")
    assert (code, err) == (
        2,
        "resnet-lab: lab-bad 0.3: failed checks: attention crooked: shapes; attention moody: determinism; "
        "attention unmade: shapes\n",
    )
    mend = "; `resnet-lab plugins check` looks for the reason\n"
    code, _, err = cli("build", "--depth", 18, "--attn", "crooked")
    assert code == 2
    assert err.startswith(
        "resnet-lab: resnet18 has parts of lab-bad 0.3 and cannot be counted: RuntimeError: Attempting to broadcast "
    )
    assert err.endswith(mend)
    code, _, err = cli("build", "--depth", 18, "--attn", "unmade")
    assert (code, err) == (
        2, f"resnet-lab: resnet18 has parts of lab-bad 0.3 and cannot be built: KeyError: 'a part'{mend}"
    )  # fmt: skip
    code, _, err = cli("train", "--attn", "crooked", "--out", "run")
    assert code == 2
    assert err.startswith("resnet-lab: resnet20 has parts of lab-bad 0.3 and cannot be run: RuntimeError: The size of ")
    assert not Path("run").exists()
    assert cli("build", "--depth", 18).code == 0
    assert cli("build", "--depth", 18, "--attn", "cbam").code == 0


def test_a_new_plugin(cli: Callable) -> None:
    code, out, err = cli("plugins", "new", "conv", "wide", "--out", "made")
    assert (code, err) == (0, "")
    folder = "made/resnet-lab-wide"
    assert out.splitlines()[0] == f"{folder}/resnet_lab_wide.py"
    assert out.splitlines()[-1] == f"next: pip install -e {folder}; resnet-lab plugins check wide --kind convolution"
    code, _, err = cli("plugins", "new", "conv", "wide", "--out", "made")
    assert (code, err) == (
        2, f"resnet-lab: {folder} exists already and is left as it is; choose another name or remove it\n"
    )  # fmt: skip
