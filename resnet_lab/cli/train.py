"""`resnet-lab train`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from resnet_lab.cli import app, options

DEFAULT_ON_DIGITS = {"model": "resnet20", "input_size": 16}


@app.command(
    epilog="Example: `resnet-lab train --data paintings/ --depth 18 --size 128 --attn cbam --augment flip --epochs 30`"
)
def train(
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help="A folder of class folders, a .csv or .parquet manifest, torchvision:NAME, hf:NAME, wds:SHARDS, "
            "digits or synthetic.",
            show_default="digits",
            rich_help_panel=options.DATA,
        ),
    ] = None,
    fit: options.Fit = None,
    cache: Annotated[
        str | None,
        typer.Option(
            "--cache",
            help="disk (decode once), stream (decode in every epoch), or auto.",
            show_default="auto",
            rich_help_panel=options.DATA,
        ),
    ] = None,
    strict: options.Strict = None,
    split_file: options.SplitFile = None,
    folds: options.Folds = None,
    fold: options.Fold = None,
    download: options.Download = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="FILE", help="TOML with tables model, data and train; options here overrule it."
        ),
    ] = None,
    model: options.Model = None,
    depth: options.Depth = None,
    spec: options.SpecFile = None,
    act: options.Act = None,
    conv: options.Conv = None,
    norm: options.Norm = None,
    attn: options.Attn = None,
    block: options.Block = None,
    shortcut: options.Shortcut = None,
    dropout: options.Dropout = None,
    head_dropout: options.HeadDropout = None,
    size: options.Size = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Passes over the training part.", show_default="15")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="Images a step, at most.", show_default="32")
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option("--optimizer", help="adam, adamw or sgd.", show_default="adam")
    ] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="First learning rate.", show_default="0.003")] = None,
    weight_decay: Annotated[
        float | None, typer.Option("--weight-decay", help="Of all parameters.", show_default="0")
    ] = None,
    schedule: Annotated[
        str | None, typer.Option("--schedule", help="cosine, exponential or constant.", show_default="cosine")
    ] = None,
    decay: Annotated[
        float | None, typer.Option("--decay", help="Factor an epoch of the exponential schedule.", show_default="0.7")
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            "--augment",
            help="flip, rotate90, crop, jitter, erase, mixup, cutmix: several with commas, with parameters if any: "
            "crop(scale=0.5),flip.",
            show_default="none",
        ),
    ] = None,
    balance: Annotated[
        str | None,
        typer.Option(
            "--balance",
            help="For classes of unequal size: sampling (equal shares of an epoch) or loss (class weights).",
            show_default="none",
        ),
    ] = None,
    zero_init_residual: Annotated[
        bool | None, typer.Option("--zero-init-residual", help="Start each residual branch at zero.", show_default="no")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Of weights, split, order and augmentation.", show_default="0")
    ] = None,
    device: options.Device = None,
    precision: options.Precision = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FOLDER", help="The run folder; it must not exist.", show_default="runs/<time>-<name>"
        ),
    ] = None,
    no_plugin: options.NoPlugin = None,
    json: options.JSON = False,
) -> None:
    """Train a network on images and score its best epoch on the test part.

    Without options it trains a ResNet-20 on scikit-learn's 1,797 handwritten digits. The data are split 80/10/10 in
    every class; the epoch with the best validation macro-averaged accuracy is tested, once.
    """
    from resnet_lab.data.augmentations import listed
    from resnet_lab.train.config import data_config, read_config, train_config

    file = read_config(config) if config is not None else {}
    chosen = {
        "epochs": epochs, "batch_size": batch_size, "optimizer": optimizer, "lr": lr, "weight_decay": weight_decay,
        "schedule": schedule, "decay": decay, "zero_init_residual": zero_init_residual, "seed": seed,
        "device": device, "precision": precision, "balance": balance,
        "augment": None if augment is None else [name for name in listed(augment) if name != "none"],
    }  # fmt: skip
    training = train_config({**file.get("train", {}), **options.given(chosen)}, str(config or "train"))
    found = {
        "source": data, "fit": fit, "cache": cache, "strict": strict, "split_file": split_file,
        "folds": folds, "fold": fold, "download": download,
    }  # fmt: skip
    images = data_config({**file.get("data", {}), **options.given(found)}, str(config or "data"))
    network = options.choose_network(
        {
            "act": act, "conv": conv, "norm": norm, "attn": attn, "block": block, "shortcut": shortcut,
            "dropout": dropout, "head_dropout": head_dropout, "input_size": size,
        },
        model=model, depth=depth, spec_file=spec, table=file.get("model", {}), where=str(config),
        default=DEFAULT_ON_DIGITS if images.source == "digits" else options.DEFAULT_NETWORK,
    )  # fmt: skip

    from resnet_lab.cli.progress import Screen
    from resnet_lab.train.interruption import Interrupted
    from resnet_lab.train.training import train as run_training

    registry = options.load_registry(no_plugin)
    folder = out or _default_folder(network.name)
    try:
        with Screen() as screen:
            result = run_training(
                network, images, training, folder=folder, registry=registry, command=sys.argv, watcher=screen
            )
    except Interrupted as error:
        print(
            f"resnet-lab: {error}; the weights of the last step are in {folder / 'last.safetensors'}", file=sys.stderr
        )
        raise typer.Exit(128 + error.signal) from None
    if json:
        options.print_json({"run": str(result.run), "best_epoch": result.best_epoch, "test": result.test.headline()})
        return
    from resnet_lab.cli.scores import print_scores

    print_scores(result.test, f"test part, weights of epoch {result.best_epoch}", each_class=False)
    print(f"run folder: {result.run}")


def _default_folder(name: str) -> Path:
    from datetime import datetime

    stem = f"runs/{datetime.now():%Y%m%d-%H%M%S}-{name}"
    folder, number = Path(stem), 2
    while folder.exists():  # two runs begun in the same second
        folder, number = Path(f"{stem}-{number}"), number + 1
    return folder
