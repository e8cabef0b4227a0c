import json
from pathlib import Path

import pytest
import torch
import torchvision
from torchvision.models import ResNet18_Weights, ResNet50_Weights

from resnet_lab.core.errors import CheckpointError, ConfigError, DataError, ResNetLabError
from resnet_lab.network import checkpoint, zoo
from resnet_lab.network.builder import build
from resnet_lab.network.plugins import load
from resnet_lab.network.weights.adopting import Adopted, Preprocessing, adopt, read_outputs

REGISTRY = load(only=[])
SMALL = zoo.get("resnet20").modified(num_classes=3)
NAMES = (("a",), ("b", "n1"), ("c d", "n2"))
KNOWN = Preprocessing(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))


@pytest.fixture
def small(tmp_path: Path) -> str:
    torch.save(build(SMALL, seed=7).state_dict(), tmp_path / "w.pth")
    return str(tmp_path / "w.pth")


def adopted(source: str, preprocessing: Preprocessing = KNOWN) -> Adopted:
    return adopt(source, REGISTRY, outputs=NAMES, preprocessing=preprocessing)


def refusal(kind: type[ResNetLabError], source: str, *arguments: Preprocessing) -> str:
    with pytest.raises(kind) as failure:
        adopted(source, *arguments)
    assert "\n" not in str(failure.value)
    return str(failure.value)


def test_a_foreign_file_with_missing_settings(small: str) -> None:
    found = adopted(small)
    assert found.metadata.spec == SMALL
    assert found.metadata.classes == ("a", "b", "c d")
    assert (found.metadata.mean, found.metadata.std) == (KNOWN.mean, KNOWN.std)
    assert (found.metadata.fit, found.metadata.resize) == ("squash", 0)
    torch.testing.assert_close(found.model.state_dict(), build(SMALL, seed=7).state_dict(), rtol=0, atol=0)
    assert not found.model.training


def test_our_own_file_needs_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    spec = SMALL.modified(act="gelu", input_size=8)
    checkpoint.save(path, build(spec), spec, classes=("x", "y", "z"), mean=(0.5,) * 3, std=(0.25,) * 3, fit="crop")
    metadata = adopt(str(path), REGISTRY).metadata
    assert metadata == checkpoint.read(path)[0]


def test_torchvisions_weights_bring_their_preprocessing_and_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held against its own `transforms()` and `meta`; the file holds random values."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    kept = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    kept.parent.mkdir(parents=True)
    torch.save(torchvision.models.resnet18().state_dict(), kept)
    found = adopt("IMAGENET1K_V1", REGISTRY, spec=zoo.get("resnet18"))
    expected = ResNet18_Weights.IMAGENET1K_V1.transforms()
    metadata = found.metadata
    assert (metadata.spec.input_size, metadata.resize) == (expected.crop_size[0], expected.resize_size[0]) == (224, 256)
    assert (metadata.fit, list(metadata.mean), list(metadata.std)) == ("crop", expected.mean, expected.std)
    assert list(metadata.classes) == ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    assert found.positions_of(("tench", "Great_White shark"), "folder") == (0, 2)
    assert ResNet50_Weights.IMAGENET1K_V2.transforms().resize_size == [232]
    assert found.coverage.extent == "100.0% of the parameters outside the classifier loaded"


def test_classes_are_matched_by_any_of_their_names(small: str) -> None:
    found = adopted(small)
    assert found.positions_of(("n2", "A"), "folder") == (2, 0)
    assert found.positions_of(("C_D",), "folder") == (2,)


@pytest.mark.parametrize(
    ("classes", "problem"),
    [
        (("a", "bb"), "class 'bb' is none of theirs by the names of {0}: did you mean 'b'?; name the classes of "
         "the outputs with --classes FILE"),
        (("b", "n1"), "classes 'b' and 'n1' are both output 1 of {0}; rename one"),
    ],
)  # fmt: skip
def test_classes_that_cannot_be_matched(classes: tuple[str, ...], problem: str, small: str) -> None:
    with pytest.raises(DataError) as failure:
        adopted(small).positions_of(classes, "folder")
    assert str(failure.value) == f"folder: {problem.format(small)}"


def test_a_name_of_several_outputs(small: str) -> None:
    found = adopt(small, REGISTRY, outputs=(("crane",), ("b",), ("crane",)), preprocessing=KNOWN)
    assert found.metadata.classes == ("crane (0)", "b", "crane (2)")
    with pytest.raises(DataError, match=r"class 'crane' stands for several outputs \(0, 2\)"):
        found.positions_of(("crane",), "folder")


def test_what_is_not_known_is_asked_for(small: str) -> None:
    assert refusal(CheckpointError, small, Preprocessing()) == (
        f"{small}: the mean that images were normalised with is not known; give --preprocess imagenet, or --preprocess "
        "mean=R,G,B and --preprocess std=R,G,B on a scale of 0 to 1"
    )
    with pytest.raises(CheckpointError) as failure:
        adopt(small, REGISTRY, preprocessing=KNOWN)
    assert str(failure.value) == (
        f"{small}: the classifier has 3 classes, and there are no names for them; give --classes FILE with one name "
        "per line, or a JSON list of names, in the order of the classifier"
    )


def test_weights_of_another_network(tmp_path: Path) -> None:
    path = str(tmp_path / "w.pth")
    state = build(SMALL).state_dict()
    torch.save({**state, "layer1.0.gate.weight": torch.zeros(2)}, path)
    assert "its tensors are those of no network of the zoo (3+3+3 basic blocks of width 16 (resnet20))" in refusal(
        CheckpointError, path
    )
    alone = str(tmp_path / "alone.pth")
    torch.save({"features.0.weight": torch.zeros(4, 3, 3, 3)}, alone)
    assert "its tensors are those of no network of the zoo (no residual blocks)" in refusal(CheckpointError, alone)
    with pytest.raises(CheckpointError) as failure:
        adopt(path, REGISTRY, spec=SMALL, outputs=NAMES, preprocessing=KNOWN)
    assert str(failure.value) == (
        f"{path}: tensors of the weights have no place in the network (1, such as layer1.0.gate.weight), so this is "
        "another network; name it with --model or --spec"
    )
    torch.save(state, path)
    with pytest.raises(CheckpointError) as failure:
        adopt(path, REGISTRY, spec=SMALL.modified(attn="cbam@1"), outputs=NAMES, preprocessing=KNOWN)
    assert str(failure.value) == (
        f"{path}: tensors of the network are not in the weights as it has them (9, such as layer1.0.attn.conv.weight), "
        "so this is another network; name it with --model or --spec"
    )


@pytest.mark.parametrize(
    "choices",
    [{}, {"model": "resnet20_b"}, {"attn": "se"}, {"attn": "eca"}, {"attn": "cbam(norm=true)"}],
    ids=str,
)
def test_the_network_is_inferred_from_its_tensors(choices: dict[str, str], tmp_path: Path) -> None:
    spec = zoo.from_choices({"model": "resnet20", "num_classes": 3, **choices}, "test")
    torch.save(build(spec).state_dict(), tmp_path / "w.pth")
    assert adopted(str(tmp_path / "w.pth")).metadata.spec == spec


def test_preprocessing_overrules(small: str) -> None:
    text = ("imagenet", "size=48", "resize=64", "mean=0.5,0.25,0.125")
    metadata = adopted(small, Preprocessing.parse(text)).metadata
    assert (metadata.spec.input_size, metadata.resize, metadata.fit) == (48, 64, "crop")
    assert (metadata.mean, metadata.std) == ((0.5, 0.25, 0.125), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("means=1", "--preprocess means=1: not of the form KEY=VALUE; did you mean 'mean='?"),
        ("size=0", "--preprocess: size: input should be greater than or equal to 1, got 0"),
        ("fit=zoom", "--preprocess: fit: input should be 'squash', 'crop' or 'pad', got 'zoom'"),
        ("mean=0.5", "--preprocess mean: 3 numbers are wanted, got (0.5,)"),
        ("mean=nan,0,0", "--preprocess: mean.0: input should be a finite number, got 'nan'"),
        ("std=1,0,1", "--preprocess std: 3 numbers above 0 are wanted, got (1.0, 0.0, 1.0)"),
        (
            "resize=31",
            "--preprocess: 32 pixels cannot be cut out of a picture whose shorter side is 31; give resize=0 or at "
            "least 32, or a smaller size",
        ),
    ],
)
def test_preprocessing_that_cannot_be(text: str, problem: str, small: str) -> None:
    with pytest.raises(ConfigError) as failure:
        adopted(small, KNOWN.model_copy(update=Preprocessing.parse([text]).model_dump(exclude_none=True)))
    assert str(failure.value) == problem


@pytest.mark.parametrize(
    "text",
    [
        "a\nb\tn1\n\nc d\tn2\n",
        json.dumps(["a", ["b", "n1"], ["c d", "n2"]]),
        json.dumps({"1": ["b", "n1"], "0": "a", "2": ["c d", "n2"]}),
    ],
    ids=["lines", "list", "table"],
)
def test_names_of_classes_are_read(text: str, tmp_path: Path) -> None:
    (tmp_path / "names").write_text(text)
    assert read_outputs(tmp_path / "names") == NAMES


@pytest.mark.parametrize("text", ['{"1": "a"}', "[1]", "[[]]", "[", '["a", null]', "[" * 10**5])
def test_names_of_another_form(text: str, tmp_path: Path) -> None:
    (tmp_path / "names").write_text(text)
    with pytest.raises(ConfigError) as failure:
        read_outputs(tmp_path / "names")
    problem = f"{tmp_path / 'names'}: not a list of names, nor a table from 0, 1, 2 ... to names"
    reason = {
        "[": ": not JSON: Expecting value: line 1 column 2 (char 1)",
        "[[[": ": nested deeper than 64 lists and tables",
    }
    assert str(failure.value) == problem + reason.get(text[:3], "")
