import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from resnet_lab import recipes
from resnet_lab.recipes.recipe import names, read_recipe
from resnet_lab.train.config import train_config


def test_the_list(cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    code, out, err = cli("recipes", "list")
    assert (code, err) == (0, "")
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert "paintings-frozen-1-3 Paintings, fine-tuned with stages 1-3 frozen resnet50 15" in rows
    assert "strong Paintings, from scratch as in ResNet strikes back resnet50 300" in rows
    assert "paintings-modified Paintings, three parts modified, from scratch resnet50, gelu, 15" in rows
    assert all(any(row.startswith(f"{name} ") for row in rows) for name in names())


def test_the_list_as_json(cli: Callable) -> None:
    code, out, err = cli("recipes", "list", "--json")
    content = json.loads(out)["recipes"]
    assert (code, err) == (0, "")
    assert [row["name"] for row in content] == list(names())
    frozen = next(row for row in content if row["name"] == "paintings-frozen-1-3")
    assert frozen["title"] == "Paintings, fine-tuned with stages 1-3 frozen"
    assert set(frozen) == {"name", "title", "description", "source", "model", "data", "train"}
    assert frozen["model"] == {"model": "resnet50", "input_size": 224}
    assert frozen["data"] == {"source": "images/images", "fit": "squash"}
    assert frozen["train"] == {
        "epochs": 15, "batch_size": 32, "optimizer": "adam", "lr": 3e-4, "schedule": "exponential", "decay": 0.7,
        "augment": ["rotate90"], "weights": "IMAGENET1K_V1", "freeze": ["stem", "layer1", "layer2", "layer3"],
    }  # fmt: skip


@pytest.mark.parametrize("name", names())
def test_a_recipe_is_shown_as_it_is(cli: Callable, name: str) -> None:
    code, out, err = cli("recipes", "show", name)
    assert (code, err) == (0, "")
    assert out == (Path(recipes.__file__).parent / f"{name}.toml").read_text()


def test_a_recipe_as_json(cli: Callable) -> None:
    code, out, err = cli("recipes", "show", "paintings-modified", "--json")
    assert (code, err) == (0, "")
    listed = json.loads(cli("recipes", "list", "--json").out)["recipes"]
    assert json.loads(out) == next(row for row in listed if row["name"] == "paintings-modified")
    assert json.loads(out)["model"]["attn"] == "cbam"


def test_what_is_shown_can_be_kept_and_trained(cli: Callable, paintings: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(cli("recipes", "show", "digits-quick").out)
    assert cli("recipes", "show", "mine.toml").out == read_recipe("digits-quick").text
    code, _, err = cli(
        "train", "--config", "mine.toml", "--data", paintings, "--size", 8, "--epochs", 1, "--precision", "fp32",
        "--set", "train.batch_size=8", "--out", "run",
    )  # fmt: skip
    assert code == 0, err
    config = json.loads((tmp_path / "run" / "run.json").read_text())["config"]
    changes = {"epochs": 1, "precision": "fp32", "batch_size": 8}
    expected = train_config({**read_recipe("digits-quick").tables["train"], **changes}, "here")
    assert config == expected.model_dump(mode="json")


@pytest.mark.parametrize("command", ["list", "show"])
def test_help_has_an_example_and_json(cli: Callable, command: str) -> None:
    code, out, _ = cli("recipes", command, "--help")
    text = " ".join(out.replace("│", " ").split())
    assert code == 0
    assert f"Example: resnet-lab recipes {command}" in text
    assert "--json" in text


def test_bad_input(cli: Callable, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[trian]")
    for name, message in {
        "paintings": "paintings: no such recipe, and no such file; did you mean 'paintings-best' "
        "or 'paintings-quick' or 'paintings-adamw'?",
        "absent.toml": "absent.toml: cannot be read: No such file or directory",
        "c.toml": "c.toml: unknown table 'trian'; did you mean 'train'?",
    }.items():
        assert cli("recipes", "show", name) == (2, "", f"resnet-lab: {message}\n")


@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"], ["show", "strong"]])
def test_nothing_waits_for_torch(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from resnet_lab.cli.root import app\n"
        f"app(['recipes', *{arguments}], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
