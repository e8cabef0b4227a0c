import pytest

from resnet_lab.core.errors import ConfigError, ResNetLabError, SpecError
from resnet_lab.data.config import DataConfig
from resnet_lab.network import zoo
from resnet_lab.recipes.settings import apply_settings, value_of
from resnet_lab.train.config import TrainConfig, data_config, train_config


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("train.lr=1e-3", 0.001),
        ("train.epochs = 3", 3),
        ("train.decay_norms=false", False),
        ("train.optimizer=sgd", "sgd"),
        ('train.optimizer="sgd"', "sgd"),
        ("train.batch_size=auto", "auto"),
        ("train.device=cuda:0", "cuda:0"),
        ("train.augment=flip,rotate90", ["flip", "rotate90"]),
        ("train.augment=jitter(hue=0.1, contrast=0), flip", ["jitter(hue=0.1, contrast=0)", "flip"]),
        ('train.augment=["flip"]', ["flip"]),
        ("train.augment='flip'", ["flip"]),
        ("train.augment=none", []),
        ("train.augment=", []),
        ("train.freeze=stem,layer1", ["stem", "layer1"]),
        ("train.freeze=3", ["3"]),
        ("train.weights=none", None),
        ("train.weights=w=1.pth", "w=1.pth"),
        ("train.patience=none", None),
        ("train.balance=none", "none"),
        ("train.lr=1\nx=2", "1\nx=2"),
        ("data.source=images/images", "images/images"),
        ("data.source=2024-05-01", "2024-05-01"),
        ("data.source=2024", "2024"),
        ("data.split_file=none", None),
        ("data.source=synthetic(images=90, classes=3)", "synthetic(images=90, classes=3)"),
        ("data.folds=none", None),
        ("model.attn=cbam@3,4", "cbam@3,4"),
        ('model.attn=["se", "cbam@3,4"]', ["se", "cbam@3,4"]),
        ("model.attn=none", "none"),
        ("model.dropout=0.1", 0.1),
    ],
)
def test_a_setting_is_a_toml_value_or_a_text(setting: str, value: object) -> None:
    table, _, rest = setting.partition(".")
    changed = apply_settings({}, [setting])
    assert changed == {table: {rest.partition("=")[0].strip(): value}}
    assert type(next(iter(changed[table].values()))) is type(value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("flip,rotate90", ["flip", "rotate90"]),
        (" jitter(hue=0.1, contrast=0) , flip", ["jitter(hue=0.1, contrast=0)", "flip"]),
        ("flip,,", ["flip"]),
        ("", []),
        ("crop(scale=0.5", ["crop(scale=0.5"]),
    ],
)
def test_commas_part_augmentations_but_not_parameters(text: str, parts: list[str]) -> None:
    assert value_of(text, TrainConfig.model_fields["augment"]) == parts


@pytest.mark.parametrize("text", [",", " , ,"])
def test_a_list_of_commas_alone_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as failure:
        apply_settings({}, [f"train.augment={text}"])
    empty = f"{text.strip()!r} is a list without items; write them with commas between, or none"
    assert str(failure.value) == f"setting 'train.augment={text}': {empty}"


def test_what_is_set_is_what_the_configurations_take() -> None:
    tables = apply_settings(
        {"model": {"model": "resnet20"}, "train": {"augment": ["crop"], "weights": "IMAGENET1K_V1", "patience": 3}},
        ["train.augment=flip,rotate90", "train.weights=none", "train.patience=none", "train.freeze=1-2",
         "data.strict=true", "data.folds=5", "data.fold=2", "model.attn=se@3"],
    )  # fmt: skip
    assert train_config(tables["train"], "train") == TrainConfig(
        augment=("flip", "rotate90"), freeze=("stem", "layer1", "layer2")
    )
    assert data_config(tables["data"], "data") == DataConfig(strict=True, folds=5, fold=2)
    assert zoo.from_choices(tables["model"], "model") == zoo.get("resnet20").modified(attn="se@3")


def test_the_last_setting_wins_and_the_tables_are_unchanged() -> None:
    tables = {"train": {"lr": 1.0, "epochs": 2}}
    changed = apply_settings(tables, ["train.lr=2.0", "train.lr=3.0"])
    assert changed == {"train": {"lr": 3.0, "epochs": 2}}
    assert tables == {"train": {"lr": 1.0, "epochs": 2}}


def test_the_networks_keys_are_those_that_it_takes() -> None:
    """Both say all their keys where none is near."""
    with pytest.raises(ConfigError) as ours:
        apply_settings({}, ["model.zzz=1"])
    with pytest.raises(SpecError) as theirs:
        zoo.from_choices({"zzz": 1}, "model")
    known = [str(failure.value).partition("known: ")[2] for failure in (ours, theirs)]
    assert known[0] == known[1] != ""


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("lr=1e-3", "setting 'lr=1e-3' is not of the form table.key=value, such as train.lr=1e-3"),
        ("train.lr", "setting 'train.lr' is not of the form table.key=value, such as train.lr=1e-3"),
        ("train.=3", "setting 'train.=3' is not of the form table.key=value, such as train.lr=1e-3"),
        (".lr=3", "setting '.lr=3' is not of the form table.key=value, such as train.lr=1e-3"),
        ("", "setting '' is not of the form table.key=value, such as train.lr=1e-3"),
        ("trian.lr=1", "setting 'trian.lr=1': unknown table 'trian'; did you mean 'train'?"),
        ("recipe.title=x", "setting 'recipe.title=x': unknown table 'recipe'; known: data, model, train"),
        (
            "train.epoch=3",
            "setting 'train.epoch=3': unknown key 'epoch' of train; "
            "did you mean 'epochs' or 'decay_epochs' or 'warmup_epochs'?",
        ),
        ("data.sorce=x", "setting 'data.sorce=x': unknown key 'sorce' of data; did you mean 'source' or 'strict'?"),
        ("model.attention=se", "setting 'model.attention=se': unknown key 'attention' of model; did you mean 'attn'?"),
    ],
)
def test_settings_of_another_form(setting: str, message: str) -> None:
    with pytest.raises(ConfigError) as failure:
        apply_settings({"train": {}}, [setting])
    assert str(failure.value) == message


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.lr=fast", "train: lr: input should be a valid number, got 'fast'"),
        ("train.lr=.5", "train: lr: input should be a valid number, got '.5'"),
        ("train.epochs=[1]", "train: epochs: "),
        ("train.augment=flop", "train: augment: unknown augmentation 'flop'; did you mean 'flip' or 'crop'?"),
        ("train.freeze=3-1", "freeze '3-1': '3-1' is no part of a network; "),
    ],
)
def test_values_are_checked_where_the_tables_are_read(setting: str, message: str) -> None:
    with pytest.raises(ResNetLabError) as failure:
        train_config(apply_settings({}, [setting])["train"], "train")
    assert str(failure.value).startswith(message)
