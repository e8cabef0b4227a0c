"""The recipes on a folder of paintings, at a size that a CPU trains, and fine-tuning from weights of other classes.

`paintings-scratch`, `paintings-modified` and `paintings-adamw` train on all classes. Then a network learns half of the
classes for longer, and its weights begin trainings on the other half: all of it learning, with the stem and stages 1 to
3 frozen, and with all stages frozen; beside them one from scratch.

usage: python benchmarks/louvre_recipes.py FOLDER OUT.json [MODEL] [SIZE]
       resnet18 at 96 pixels by default; resnet50 and 224 are what the recipes say
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from resnet_lab.network import zoo
from resnet_lab.recipes.recipe import read_recipe
from resnet_lab.recipes.settings import apply_settings
from resnet_lab.train.config import data_config, train_config
from resnet_lab.train.training import train

FIRST, SECOND = ("genre_scene", "portrait"), ("landscape", "still_life")


def main(source: str, out: str, model: str = "resnet18", size: int = 96) -> None:
    """Run every case; the JSON, written after each, has its record and metrics."""
    cases: dict[str, Any] = {}
    network = f"model.model={model}", f"model.input_size={size}"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        halves = [some_classes(Path(source), names, folder / "-".join(names)) for names in (FIRST, SECOND)]
        weights = str(folder / "other classes")

        def case(name: str, recipe: str, data: str, *settings: str) -> None:
            cases[name] = run(recipe, [f"data.source={data}", *network, *settings], folder / name)
            Path(out).write_text(json.dumps(cases, indent=1))
            found = cases[name]
            print(f"{name}: macro accuracy {found['test']['macro_accuracy']:.3f}, {found['seconds']:.0f} s", flush=True)

        case("scratch", "paintings-scratch", source)
        case("modified", "paintings-modified", source)
        case("strong", "paintings-adamw", source, "train.epochs=30", "train.batch_size=32", "train.ema=0.99")
        case("other classes", "paintings-scratch", halves[0], "train.lr=1e-3", "train.epochs=30", "train.decay=0.9")
        case("half from scratch", "paintings-scratch", halves[1])
        for name, recipe in (
            ("fine-tuned", "paintings-finetune"),
            ("frozen 1-3", "paintings-frozen-1-3"),
            ("frozen 1-4", "paintings-frozen-1-4"),
        ):
            case(name, recipe, halves[1], f"train.weights={weights}")
    draw(cases, Path(out).with_suffix(".png"))


def some_classes(source: Path, names: Sequence[str], folder: Path) -> str:
    """A folder with links to some of the classes."""
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to((source / name).resolve())
    return str(folder)


def run(recipe: str, settings: Sequence[str], folder: Path) -> dict[str, Any]:
    """Train as a recipe says, but for the settings; what run.json and metrics.csv say."""
    tables = apply_settings(read_recipe(recipe).tables, settings)
    network = zoo.from_choices(tables["model"], recipe)
    train(network, data_config(tables["data"], recipe), train_config(tables["train"], recipe), folder=folder)
    record: dict[str, Any] = json.loads((folder / "run.json").read_text())
    for private in ("command", "created", "spec"):
        del record[private]
    record["data"]["source"] = Path(record["data"]["source"]).name
    if record["weights"]:
        record["config"]["weights"] = record["weights"]["source"] = Path(record["config"]["weights"]).name
    for name in ("metrics", "times"):
        record[name] = pd.read_csv(folder / f"{name}.csv").to_dict("list")
    return record


def draw(cases: dict[str, Any], path: Path) -> None:
    """Losses and macro-averaged accuracies against epochs, a row for all classes and one for half of them."""
    groups = (
        ("four genres, from scratch", ("scratch", "modified", "strong")),
        ("two genres, from weights of the other two", ("half from scratch", "fine-tuned", "frozen 1-3", "frozen 1-4")),
    )
    figure = Figure(figsize=(9, 7), layout="constrained")
    for row, (title, names) in zip(figure.subplots(2, 2), groups, strict=True):
        for panel, label, figures in zip(
            row, ("cross-entropy (nats)", "macro-averaged accuracy"), ("loss", "macro_accuracy"), strict=True
        ):
            for name, colour in zip(names, ("#0072B2", "#D55E00", "#009E73", "#CC79A7"), strict=False):
                metrics = cases[name]["metrics"]
                panel.plot(metrics["epoch"], metrics[f"val_{figures}"], color=colour, label=name)
                panel.plot(metrics["epoch"], metrics[f"train_{figures}"], color=colour, linestyle=":")
            panel.set(title=title, xlabel="epoch", ylabel=label)
            panel.grid(alpha=0.3)
        row[0].set_ylim(0, 2.5)
        row[1].legend(frameon=False, title="validation; training dotted")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *sys.argv[3:4], *map(int, sys.argv[4:5]))
