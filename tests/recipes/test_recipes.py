import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from resnet_lab import recipes
from resnet_lab.core.errors import ConfigError
from resnet_lab.core.run_folder import Run
from resnet_lab.data.augmentations import Augmentations, Crop, Cutmix, Flip, Mixup, RandAugment, parse_augmentations
from resnet_lab.data.config import DataConfig
from resnet_lab.network import zoo
from resnet_lab.network.builder import build
from resnet_lab.network.spec import ModelSpec
from resnet_lab.recipes.recipe import Tables, names, read_file, read_recipe
from resnet_lab.train.config import TrainConfig, data_config, train_config
from resnet_lab.train.freezing import freeze
from resnet_lab.train.training import train

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
STAGES = ("layer1", "layer2", "layer3", "layer4")
SCRATCH: dict[str, Any] = {
    "optimizer": "adam", "lr": 0.003, "schedule": "exponential", "decay": 0.7, "augment": ("rotate90",),
    "epochs": 15, "batch_size": 32,
}  # fmt: skip
FINETUNE = {**SCRATCH, "lr": 0.0003, "weights": "IMAGENET1K_V1"}
STUDY = {
    "paintings-scratch": TrainConfig(**SCRATCH),
    "paintings-finetune": TrainConfig(**FINETUNE),
    "paintings-frozen-1-4": TrainConfig(**FINETUNE, freeze=("stem", *STAGES)),
    "paintings-frozen-1-3": TrainConfig(**FINETUNE, freeze=("stem", *STAGES[:3])),
    "paintings-modified": TrainConfig(**SCRATCH),
}


def checked(tables: Tables) -> tuple[ModelSpec, DataConfig, TrainConfig]:
    return (
        zoo.from_choices(tables["model"], "model"),
        data_config(tables["data"], "data"),
        train_config(tables["train"], "train"),
    )


def test_the_recipes() -> None:
    assert names() == (
        "digits-quick",
        "digits-strong",
        *sorted([*STUDY, "paintings-adamw", "paintings-best", "paintings-quick"]),
        "strong",
    )


@pytest.mark.parametrize("name", names())
def test_each_recipe_is_one_that_can_be_run(name: str) -> None:
    recipe = read_recipe(name)
    spec, data, _ = checked(recipe.tables)
    assert spec.input_size == recipe.tables["model"]["input_size"]
    assert data.source == ("digits" if name.startswith("digits") else "images/images")
    assert recipe.name == name
    assert "" not in (recipe.title, recipe.description, recipe.source)
    assert "\n" not in recipe.title + recipe.description + recipe.source
    assert recipe.tables == {key: table for key, table in tomllib.loads(recipe.text).items() if key != "recipe"}


@pytest.mark.parametrize("name", STUDY)
def test_the_study_trained_so(name: str) -> None:
    _, data, training = checked(read_recipe(name).tables)
    assert training == STUDY[name]
    assert data == DataConfig(source="images/images", fit="squash")
    assert (data.folds, data.split_file) == (None, None)  # so that the split is 80/10/10


@pytest.mark.parametrize("name", STUDY)
def test_the_study_had_these_networks(name: str) -> None:
    spec, *_ = checked(read_recipe(name).tables)
    changes = {"act": "gelu", "conv": "depthwise", "attn": "cbam"} if name == "paintings-modified" else {}
    assert spec == zoo.get("resnet50").modified(**changes)
    assert spec.input_size == 224


@pytest.mark.parametrize(
    ("name", "learning"), [("paintings-frozen-1-4", {"fc"}), ("paintings-frozen-1-3", {"layer4", "fc"})]
)
def test_what_is_left_to_learn(name: str, learning: set[str]) -> None:
    model = freeze(build("resnet18"), read_recipe(name).tables["train"]["freeze"])
    assert {each.split(".")[0] for each, parameter in model.named_parameters() if parameter.requires_grad} == learning


def test_strong_trains_the_network_of_the_first_experiment() -> None:
    plain, strong, adamw = map(read_recipe, ("paintings-scratch", "strong", "paintings-adamw"))
    assert strong.tables["model"] == {**plain.tables["model"], "drop_path": 0.05}
    assert strong.tables["data"] == plain.tables["data"]
    assert (adamw.tables["model"], adamw.tables["data"]) == (plain.tables["model"], plain.tables["data"])


def test_strong_is_procedure_a2_as_printed() -> None:
    """arXiv:2110.00476, table 2."""
    spec, _, training = checked(read_recipe("strong").tables)
    assert (spec.input_size, spec.drop_path) == (224, 0.05)
    printed = {
        "epochs": 300, "batch_size": 2048, "optimizer": "lamb", "lr": 5e-3, "schedule": "cosine", "weight_decay": 0.02,
        "warmup_epochs": 5.0, "label_smoothing": 0.0, "repeats": 3, "clip_norm": None, "ema": 0.0, "loss": "bce",
    }  # fmt: skip
    assert {name: getattr(training, name) for name in printed} == printed
    assert parse_augmentations(training.augment) == Augmentations(
        pixel=(
            Crop(scale=0.08), Flip(p=0.5),
            RandAugment(ops="timm", magnitude=7, std=0.5, p=0.5, interpolation="bilinear"),
        ),
        mixing=(Mixup(alpha=0.1, p=0.5), Cutmix(alpha=1.0, p=0.5)),
    )  # fmt: skip


def test_digits_strong_has_each_means_of_the_paintings() -> None:
    changed = {
        name: {key for key, value in checked(read_recipe(name).tables)[2] if value != getattr(TrainConfig(), key)}
        for name in ("paintings-adamw", "digits-strong")
    }
    assert changed["digits-strong"] == changed["paintings-adamw"] - {"epochs", "batch_size"}
    assert {"decay_norms", "label_smoothing", "ema", "warmup_epochs", "weight_decay"} < changed["paintings-adamw"]


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[recipe]\ntitle = "Mine"\n[train]\nlr = 1e-2\n')
    recipe = read_recipe(str(path))
    assert (recipe.name, recipe.title, recipe.description) == (str(path), "Mine", "")
    assert recipe.tables == {"model": {}, "data": {}, "train": {"lr": 0.01}}
    assert recipe == read_file(path)


def test_the_recipe_table_is_optional(tmp_path: Path) -> None:
    path = tmp_path / "configuration"
    path.write_text("[train]\nlr = 1e-2\n")
    assert read_recipe(str(path)).title == str(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("paintings-scrach", "paintings-scrach: no such recipe, and no such file; did you mean 'paintings-scratch'"),
        ("quick", "quick: no such recipe, and no such file; did you mean 'digits-quick' or 'paintings-quick'?"),
        ("Strong", "Strong: no such recipe, and no such file; did you mean 'strong' or 'digits-strong'?"),
        ("absent.toml", "absent.toml: cannot be read: No such file or directory"),
    ],
)
def test_an_unknown_recipe(name: str, message: str) -> None:
    with pytest.raises(ConfigError) as failure:
        read_recipe(name)
    assert str(failure.value).startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[trian]", "unknown table 'trian'; did you mean 'train'?"),
        (b"train = 3", "train must be a table, written [train]"),
        (b"recipe = 'x'", "recipe must be a table, written [recipe]"),
        (b"[recipe]\ntitel = 'x'", "recipe: titel: extra inputs are not permitted, got 'x'"),
        (b"[recipe]\ntitle = 3", "recipe: title: input should be a valid string, got 3"),
        (b"[train", "not TOML: Expected ']' at the end of a table declaration (at end of document)"),
        (b"\xff", "not TOML: 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_files_of_another_form(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as failure:
        read_file(path)
    assert re.sub(r"^.*?c\.toml: ", "", str(failure.value)).startswith(message)


def test_reading_waits_for_no_torch() -> None:
    code = "import sys, resnet_lab.recipes; resnet_lab.recipes.read_recipe('strong'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "name",
    [pytest.param("digits-quick", marks=pytest.mark.slow), pytest.param("digits-strong", marks=pytest.mark.long)],
)
def test_digits_are_learned(name: str, tmp_path: Path) -> None:
    """Seeds 0 to 3 gave 0.984 to 1.000; one of the 170 to 180 test images is 0.006."""
    spec, data, training = checked(read_recipe(name).tables)
    assert train(spec, data, training, folder=tmp_path / "run").test.macro_accuracy >= 0.97


@pytest.mark.slow
def test_the_strong_recipe_learns_from_the_first_epochs(tmp_path: Path) -> None:
    spec, data, training = checked(read_recipe("digits-strong").tables)
    training = training.model_copy(update={"epochs": 3, "warmup_epochs": 1.0})
    train(spec, data, training, folder=tmp_path / "run")
    losses = Run(tmp_path / "run").epochs()
    assert losses[2]["val_loss"] < losses[0]["val_loss"] < 10


def settings_of_the_page() -> dict[str, dict[str, str]]:
    """The tables of the page whose head names recipes: of each the values by `table.key`."""
    columns = {"all five": tuple(STUDY), **{name: (name,) for name in names()}}
    found: dict[str, dict[str, str]] = {name: {} for name in names()}
    head: list[str] = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if cells[:1] == ["setting"] or not cells:
            head = cells[1:]
        elif head and "." in cells[0]:
            for column, value in zip(head, cells[1:], strict=True):
                for name in columns[column] if value else ():
                    assert cells[0] not in found[name], "stated twice"
                    found[name][cells[0]] = value
    return found


def test_the_page_agrees_with_the_files() -> None:
    for name, values in settings_of_the_page().items():
        read = {key: tomllib.loads(f"value = {value}")["value"] for key, value in values.items()}
        tables = read_recipe(name).tables
        assert read == {f"{table}.{key}": value for table in tables for key, value in tables[table].items()}


def test_only_recipes_lie_beside_the_code() -> None:
    folder = Path(recipes.__file__).parent
    assert {path.suffix for path in folder.iterdir() if path.is_file()} == {".py", ".pyi", ".toml"}
