"""Options that several commands share, and what is made of them."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from resnet_lab.cli import output
from resnet_lab.core.errors import PluginWarning

if TYPE_CHECKING:
    from resnet_lab.device import Placement
    from resnet_lab.network.plugins import Registry
    from resnet_lab.network.spec import ModelSpec
    from resnet_lab.network.weights.adopting import Adopted

NETWORK = "Network"
DATA = "Data"
SPEED = "Speed"
OUTPUT = "Output"

JSON = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object, and nothing else on standard output.", rich_help_panel=OUTPUT),
]
NoPlugin = Annotated[
    list[str] | None,
    typer.Option("--no-plugin", metavar="NAME", help="Leave an installed plugin out. Repeatable.", show_default=False),
]


def _name_files(files: list[Path] | None) -> list[Path] | None:
    """In the environment, so that the processes that a command starts have them too."""
    if files:
        from resnet_lab.network.plugin_files import name_files

        name_files(files)
    return files


Plugin = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        help="Load a Python file as a plugin. Repeatable.",
        show_default=False,
        callback=_name_files,
    ),
]


def _allow_download(wanted: bool | None) -> bool | None:
    """In the environment, as above."""
    if wanted:
        from resnet_lab.data.sources.permission import allow_download

        allow_download()
    return wanted


def name_source(source: str | None) -> str | None:
    """Of an option or argument: what the user writes may be fetched, what a file says may not."""
    if source is not None and source.startswith("wds:"):
        from resnet_lab.data.sources.permission import name_shards

        name_shards(source)
    return source


Model = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="NAME", help="A network of the zoo, such as resnet50 or resnet56.", rich_help_panel=NETWORK
    ),
]
Depth = Annotated[
    int | None, typer.Option("--depth", help="Layers: 18 is short for --model resnet18.", rich_help_panel=NETWORK)
]
SpecFile = Annotated[
    Path | None,
    typer.Option("--spec", metavar="FILE", help="A network from a .json or .toml file.", rich_help_panel=NETWORK),
]
Dropout = Annotated[
    float | None, typer.Option("--dropout", help="Dropout probability in every block.", rich_help_panel=NETWORK)
]
HeadDropout = Annotated[
    float | None,
    typer.Option("--head-dropout", help="Dropout probability before the classifier.", rich_help_panel=NETWORK),
]
Size = Annotated[int | None, typer.Option("--size", help="Input height and width in pixels.", rich_help_panel=NETWORK)]
Device = Annotated[
    str | None,
    typer.Option(
        "--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:0.", show_default="auto", rich_help_panel=SPEED
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="KIND",
        help="auto, fp32, tf32, bf16 or fp16.",
        show_default="auto",
        rich_help_panel=SPEED,
    ),
]
Compile = Annotated[
    str | None,
    typer.Option(
        "--compile",
        metavar="WHEN",
        help="auto, off, on, or max (tune the kernels too).",
        show_default="auto",
        rich_help_panel=SPEED,
    ),
]
ChannelsLast = Annotated[
    bool | None,
    typer.Option(
        "--channels-last/--channels-first",
        help="Memory layout of images and feature maps.",
        show_default="by device",
        rich_help_panel=SPEED,
    ),
]
Split = Annotated[
    Literal["train", "val", "test"], typer.Option("--split", help="The part to score.", rich_help_panel=DATA)
]
SplitOfRun = Annotated[
    Literal["train", "val", "test"] | None,
    typer.Option("--split", help="The part to score.", show_default="test", rich_help_panel=DATA),
]
OtherData = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="SOURCE",
        help="Score all images of another source with the same classes, or some of them.",
        show_default=False,
        callback=name_source,
        rich_help_panel=DATA,
    ),
]
ClassMap = Annotated[
    list[str] | None,
    typer.Option(
        "--class-map",
        metavar="OLD=NEW",
        help="What a class is called on the other side, or a CSV file of such pairs; `OLD=` leaves a class out. "
        "Repeatable.",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
PublicWeights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="NAME|FILE[:KEY]",
        help="Pretrained weights rather than a run: a name of torchvision's for --model, or a file.",
        show_default=False,
        rich_help_panel=NETWORK,
    ),
]
Classes = Annotated[
    Path | None,
    typer.Option(
        "--classes",
        metavar="FILE",
        help="Names of the weights' classes in order: one a line (tabs between several names of one), or JSON.",
        show_default="the weights' own",
        rich_help_panel=DATA,
    ),
]
Preprocess = Annotated[
    list[str] | None,
    typer.Option(
        "--preprocess",
        metavar="KEY=VALUE",
        help="Overrule the weights' own: size=224, resize=256, fit=crop, mean=R,G,B, std=R,G,B, or imagenet for all.",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
Again = Annotated[bool, typer.Option("--again", help="Make the predictions anew, even if kept ones are still right.")]
Fit = Annotated[
    str | None,
    typer.Option(
        "--fit",
        help="How a picture becomes square: squash, crop (the middle) or pad (with white).",
        show_default="squash",
        rich_help_panel=DATA,
    ),
]
Strict = Annotated[
    bool | None,
    typer.Option(
        "--strict",
        help="Fail where a file cannot be read, rather than leave it out.",
        show_default="no",
        rich_help_panel=DATA,
    ),
]
NearCopies = Annotated[
    str | None,
    typer.Option(
        "--near-copies",
        metavar="on|off",
        help="Whether pictures that look the same stay in one part, as files that are the same always do.",
        show_default="on",
        rich_help_panel=DATA,
    ),
]
SplitFile = Annotated[
    Path | None,
    typer.Option(
        "--split-file",
        metavar="FILE",
        help="Take the parts of this splits.csv.",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
Folds = Annotated[
    int | None,
    typer.Option("--folds", help="Split into K folds rather than 80/10/10.", show_default="none", rich_help_panel=DATA),
]
Fold = Annotated[
    int | None,
    typer.Option(
        "--fold",
        help="Which of them is tested, from 0; the next one validates.",
        show_default="0",
        rich_help_panel=DATA,
    ),
]
Download = Annotated[
    bool | None,
    typer.Option(
        "--download",
        help="Let a set or shards be fetched that are not there.",
        show_default="no",
        callback=_allow_download,
        rich_help_panel=DATA,
    ),
]

DEFAULT_NETWORK = {"model": "resnet50"}


def choose_network(
    choices: Mapping[str, Any],
    *,
    model: str | None,
    depth: int | None,
    spec_file: Path | None,
    table: Mapping[str, Any] | None = None,
    where: str = "model",
    default: Mapping[str, Any] = DEFAULT_NETWORK,
) -> "ModelSpec":
    """The network that the options say.

    Args:
        choices: changes to it; those that are None are not made.
        table: a configuration file's `[model]`, overruled key by key; a spec file takes the place of all of it.
        where: the configuration file, for errors.
        default: taken where nothing names a network.
    """
    from resnet_lab.core.errors import SpecError
    from resnet_lab.network import zoo

    named = {"--model": model, "--depth": depth, "--spec": spec_file}
    naming = list(given(named))
    if len(naming) > 1:
        raise SpecError(f"{' and '.join(naming)} each name a network; give one of them")
    if spec_file is not None:
        base = zoo.read(spec_file)
    else:
        written = dict(table or {})
        if naming:
            written["model"] = model if depth is None else f"resnet{depth}"
        elif "model" not in written:
            written = {**default, **written}
        base = zoo.from_choices(written, where if table else "model")
    changes = given(choices)
    return base.modified(**changes) if changes else base


def placement(
    device: str | None, precision: str | None, compiled: str | None, channels_last: bool | None
) -> "Placement":
    """Where and how a network is to run."""
    from resnet_lab.device import choose

    wishes = {"device": device, "precision": precision, "compile": compiled, "channels_last": channels_last}
    return choose(**given(wishes))


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were written on the command line."""
    return {name: value for name, value in values.items() if value is not None}


def adopt(
    weights: str,
    registry: "Registry",
    model: str | None,
    depth: int | None,
    spec: Path | None,
    classes: Path | None,
    preprocess: list[str] | None,
) -> "Adopted":
    """Pretrained weights as they are; where no network is named, the one that they are of."""
    from resnet_lab.network.weights.adopting import Preprocessing, adopt, read_outputs

    named = model is not None or depth is not None or spec is not None
    return adopt(
        weights,
        registry,
        spec=choose_network({}, model=model, depth=depth, spec_file=spec) if named else None,
        outputs=() if classes is None else read_outputs(classes),
        preprocessing=Preprocessing.parse(preprocess or ()),
    )


def load_registry(no_plugin: list[str] | None) -> "Registry":
    """All components; what is wrong with a plugin is said on standard error, and nothing else is stopped by it.

    Files that `--plugin` named are among them, since that option keeps them in the environment.
    """
    from resnet_lab.network.plugins import load

    _say_warnings_in_a_line()
    registry = load(without=no_plugin or ())
    for plugin in registry.failures:
        output.remark(f"warning: {plugin}")
    return registry


def _say_warnings_in_a_line() -> None:
    """Those about plugins; all others are a programmer's to read, with file and line."""

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
    ) -> None:
        if issubclass(category, PluginWarning):
            output.remark(f"warning: {message}")
        else:
            output.warning(warnings.formatwarning(message, category, filename, lineno, line))

    warnings.showwarning = show
