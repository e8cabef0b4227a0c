"""Options of `resnet-lab train` alone."""

from pathlib import Path
from typing import Annotated

import typer

from resnet_lab.cli import options

LEARNING = "Learning"
TRANSFER = "Pretrained weights"

Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="SOURCE",
        help="A folder of class folders, a .csv, .tsv or .parquet manifest, torchvision:NAME, hf:NAME, wds:SHARDS, "
        "digits or synthetic.",
        show_default="digits",
        callback=options.name_source,
        rich_help_panel=options.DATA,
    ),
]
Cache = Annotated[
    str | None,
    typer.Option(
        "--cache",
        help="disk (decode once), stream (decode in every epoch), or auto.",
        show_default="auto",
        rich_help_panel=options.DATA,
    ),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe", metavar="NAME", help="Start from a recipe: see `resnet-lab recipes list`.", show_default=False
    ),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="TOML with tables model, data and train; other options overrule it."),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any value of a recipe or configuration, such as train.decay_epochs=10. Repeatable.",
        show_default=False,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option("--epochs", help="Passes over the training part.", show_default="15", rich_help_panel=LEARNING),
]
BatchSize = Annotated[
    str | None,
    typer.Option(
        "--batch-size",
        metavar="N",
        help="Images a step, over all processes; auto takes the most that the memory holds.",
        show_default="32",
        rich_help_panel=LEARNING,
    ),
]
Accumulate = Annotated[
    int | None,
    typer.Option(
        "--accumulate", help="Pieces that a step's images go through in.", show_default="1", rich_help_panel=LEARNING
    ),
]
Optimizer = Annotated[
    str | None,
    typer.Option(
        "--optimizer",
        metavar="NAME",
        help="adam, adamw or sgd (with Nesterov momentum).",
        show_default="adam",
        rich_help_panel=LEARNING,
    ),
]
Lr = Annotated[
    float | None, typer.Option("--lr", help="Learning rate.", show_default="0.003", rich_help_panel=LEARNING)
]
WeightDecay = Annotated[
    float | None,
    typer.Option("--weight-decay", help="Of all parameters.", show_default="0", rich_help_panel=LEARNING),
]
Schedule = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        metavar="NAME",
        help="cosine, exponential, step, one_cycle or constant.",
        show_default="cosine",
        rich_help_panel=LEARNING,
    ),
]
Decay = Annotated[
    float | None,
    typer.Option(
        "--decay",
        help="Factor an epoch of the exponential schedule.",
        show_default="0.7",
        rich_help_panel=LEARNING,
    ),
]
WarmupEpochs = Annotated[
    float | None,
    typer.Option("--warmup-epochs", help="In which the rate rises first.", show_default="0", rich_help_panel=LEARNING),
]
ClipNorm = Annotated[
    float | None,
    typer.Option("--clip-norm", help="Largest norm of the gradient.", show_default="none", rich_help_panel=LEARNING),
]
LabelSmoothing = Annotated[
    float | None,
    typer.Option(
        "--label-smoothing",
        help="Share of the target that all classes get.",
        show_default="0",
        rich_help_panel=LEARNING,
    ),
]
Ema = Annotated[
    float | None,
    typer.Option(
        "--ema",
        help="Decay a step of a moving average of the weights, which is then scored and kept.",
        show_default="none",
        rich_help_panel=LEARNING,
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        "--patience",
        help="End after so many epochs without a better one.",
        show_default="none",
        rich_help_panel=LEARNING,
    ),
]
Augment = Annotated[
    str | None,
    typer.Option(
        "--augment",
        help="flip, rotate90, crop, jitter, erase, mixup, cutmix: several with commas, with parameters if any: "
        "crop(scale=0.5),flip.",
        show_default="none",
        rich_help_panel=LEARNING,
    ),
]
Balance = Annotated[
    str | None,
    typer.Option(
        "--balance",
        help="For classes of unequal size: sampling (equal shares of an epoch) or loss (class weights).",
        show_default="none",
        rich_help_panel=LEARNING,
    ),
]
ZeroInitResidual = Annotated[
    bool | None,
    typer.Option(
        "--zero-init-residual",
        help="Start each residual branch at zero.",
        show_default="no",
        rich_help_panel=LEARNING,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="NAME|FILE[:KEY]",
        help="Start from pretrained weights: a name of torchvision's such as IMAGENET1K_V2, a run folder, or a "
        ".safetensors or .pth file; FILE:KEY for what lies under a key.",
        show_default="none",
        rich_help_panel=TRANSFER,
    ),
]
DepthwiseFromDense = Annotated[
    bool | None,
    typer.Option(
        "--depthwise-from-dense",
        help="Give depthwise convolutions the diagonal of dense weights.",
        show_default="no",
        rich_help_panel=TRANSFER,
    ),
]
Freeze = Annotated[
    str | None,
    typer.Option(
        "--freeze",
        metavar="STAGES",
        help="Keep the first weights of these: 1-3 (the stem and stages 1 to 3), or stem,layer1.",
        show_default="none",
        rich_help_panel=TRANSFER,
    ),
]
CacheFrozen = Annotated[
    str | None,
    typer.Option(
        "--cache-frozen",
        metavar="WHEN",
        help="auto, on or off: compute the output of frozen stages once and store it.",
        show_default="auto",
        rich_help_panel=TRANSFER,
    ),
]
Seed = Annotated[
    int | None, typer.Option("--seed", help="Of weights, split, order and augmentation.", show_default="0")
]
Deterministic = Annotated[
    bool | None,
    typer.Option("--deterministic", help="The same bits each time.", show_default="no", rich_help_panel=options.SPEED),
]
SyncBatchNorm = Annotated[
    bool | None,
    typer.Option(
        "--sync-batch-norm",
        help="Take batch norm's statistics over all processes.",
        show_default="no",
        rich_help_panel=options.SPEED,
    ),
]
SaveMinutes = Annotated[
    float | None,
    typer.Option("--save-minutes", help="Between two saved states.", show_default="10", rich_help_panel=options.OUTPUT),
]
Tensorboard = Annotated[
    bool,
    typer.Option("--tensorboard", help="Write events for TensorBoard too.", rich_help_panel=options.OUTPUT),
]
FindLr = Annotated[
    bool,
    typer.Option(
        "--find-lr",
        help="Try rising learning rates instead, plot the losses, and suggest a rate; --out names the PNG.",
        rich_help_panel=LEARNING,
    ),
]
Resume = Annotated[
    Path | None,
    typer.Option(
        "--resume",
        metavar="RUN",
        help="Go on with a run that was interrupted, as it began.",
        show_default=False,
        rich_help_panel=options.OUTPUT,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="FOLDER", help="The run folder; it must not exist.", show_default="runs/<time>-<name>"
    ),
]
