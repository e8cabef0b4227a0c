import argparse
import hashlib
import os
import pickle
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights

from resnet_lab.core.errors import CheckpointError, RunError
from resnet_lab.core.run_folder import Run
from resnet_lab.network import checkpoint, zoo
from resnet_lab.network.builder import build
from resnet_lab.network.weights.sources import open_weights

SPEC = zoo.get("resnet18")
STATE = {"conv1.weight": torch.full((2, 3), 0.5), "bn1.num_batches_tracked": torch.tensor(7)}


class Trap:
    """Touches a file when it is unpickled by Python's own rules."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def refusal(source: object, spec: Any = SPEC) -> str:
    with pytest.raises(CheckpointError) as failure:
        open_weights(str(source), spec)
    assert "\n" not in str(failure.value)
    return str(failure.value)


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"model": STATE},
        {"model": {"conv1.weight": torch.zeros(2, 3)}, "model_ema": {"n_averaged": torch.tensor(1), **STATE}},
        {"state_dict": {f"module.{name}": tensor for name, tensor in STATE.items()}},
        {f"module._orig_mod.{name}": tensor for name, tensor in STATE.items()},
    ],
    ids=["bare", "state_dict", "model", "model_ema", "DistributedDataParallel", "compiled"],
)
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".tar", ""])
def test_tensors_are_found_in_the_usual_wrappings(content: dict[str, Any], suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(content, path)
    weights = open_weights(str(path), SPEC)
    assert list(weights.tensors) == ["conv1.weight"]
    torch.testing.assert_close(weights.tensors["conv1.weight"], torch.full((2, 3), 0.5))
    assert (weights.name, weights.classes, weights.mean, weights.std) == (str(path), (), None, None)


def test_a_foreign_safetensors_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({f"module.{name}": tensor for name, tensor in STATE.items()}, path, {"format": "pt"})
    weights = open_weights(str(path), SPEC)
    assert list(weights.tensors) == ["conv1.weight"]
    assert (weights.classes, weights.mean, weights.std) == ((), None, None)


def test_our_files_and_run_folders_say_more(tmp_path: Path) -> None:
    spec = zoo.get("resnet20").modified(num_classes=2)
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    run.write({})
    checkpoint.save(run.best, build(spec, seed=3), spec, classes=("a", "b"), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    for source in (run.folder, run.best):
        weights = open_weights(str(source), SPEC)
        assert weights.name == str(run.best)
        assert (weights.classes, weights.mean, weights.std) == (("a", "b"), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
        torch.testing.assert_close(weights.tensors["fc.weight"], build(spec, seed=3).fc.weight.detach())
    checkpoint.save(tmp_path / "bare.safetensors", build(spec), spec)
    assert open_weights(str(tmp_path / "bare.safetensors"), SPEC).mean is None


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where torch.hub keeps downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts a file where torchvision's enum says that ResNet-18's weights are, under a name with its hash."""

    def publish(state: object, digest: str | None = None) -> Path:
        path = tmp_path / "published.pth"
        torch.save(state, path)
        path = path.rename(tmp_path / f"resnet18-{digest or hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth")
        monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.value, "url", path.as_uri())
        return path

    return publish


@pytest.mark.parametrize("name", ["IMAGENET1K_V1", "DEFAULT"])
def test_a_name_becomes_the_file_that_torchvision_publishes(
    name: str, hub: Path, resnet18: nn.Module, resnet18_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The address is torchvision's own; its file was downloaded before."""
    hub.mkdir(parents=True)
    os.link(resnet18_file, hub / "resnet18-f37072fd.pth")
    weights = open_weights(name, SPEC.modified(name="mine", num_classes=3, act="gelu"))
    assert weights.name == "IMAGENET1K_V1 of torchvision's resnet18"
    assert (weights.mean, weights.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    expected: dict[str, Tensor] = {n: t for n, t in resnet18.state_dict().items() if t.is_floating_point()}
    assert weights.tensors.keys() == expected.keys()
    assert all(torch.equal(weights.tensors[n], t) for n, t in expected.items())
    assert capsys.readouterr().out == ""


def test_a_download_is_checked_kept_and_not_repeated(
    hub: Path, publish: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = publish(STATE)
    assert list(open_weights("IMAGENET1K_V1", SPEC).tensors) == ["conv1.weight"]
    assert (hub / path.name).is_file()
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f'Downloading: "{path.as_uri()}"')
    path.unlink()
    assert list(open_weights("IMAGENET1K_V1", SPEC).tensors) == ["conv1.weight"]


def test_a_download_with_another_hash_is_refused(hub: Path, publish: Callable[..., Path]) -> None:
    path = publish(STATE, digest="00c0ffee")
    assert refusal("IMAGENET1K_V1") == (
        f"IMAGENET1K_V1 of torchvision's resnet18: what came from {path.as_uri()}, or lies at {hub / path.name}, is "
        "damaged or not what torchvision published; remove that file, if it is there, and try again"
    )
    assert list(hub.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", None], ids=["empty", "cut off", "code"])
def test_a_damaged_file_that_was_kept_is_refused(content: bytes | None, hub: Path, tmp_path: Path) -> None:
    hub.mkdir(parents=True)
    kept = hub / "resnet18-f37072fd.pth"
    if content is None:
        torch.save({"conv1.weight": Trap(tmp_path / "sprung")}, kept)
    else:
        kept.write_bytes(content)
    assert refusal("IMAGENET1K_V1").endswith(
        f"or lies at {kept}, is damaged or not what torchvision published; remove that file, if it is there, "
        "and try again"
    )
    assert not (tmp_path / "sprung").exists()


def test_offline_the_url_and_the_remedy_are_reported(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://127.0.0.1:9/models/resnet18-f37072fd.pth"
    monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.value, "url", url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert refusal("DEFAULT") == (
        f"IMAGENET1K_V1 of torchvision's resnet18: cannot be downloaded from {url} ([Errno 111] Connection refused); "
        f"download that file elsewhere, and give its path or put it at {hub / 'resnet18-f37072fd.pth'}"
    )


def test_an_unknown_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal("IMAGENET1K_V2") == (
        "weights 'IMAGENET1K_V2': no such file or folder, and torchvision's resnet18 has no such weights; "
        "did you mean 'IMAGENET1K_V1'?"
    )
    assert refusal("runs") == (
        "weights 'runs': no such file or folder, and torchvision's resnet18 has no such weights; "
        "known: DEFAULT, IMAGENET1K_V1"
    )
    assert refusal("DEFAULT", zoo.get("resnet20")) == (
        "weights 'DEFAULT': no such file or folder, and none of torchvision's networks has the depths, blocks and "
        "channels of resnet20; give a weights file or a run folder"
    )


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.pth.tar", "w.ckpt", "folder/w"])
def test_a_missing_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(name) == f"{name}: the weights file cannot be read: no such file"


def test_a_folder_must_be_a_run_with_weights(tmp_path: Path) -> None:
    with pytest.raises(RunError) as failure:
        open_weights(str(tmp_path), SPEC)
    assert str(failure.value) == (
        f"{tmp_path} is not a run folder: it holds no run.json; name one that `resnet-lab train` made"
    )
    Run(tmp_path).write({})
    assert refusal(tmp_path).startswith(f"{tmp_path / 'best.safetensors'}: cannot read the weights file: No such file")


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("wrap", [lambda trap: trap, lambda trap: {"state_dict": STATE, "trap": trap}])
def test_code_is_refused_and_not_run(wrap: Callable[[Trap], object], new_format: bool, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(wrap(Trap(tmp_path / "sprung")), path, _use_new_zipfile_serialization=new_format)
    assert refusal(path) == (
        f"{path}: asks for code to be run (posix.mkdir) and is not tensors alone, so it was refused and nothing in it "
        "was run; where you trust it, save its state_dict alone: torch.save(model.state_dict(), ...)"
    )
    assert not (tmp_path / "sprung").exists()
    with path.open("rb") as file:  # the trap is armed: without the refusal it would spring
        torch.load(file, weights_only=False)
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_of_any_protocol_is_refused_and_not_run(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(Trap(tmp_path / "sprung"), protocol))
    assert "nothing in it was run" in refusal(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        ({"model": STATE, "args": SimpleNamespace(lr=0.1)}, "types.SimpleNamespace"),
        ({"model": STATE, "args": argparse.Namespace(path=Fraction(1, 2))}, "fractions.Fraction"),
    ],
    ids=["a whole network", "a checkpoint with an object", "an object in its arguments"],
)
def test_objects_beside_tensors_are_refused_and_named(content: object, code: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    assert f"asks for code to be run ({code}) and is not tensors alone" in refusal(path)


def test_the_arguments_of_a_training_are_read_past(tmp_path: Path) -> None:
    """Checkpoints of timm's and torchvision's scripts have them; the list of safe classes stays as it was."""
    path = tmp_path / "weights.pth"
    torch.save({"model": STATE, "args": argparse.Namespace(lr=0.1, crop=(224, 224))}, path)
    before = {*torch.serialization.get_safe_globals()}
    torch.testing.assert_close(open_weights(str(path), SPEC).tensors, {"conv1.weight": STATE["conv1.weight"]})
    assert {*torch.serialization.get_safe_globals()} == before


@pytest.mark.parametrize("content", [b"", b"hello world\n", b"PK\x03\x04", b"\x80\x05", bytes(range(256))], ids=repr)
def test_bytes_of_something_else_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    assert refusal(path) == (
        f"{path}: not a whole file of tensors as torch.save writes it, and nothing in it was run; "
        "give a .safetensors file, or a .pth file of a state_dict"
    )


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_refused(share: float, tmp_path: Path) -> None:
    for suffix, text in ((".pth", "not a whole file of tensors"), (".safetensors", "not a whole safetensors file")):
        path = tmp_path / f"weights{suffix}"
        torch.save(STATE, path) if suffix == ".pth" else save_file(STATE, path)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        assert refusal(path).startswith(f"{path}: {text}")


def test_a_pickle_named_safetensors_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    torch.save(Trap(tmp_path / "sprung"), path)
    assert refusal(path).startswith(f"{path}: not a whole safetensors file (")
    assert refusal(path).endswith("); copy it again")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("content", "described"),
    [
        (torch.zeros(3), "a Tensor"),
        ([torch.zeros(3)], "a list"),
        ({}, "an empty table"),
        ({"epoch": 3, "loss": 0.1, "lr": 0.2, "seed": 0}, "a table of epoch, loss, lr"),
        ({"state_dict": {}}, "an empty table"),
        ({"steps": torch.tensor(3)}, "a table of steps"),
    ],
)
def test_a_file_without_weights(content: object, described: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    assert refusal(path) == (
        f"{path}: holds no weights but {described}; "
        "wanted are tensors by name, alone or under one of state_dict_ema, model_ema, state_dict, model_state_dict, "
        "model, net"
    )


def test_an_unreadable_file_says_why(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    assert (
        refusal(tmp_path / "a" / "w.pth")
        == f"{tmp_path / 'a' / 'w.pth'}: the weights file cannot be read: Not a directory"
    )
