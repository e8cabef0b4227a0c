"""One file as a plugin, the hash of sources, and the API that a plugin asks for."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from resnet_lab.core.errors import PluginError, PluginWarning
from resnet_lab.network import checkpoint
from resnet_lab.network.builder import build, resolve
from resnet_lab.network.plugin_files import digest_of_module, name_files, named_files
from resnet_lab.network.plugins import load, require_files

GATE = """import torch
from torch import nn
from resnet_lab.plugin_api import hookimpl

class Tenth(nn.Module):
    def __init__(self, channels, *, factor: float = 0.1):
        super().__init__()
        self.factor = factor
    def forward(self, x):
        return x * self.factor

@hookimpl
def register_attentions(register):
    register("tenth", Tenth)
"""


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESNET_LAB_PLUGIN_FILES", "")
    path = tmp_path / "gate.py"
    path.write_text(GATE)
    return path


def refusal(act: object) -> str:
    with pytest.raises(PluginError) as caught:
        act()
    return str(caught.value)


def test_a_file_is_a_plugin(gate: Path) -> None:
    registry = load(only=(), files=[gate])
    digest = hashlib.sha256(gate.read_bytes()).hexdigest()
    owner = registry.get("attention", "tenth", "here").owner
    assert (str(owner), owner.source) == (f"gate.py (file) {digest[:12]}", digest)
    assert registry.files() == [{"path": str(gate), "source": digest}]
    network = build("resnet20", attn="tenth(factor=0.0)", registry=registry).eval()
    x = torch.randn(1, 16, 8, 8).relu()
    torch.testing.assert_close(network.layer1[0](x), x)
    assert "tenth" not in load(only=(), files=()).names("attention")
    assert not list(gate.parent.glob("__pycache__"))


@pytest.mark.slow
def test_the_environment_variable(gate: Path) -> None:
    name_files([gate])
    name_files([gate])
    assert named_files() == [gate]
    assert "tenth" in load(only=()).names("attention")
    code = "from resnet_lab.network.plugins import load; print(*load(only=()).names('attention'))"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    assert output.split() == sorted([*load(only=(), files=()).names("attention"), "tenth"])


def test_a_path_that_no_variable_can_hold(gate: Path) -> None:
    path = gate.parent / f"a{os.pathsep}b.py"
    assert refusal(lambda: name_files([path])) == (
        f"plugin file {path}: its path has a {os.pathsep!r} in it; move or rename it"
    )


FAULTS = {
    "import not_here": ", line 4: ModuleNotFoundError: No module named 'not_here'",
    "a b": ", line 4: SyntaxError: invalid syntax (gate.py, line 4)",
    "1 / 0": ", line 4: ZeroDivisionError: division by zero",
    "raise SystemExit(3)": ", line 4: SystemExit: 3",
    "open('/nowhere/at/all')": ", line 4: FileNotFoundError: [Errno 2] No such file or directory: '/nowhere/at/all'",
    "requires_api = 6": ": it needs plugin API 6, and this resnet-lab offers 5: upgrade resnet-lab",
    "requires_api: int = 7": ": it needs plugin API 7, and this resnet-lab offers 5: upgrade resnet-lab",
    "requires_api = '1.0'": ": requires_api must be a whole number, such as requires_api = 1",
}


@pytest.mark.parametrize("line", FAULTS)
def test_a_file_that_fails_is_an_error(gate: Path, line: str) -> None:
    gate.write_text(
        GATE.replace("from resnet_lab.plugin_api import hookimpl\n", f"from resnet_lab.plugin_api import *\n{line}\n")
    )
    assert refusal(lambda: load(only=(), files=[gate])) == f"plugin file {gate}{FAULTS[line]}"


def test_a_file_that_registers_what_is_there(gate: Path, tmp_path: Path) -> None:
    core = load(only=(), files=()).get("attention", "cbam", "here").owner
    gate.write_text(GATE.replace('"tenth"', '"cbam"'))
    digest = hashlib.sha256(gate.read_bytes()).hexdigest()[:12]
    assert refusal(lambda: load(only=(), files=[gate])) == (
        f"plugin file {gate}: attention 'cbam' is already registered by {core}; gate.py (file) {digest} may not "
        "register it again"
    )
    gate.write_text(GATE.replace('"tenth"', '"Tenth"'))
    assert refusal(lambda: load(only=(), files=[gate])) == (
        f"plugin file {gate}, line 14: attention name 'Tenth' must be lower case letters, digits and underscores"
    )


def test_files_that_cannot_be(gate: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent.py"
    assert refusal(lambda: load(only=(), files=[absent])) == (
        f"plugin file {absent}: cannot be read: No such file or directory"
    )
    assert refusal(lambda: load(only=(), files=[tmp_path])) == f"plugin file {tmp_path}: cannot be read: Is a directory"
    other = tmp_path / "other" / "gate.py"
    other.parent.mkdir()
    other.write_text(GATE)
    assert refusal(lambda: load(only=(), files=[gate, other])) == (
        f"plugin file {other}: another file of that name is loaded already; rename one of them"
    )


def test_an_api_that_there_is(gate: Path) -> None:
    gate.write_text("requires_api = 1\n" + GATE)
    assert "tenth" in load(only=(), files=[gate]).names("attention")


def test_a_file_that_changed_is_run_again(gate: Path) -> None:
    first = load(only=(), files=[gate])
    gate.write_text(GATE.replace("0.1", "0.2"))
    second = load(only=(), files=[gate])
    assert [each.bind("attention", resolve("resnet20", attn="tenth").stages[0].block.attn, "")(1).factor
            for each in (first, second)] == [0.1, 0.2]  # fmt: skip


# What weights files say


@pytest.fixture
def weights(gate: Path) -> Path:
    registry = load(only=(), files=[gate])
    spec = resolve("resnet20", attn="tenth@3")
    path = gate.parent / "m.safetensors"
    checkpoint.save(path, build(spec, registry=registry), spec, registry=registry)
    return path


def test_weights_files_record_the_source(gate: Path, weights: Path) -> None:
    digest = hashlib.sha256(gate.read_bytes()).hexdigest()
    metadata, _ = checkpoint.read(weights)
    assert metadata.plugins == {"gate.py (file)": digest[:12]}
    assert metadata.plugin_sources == {"gate.py (file)": digest}
    checkpoint.load(weights, load(only=(), files=[gate]))


def test_without_the_file_it_is_named(gate: Path, weights: Path) -> None:
    digest = hashlib.sha256(gate.read_bytes()).hexdigest()
    assert refusal(lambda: checkpoint.load(weights, load(only=(), files=()))) == (
        f"{weights}: unknown attention 'tenth'; it came from gate.py (file) {digest[:12]}; "
        "it is not loaded: give it with --plugin gate.py"
    )


def test_another_source_is_warned_of(gate: Path, weights: Path) -> None:
    then = hashlib.sha256(gate.read_bytes()).hexdigest()
    gate.write_text(GATE + "# a word more\n")
    now = hashlib.sha256(gate.read_bytes()).hexdigest()
    with pytest.warns(PluginWarning) as caught:
        checkpoint.load(weights, load(only=(), files=[gate]))
    assert [str(each.message) for each in caught] == [
        f"{weights}: made with another source of gate.py (file) (SHA-256 {then[:12]}) than is loaded now ({now[:12]}); "
        "its results may differ"
    ]


def test_weights_from_before_sources_were_recorded(weights: Path, gate: Path) -> None:
    metadata, tensors = checkpoint.read(weights)
    header = metadata.model_dump(mode="json")
    del header["plugin_sources"]
    checkpoint.write_sealed(weights, checkpoint.KEY, header, tensors)
    gate.write_text(GATE + "# a word more\n")
    checkpoint.load(weights, load(only=(), files=[gate]))  # says nothing


# What earlier work needs


def test_files_of_earlier_work_are_asked_for_and_never_loaded(gate: Path, tmp_path: Path) -> None:
    recorded = load(only=(), files=[gate]).files()
    assert refusal(lambda: require_files(recorded, load(only=()), "runs/a")) == (
        f"runs/a needs the plugin file {gate}, and a file that a record names is never loaded by itself; read it, and "
        f"give it with --plugin {gate}"
    )
    assert named_files() == []
    (tmp_path / "moved").mkdir()
    moved = gate.rename(tmp_path / "moved" / "gate.py")
    require_files(recorded, load(only=(), files=[moved]), "runs/a")


# Hashes


def test_digests_of_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "single_one.py").write_text("raise RuntimeError\n")
    assert digest_of_module("single_one") == hashlib.sha256(b"raise RuntimeError\n").hexdigest()
    package = tmp_path / "whole_one"
    (package / "inner").mkdir(parents=True)
    for name, text in (("__init__.py", "x = 1\n"), ("inner/b.py", "y = 2\n"), ("data.txt", "no source")):
        (package / name).write_text(text)
    expected = hashlib.sha256(b"__init__.py\0x = 1\ninner/b.py\0y = 2\n").hexdigest()
    assert digest_of_module("whole_one") == digest_of_module("whole_one.inner.b") == expected
    assert digest_of_module("math") == digest_of_module("not_there_at_all") == ""
    assert not {"single_one", "whole_one"} & sys.modules.keys()
