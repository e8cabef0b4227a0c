import hashlib
import json
import pickle
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file, safe_open, save_file

import resnet_lab
from resnet_lab.core.errors import CheckpointError, PluginError, RunError, SpecError
from resnet_lab.network import checkpoint, zoo
from resnet_lab.network.builder import build
from resnet_lab.network.plugins import load as load_registry
from resnet_lab.network.spec import ModelSpec

SPEC = zoo.get("resnet20").modified(num_classes=3, input_size=8, act="gelu", attn="cbam(reduction=4)@3")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, build(SPEC, seed=7), SPEC, classes=("a", "b", "c"), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    return path


def rewrite(path: Path, **changes: object) -> None:
    """Write the file anew with its description changed and the digest left as it was."""
    with safe_open(path, "pt") as file:
        metadata = json.loads(file.metadata()["resnet_lab"])
    metadata.update(changes)
    save_file(load_file(path), path, {"resnet_lab": json.dumps(metadata)})


def sign(path: Path) -> None:
    """Give the file the digest that docs/files.md describes, computed here on its own."""
    with safe_open(path, "pt") as file:
        metadata = json.loads(file.metadata()["resnet_lab"])
    metadata.pop("digest")
    tensors = load_file(path)
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].numpy().tobytes())
    save_file(tensors, path, {"resnet_lab": json.dumps({**metadata, "digest": digest.hexdigest()})})


def test_load_gives_the_network_that_was_saved(weights: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8)
    loaded = resnet_lab.load(weights)
    assert not loaded.training
    torch.testing.assert_close(loaded(x), build(SPEC, seed=7).eval()(x), rtol=0, atol=0)


def test_the_description_comes_back(weights: Path) -> None:
    metadata, _ = checkpoint.read(weights)
    assert metadata.spec == SPEC
    assert (metadata.classes, metadata.mean, metadata.std) == (("a", "b", "c"), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert metadata.plugins == {}


def test_tensors_load_strictly_into_torchvision(tmp_path: Path) -> None:
    path = tmp_path / "resnet18.safetensors"
    resnet_lab.save(path, build("resnet18", num_classes=4), zoo.get("resnet18").modified(num_classes=4))
    torchvision.models.resnet18(num_classes=4).load_state_dict(load_file(path), strict=True)


def test_channels_last_and_bfloat16_weights_come_back_equal(tmp_path: Path) -> None:
    model = build(SPEC).to(memory_format=torch.channels_last).bfloat16()
    checkpoint.save(tmp_path / "m.safetensors", model, SPEC)
    _, tensors = checkpoint.read(tmp_path / "m.safetensors")
    assert all(torch.equal(tensors[name], tensor) for name, tensor in model.state_dict().items())


def test_a_file_truncated_at_any_byte_is_refused(tmp_path: Path) -> None:
    spec = ModelSpec.model_validate(
        {
            "name": "tiny",
            "input_size": 4,
            "stem": {"convs": [{"out_channels": 1, "kernel_size": 1, "stride": 1}], "max_pool": False},
            "stages": [{"depth": 1, "width": 1, "out_channels": 1, "stride": 1, "block": {"kind": "basic"}}],
            "head": {"num_classes": 2},
        }
    )
    path = tmp_path / "tiny.safetensors"
    checkpoint.save(path, build(spec), spec)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="not a whole safetensors file"):
            checkpoint.load(path)
    path.write_bytes(whole)
    checkpoint.load(path)


def test_a_flipped_byte_anywhere_is_refused(weights: Path) -> None:
    whole = weights.read_bytes()
    for position in range(0, len(whole), len(whole) // 97):
        weights.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(CheckpointError):
            checkpoint.load(weights)


def test_a_changed_description_is_refused(weights: Path) -> None:
    rewrite(weights, classes=["c", "b", "a"])
    with pytest.raises(CheckpointError) as failure:
        checkpoint.load(weights)
    assert str(failure.value) == (
        f"{weights}: the weights file is damaged: its content does not match its checksum; copy it again"
    )


def test_weights_of_another_spec_are_refused(weights: Path) -> None:
    other = SPEC.modified(num_classes=5)
    rewrite(weights, spec=other.model_dump(mode="json"), classes=[])
    sign(weights)
    with pytest.raises(CheckpointError) as failure:
        checkpoint.load(weights)
    assert str(failure.value) == (
        f"{weights}: the weights are of another network than the file describes (resnet20): "
        "fc.bias is (3,), expected (5,)"
    )


def test_weights_without_a_layer_that_the_spec_has_are_refused(weights: Path) -> None:
    rewrite(weights, spec=SPEC.modified(attn="se@1").model_dump(mode="json"))
    sign(weights)
    with pytest.raises(CheckpointError, match=r"layer1\.0\.attn\.fc1\.bias is absent, expected \(1,\)"):
        checkpoint.load(weights)


def test_newer_formats_are_refused(weights: Path) -> None:
    rewrite(weights, format=2)
    with pytest.raises(CheckpointError, match=r"weights format 2 is newer than this resnet-lab reads \(1\); upgrade"):
        checkpoint.load(weights)
    rewrite(weights, format=1, spec={**SPEC.model_dump(mode="json"), "format": 2})
    sign(weights)
    with pytest.raises(SpecError, match=r"spec format 2 is newer than this resnet-lab reads \(1\); upgrade"):
        checkpoint.load(weights)


def test_a_renamed_pickle_is_refused_and_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    torch.save(build(SPEC).state_dict(), path)
    with pytest.raises(CheckpointError, match=r"pickled \.pth and \.pt files are never opened here"):
        checkpoint.load(path)

    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (tmp_path.joinpath("sprung").touch, ())

    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        checkpoint.load(path)
    assert not tmp_path.joinpath("sprung").exists()


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file(build(SPEC).state_dict(), path)
    with pytest.raises(CheckpointError) as failure:
        checkpoint.load(path)
    assert str(failure.value) == (
        f"{path}: a safetensors file, but not one of resnet-lab: it holds no network description"
    )


@pytest.mark.parametrize("text", ["[]", "{", '{"format": 1}', '"text"', "null"])
def test_a_description_of_another_form_is_refused(weights: Path, text: str) -> None:
    save_file(load_file(weights), weights, {"resnet_lab": text})
    with pytest.raises(CheckpointError, match="does not match its checksum"):
        checkpoint.load(weights)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as failure:
        checkpoint.load(tmp_path / "absent.safetensors")
    assert str(failure.value).startswith(
        f"{tmp_path / 'absent.safetensors'}: cannot read the weights file: No such file"
    )
    with pytest.raises(CheckpointError) as failure:
        checkpoint.load(tmp_path)
    assert str(failure.value) == f"{tmp_path} is a folder, not a weights file; name a .safetensors file in it"


def test_saving_where_no_folder_is(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "m.safetensors"
    with pytest.raises(RunError) as failure:
        checkpoint.save(path, build(SPEC), SPEC)
    assert str(failure.value) == f"{path}: cannot be written: No such file or directory"


def test_a_missing_plugin_is_named_with_what_to_install(weights: Path) -> None:
    rewrite(weights, plugins={"resnet-lab-absent": "1.2"})
    sign(weights)
    with pytest.raises(PluginError) as failure:
        checkpoint.load(weights, load_registry(only=[]))
    assert str(failure.value) == (
        f"{weights}: the network needs resnet-lab-absent 1.2; it is not installed: pip install resnet-lab-absent==1.2"
    )


def test_an_unknown_component_is_named_with_the_package_it_came_from(weights: Path) -> None:
    spec = SPEC.modified(attn="mine")
    rewrite(weights, spec=spec.model_dump(mode="json"), plugins={"resnet-lab-mine": "0.1.0"})
    sign(weights)
    with pytest.raises(PluginError) as failure:
        checkpoint.load(weights, load_registry(only=[], files=[]))
    assert str(failure.value) == (
        f"{weights}: unknown attention 'mine'; it came from resnet-lab-mine 0.1.0; "
        "it is not installed: pip install resnet-lab-mine==0.1.0"
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"mean": [0.1]}, "the network has 3 channels, and mean has 1, got {"),
        ({"std": [0.1, 0.2]}, "the network has 3 channels, and std has 2, got {"),
        ({"std": [0.1, 0.0, 0.2]}, "std.1: input should be greater than 0, got 0.0"),
        ({"std": [0.1, float("inf"), 0.2]}, "std.1: input should be a finite number, got inf"),
        ({"mean": [float("nan")] * 3}, "mean.0: input should be a finite number, got nan"),
        ({"std": []}, "mean and std should both be there, or neither, got {"),
        ({"classes": ["a", "b"]}, "the network has 3 classes, and classes has 2, got {"),
        ({"classes": ["a", "b", "a"]}, "classes: class 'a' is listed twice, got ["),
        ({"classes": ["a", "", "b"]}, "classes: a class has no name, got ["),
        ({"resize": 10**9}, "resize: input should be less than or equal to 65536, got 1000000000"),
        ({"plugins": [1]}, "plugins: input should be a table, got [1]"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(weights: Path, changes: dict[str, object], problem: str) -> None:
    rewrite(weights, **changes)
    sign(weights)
    with pytest.raises(CheckpointError) as failure:
        checkpoint.read(weights)
    assert str(failure.value).startswith(f"{weights}: {problem}")
    assert len(str(failure.value)) < len(str(weights)) + 300


def test_what_cannot_be_read_again_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="the network has 3 classes, and classes has 1"):
        checkpoint.save(tmp_path / "a.safetensors", build(SPEC), SPEC, classes=("a",))
    assert not list(tmp_path.iterdir())


def test_a_network_larger_than_its_file_is_refused_before_it_is_built(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = SPEC.model_dump(mode="json")
    wide["stages"][0]["width"] = 2**16
    rewrite(weights, spec=wide)
    sign(weights)
    monkeypatch.setattr(torch.Tensor, "normal_", lambda *_: pytest.fail("weights were drawn"))
    with pytest.raises(CheckpointError, match=r"the weights are of another network than the file describes"):
        checkpoint.load(weights)


def test_descriptions_beyond_a_bound_are_damage(weights: Path) -> None:
    for text in ("[" * 10**5, '{"a": ' + "1" * 10**5 + "}", '{"a": 1, "a": 2}', "[]", '"a"'):
        save_file(load_file(weights), weights, {"resnet_lab": text})
        with pytest.raises(CheckpointError, match="the weights file is damaged: its content does not match its chec"):
            checkpoint.read(weights)
