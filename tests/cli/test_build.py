import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torchvision
from safetensors.torch import load_file

from resnet_lab.network import zoo
from resnet_lab.network.builder import build
from resnet_lab.network.spec import ModelSpec


def test_resnet50_is_the_default(cli: Callable) -> None:
    code, out, err = cli("build", "--json")
    content = json.loads(out)
    assert (code, err) == (0, "")
    published = torchvision.models.ResNet50_Weights.DEFAULT.meta
    assert content["parameters"] == published["num_params"] == sum(stage["parameters"] for stage in content["stages"])
    assert content["macs"] / 1e9 == pytest.approx(published["_ops"], rel=1e-3)
    assert [stage["shape"] for stage in content["stages"]][-3:] == [[1024, 14, 14], [2048, 7, 7], [1000]]
    assert content["unmodified"] is None


def test_three_changes_at_once(cli: Callable) -> None:
    code, out, _ = cli("build", "--act", "gelu", "--conv", "depthwise", "--attn", "cbam", "--json")
    content = json.loads(out)
    model = build("resnet50", act="gelu", conv="depthwise", attn="cbam")
    assert code == 0
    assert content["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert content["unmodified"]["parameters"] == 25_557_032
    assert "amax" in content["not_counted"]


def test_the_table(cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    code, out, _ = cli("build", "--depth", 18, "--conv", "depthwise", "--attn", "cbam(reduction=8)@3,4")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "cbam" not in lines["layer2"]
    assert "2 x basic, depthwise 3x3, batch, relu, cbam(reduction=8)" in lines["layer3"]
    assert "256 x 14 x 14" in lines["layer3"]
    assert lines["unmodified"].startswith(
        "unmodified resnet18: 11,689,512 parameters, 1,814,073,344 MACs; this one has"
    )
    assert "depthwise in block basic: each is followed by a 1x1 convolution" in lines["note:"]
    assert lines["total"].split()[1:] == [f"{number:,}" for number in _counts(cli)]


def test_a_stem_that_is_too_coarse_is_remarked_on(cli: Callable) -> None:
    remark = "the stem reduces 32 x 32 pixels to 8 x 8, and the maps of the stages are 8 x 8, 4 x 4, 2 x 2, 1 x 1; "
    assert f"note: {remark}for images this small give --stem cifar" in cli("build", "--depth", 18, "--size", 32).out
    kept = ("--weights-out", "w.safetensors", "--json")
    (note,) = json.loads(cli("build", "--model", "resnet26t", "--size", 32, *kept).out)["notes"]
    assert note.startswith(remark)
    assert json.loads(cli("build", "--depth", 18, "--size", 32, "--stem", "cifar", "--json").out)["notes"] == []


def _counts(cli: Callable) -> tuple[int, int]:
    content = json.loads(
        cli("build", "--depth", 18, "--conv", "depthwise", "--attn", "cbam(reduction=8)@3,4", "--json").out
    )
    return content["parameters"], content["macs"]


def test_written_files_are_what_was_shown(cli: Callable, tmp_path: Path) -> None:
    code, _, _ = cli(
        "build", "--model", "resnet56", "--attn", "se", "--num-classes", 50, "--seed", 3,
        "--out", "spec.json", "--weights-out", "w.safetensors",
    )  # fmt: skip
    assert code == 0
    spec = zoo.get("resnet56").modified(attn="se", num_classes=50)
    assert ModelSpec.from_json((tmp_path / "spec.json").read_text()) == spec
    state = build(spec, seed=3).state_dict()
    assert all((state[name] == tensor).all() for name, tensor in load_file(tmp_path / "w.safetensors").items())
    again = json.loads(cli("build", "--spec", "spec.json", "--json").out)
    assert again["spec_hash"] == spec.hash


def test_a_brief_toml_spec(cli: Callable, tmp_path: Path) -> None:
    (tmp_path / "net.toml").write_text('model = "resnet18"\nact = "gelu"\nattn = ["se", "cbam@4"]\n')
    content = json.loads(cli("build", "--spec", "net.toml", "--json").out)
    assert content["spec_hash"] == zoo.get("resnet18").modified(act="gelu", attn=["se", "cbam@4"]).hash


BAD = {
    "--dilate x": "--dilate must be stages separated by commas, such as 3,4, got 'x'",
    "--widen 0": "widen must be a number above 0 and below 65536, such as 2 or 0.5, got 0.0",
    "--widen 40000": "resnet50: stem.convs.0.out_channels: input should be less than or equal to 65536, got 2560000",
    "--drop-path 1": "resnet50: drop_path: input should be less than 1, got 1.0",
    "--attn cbm": "stage 1: unknown attention 'cbm'; did you mean 'cbam' or 'bam'?",
    "--act rleu": "stage 1: unknown activation 'rleu'; did you mean 'relu'",
    "--attn cbam(reducton=8)": "stage 1: attention cbam has no parameter 'reducton'; did you mean 'reduction'?",
    "--attn cbam(reduction=eight)": (
        "stage 1: attention cbam: parameter 'reduction': input should be a valid integer, got 'eight'"
    ),
    "--attn cbam(position=middle)": (
        "stage 1: attention cbam: parameter 'position': input should be 'branch', 'inner' or 'output', got 'middle'"
    ),
    "--attn cbam@5": "cbam: resnet50 has no such part in stage 5; it can go to stages 1 to 4",
    "--model resnext50_32x4d --conv depthwise": (
        "stage 1: convolution depthwise cannot be put in 32 groups as block bottleneck(groups=32) asks; "
        "choose block bottleneck without groups, or convolution dense"
    ),
    "--depth 19": "model: unknown network 'resnet19'; did you mean 'resnet18' or ",
    "--depth 18 --model resnet50": "--model and --depth each name a network; give one of them",
    "--num-classes 0": "resnet50: head.num_classes: input should be greater than or equal to 1, got 0",
    "--size -3": "resnet50: input_size: input should be greater than or equal to 1, got -3",
    "--dropout 1.5": "resnet50: stages.0.block.dropout: input should be less than 1, got 1.5",
    "--spec absent.json": "absent.json: cannot be read: No such file or directory",
    "--no-plugin absent": "plugin 'absent' is not installed; known: ",
}


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_is_one_sentence_and_writes_nothing(cli: Callable, tmp_path: Path, arguments: str) -> None:
    code, out, err = cli("build", *arguments.split(), "--out", "spec.json", "--json")
    assert (code, out) == (2, "")
    assert err.startswith(f"resnet-lab: {BAD[arguments]}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--out", "--weights-out"])
def test_an_existing_file_is_left_as_it_is(cli: Callable, tmp_path: Path, option: str) -> None:
    (tmp_path / "mine").write_text("precious")
    code, out, err = cli("build", "--depth", 18, option, "mine")
    assert (code, out) == (2, "")
    assert err == "resnet-lab: mine exists already and is left as it is; choose another name or remove it\n"
    assert (tmp_path / "mine").read_text() == "precious"


def test_a_spec_from_a_newer_version(cli: Callable, tmp_path: Path) -> None:
    data = zoo.get("resnet18").model_dump(mode="json")
    (tmp_path / "new.json").write_text(json.dumps({**data, "format": 2}))
    assert cli("build", "--spec", "new.json") == (
        2,
        "",
        "resnet-lab: new.json: spec format 2 is newer than this resnet-lab reads (1); upgrade resnet-lab\n",
    )
