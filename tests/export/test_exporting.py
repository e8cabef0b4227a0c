import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from resnet_lab.core.errors import CheckpointError, ConfigError, RunError
from resnet_lab.core.watcher import Watcher
from resnet_lab.export import export
from resnet_lab.export import exporting as module
from resnet_lab.export.exported_model import ExportedModel, ExportError
from resnet_lab.network import zoo
from resnet_lab.network.plugins import Registry


class Listener(Watcher):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def say(self, text: str) -> None:
        self.notes.append(text)


def test_of_a_run_the_best_weights_are_taken_and_the_file_lies_there(run: Path, registry: Registry) -> None:
    listener = Listener()
    exported = export(run, "program", registry=registry, watcher=listener)
    assert exported.path == run / "model.pt2"
    content = exported.path.read_bytes()
    assert (exported.size, exported.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert exported.agreement is not None
    assert exported.agreement.images == 4
    assert listener.notes == [f"writing {run}/model.pt2 from {run}/best.safetensors"]


def test_of_a_weights_file_it_lies_beside_it(exported_model: Callable[..., ExportedModel], registry: Registry) -> None:
    weights = exported_model(zoo.get("resnet18").modified(num_classes=3, input_size=32)).weights
    assert export(weights, "card", registry=registry).path == weights.with_name("weights.md")
    exported = export(weights, "torchvision", registry=registry)
    assert exported.path == weights.with_name("weights.torchvision.safetensors")
    assert exported.facts == {"constructor": "resnet18", "num_classes": 3}


def test_a_file_that_is_there(run: Path, registry: Registry) -> None:
    (run / "README.md").write_text("mine")
    with pytest.raises(RunError) as failure:
        export(run, "card", registry=registry)
    assert str(failure.value) == (
        f"{run}/README.md exists already and is left as it is; choose another name or remove it"
    )
    assert (run / "README.md").read_text() == "mine"
    exported = export(run, "card", force=True, license="mit", registry=registry)
    assert exported.agreement is None
    assert 'license: "mit"' in (run / "README.md").read_text()


def test_what_fails_its_check_leaves_nothing(run: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(os.listdir(run))
    load = torch.export.load

    def damaged(path: Path) -> torch.export.ExportedProgram:
        program = load(path)
        torch.nn.init.zeros_(program.state_dict["fc.weight"])
        return program

    monkeypatch.setattr(torch.export, "load", damaged)
    with pytest.raises(ExportError) as failure:
        export(run, "program", registry=registry)
    assert str(failure.value).startswith(
        f"{run}/best.safetensors: the exported program does not compute what the network does: "
    )
    assert sorted(os.listdir(run)) == before


def test_a_license_belongs_into_a_card(run: Path, registry: Registry) -> None:
    with pytest.raises(ConfigError) as failure:
        export(run, "program", license="mit", registry=registry)
    assert str(failure.value) == ("a license belongs in the model card, not in program; leave it out, or export a card")


def test_a_network_that_torchvision_does_not_have(run: Path, registry: Registry) -> None:
    with pytest.raises(ExportError, match="none of torchvision's networks is 1\\+1 basic blocks of width 16"):
        export(run, "torchvision", registry=registry)


def test_packages_are_asked_for_first(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(what: str, error: type[Exception]) -> None:
        assert (what, error) == ("the export to ONNX", ExportError)
        raise error("missing")

    monkeypatch.setattr(module, "require_packages", refuse)
    with pytest.raises(ExportError, match="missing"):
        export(tmp_path / "absent", "onnx", registry=registry)


def test_no_weights(run: Path, tmp_path: Path, registry: Registry) -> None:
    (run / "best.safetensors").unlink()
    for path, kind, message in (
        (run, RunError, f"{run}: the run has no weights yet (no best.safetensors): its first epoch has not ended"),
        (tmp_path, RunError, f"{tmp_path} is not a run folder: it holds no run.json"),
        (tmp_path / "a", CheckpointError, f"{tmp_path}/a: cannot read the weights file: No such file or directory"),
    ):
        with pytest.raises(kind) as failure:
            export(path, "program", registry=registry)
        assert str(failure.value).startswith(message)
