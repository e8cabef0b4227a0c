"""Options that several commands share, and what is made of them."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnet_lab.cli import output
from resnet_lab.cli.bundles import Fields, Given
from resnet_lab.cli.components import Components
from resnet_lab.core.errors import ConfigError, PluginWarning
from resnet_lab.core.option import DATA, NETWORK, OUTPUT

if TYPE_CHECKING:
    from resnet_lab.device import Placement as Placed
    from resnet_lab.network.plugins import Registry
    from resnet_lab.network.spec import ModelSpec
    from resnet_lab.network.weights.adopting import Adopted


def written(name: str, metavar: str, help: str, default: str | bool = False) -> Any:
    """An option of a file or folder that is written, refused before any work where it cannot be."""

    def writable(context: typer.Context, path: Path | None) -> Path | None:
        if path is None:
            return None
        from resnet_lab.core.files import refuse_unwritable, refuse_unwritable_folder

        (refuse_unwritable if metavar == "FILE" else refuse_unwritable_folder)(path)
        others: dict[Path, tuple[str, str]] = context.meta.setdefault(f"{__name__}.written", {})
        other, kind = others.setdefault(Path(realpath(path)), (name, metavar))
        if other != name and "FILE" in (kind, metavar):
            raise ConfigError(f"{other} and {name} are both {path}; give each a name of its own")
        return path

    return typer.Option(
        name, metavar=metavar, help=help, show_default=default, callback=writable, rich_help_panel=OUTPUT
    )


def refuse_page(page: Path, others: Mapping[str, Path | None]) -> None:
    """Raise `ConfigError` where another output has the path of the page, which may be one that nobody gave."""
    for name, path in others.items():
        if path is not None and realpath(path) == realpath(page):
            raise ConfigError(f"{name} and the page are both {path}; give {name} another name, or the page, with --out")


JSON = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object, and nothing else on standard output.", rich_help_panel=OUTPUT),
]
NoPlugin = Annotated[
    list[str] | None,
    typer.Option("--no-plugin", metavar="NAME", help="Leave an installed plugin out. Repeatable.", show_default=False),
]


def _name_files(files: list[Path] | None) -> list[Path] | None:
    """Set the variable in the environment, so that child processes have it too."""
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

Tracked = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        metavar="TRACKER",
        help="Track with tensorboard, mlflow, wandb(mode=online), aim or a plugin's tracker. Repeatable.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]


def _allow_download(wanted: bool | None) -> None:
    """Set the permission in the environment, as above, and not as a value: no configuration gives it for the user."""
    if wanted:
        from resnet_lab.data.sources.permission import allow_download

        allow_download()


def name_source(source: str | None) -> str | None:
    """Name the source of an option or argument: what the user writes may be fetched, what a file names may not."""
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
DropPath = Annotated[
    float | None,
    typer.Option(
        "--drop-path", help="Stochastic depth of the last block, linear from 0 at the first.", rich_help_panel=NETWORK
    ),
]
Dilate = Annotated[
    str | None,
    typer.Option(
        "--dilate", metavar="STAGES", help="Stages with a dilation for their stride, such as 3,4.",
        rich_help_panel=NETWORK,
    ),
]  # fmt: skip
Widen = Annotated[
    float | None,
    typer.Option("--widen", help="Factor of the channels of stem and stages, such as 2.", rich_help_panel=NETWORK),
]
Size = Annotated[int | None, typer.Option("--size", help="Input height and width in pixels.", rich_help_panel=NETWORK)]
DEFAULT_NETWORK = {"model": "resnet50"}


@dataclass(frozen=True)
class NamedNetwork:
    """A network by name, depth or file."""

    model: Model = None
    depth: Depth = None
    spec: SpecFile = None

    @property
    def naming(self) -> list[str]:
        """Options that name the network, of those given."""
        return list(given({"--model": self.model, "--depth": self.depth, "--spec": self.spec}))

    def network(
        self,
        changes: Mapping[str, Any],
        *,
        table: Mapping[str, Any] | None = None,
        where: str = "model",
        default: Mapping[str, Any] = DEFAULT_NETWORK,
    ) -> "ModelSpec":
        """The network that the options describe.

        Args:
            changes: as `ModelSpec.modified` takes them; those that are None are not made.
            table: a configuration file's `[model]`, overruled key by key; a spec file takes the place of all of it.
            where: the configuration file, for errors.
            default: taken where nothing names a network.
        """
        from resnet_lab.core.errors import SpecError
        from resnet_lab.network import zoo

        if len(self.naming) > 1:
            raise SpecError(f"{' and '.join(self.naming)} each name a network; give one of them")
        if self.spec is not None:
            base = zoo.read(self.spec)
        else:
            written = dict(table or {})
            if self.naming:
                written["model"] = self.model if self.depth is None else f"resnet{self.depth}"
            elif "model" not in written:
                written = {**default, **written}
            base = zoo.from_choices(written, where if table else "model")
        made = given(changes)
        return base.modified(**made) if made else base


def stage_numbers(option: str, text: str) -> list[int]:
    """Numbers separated by commas."""
    from resnet_lab.core.comma_list import comma_list
    from resnet_lab.core.errors import SpecError

    parts = comma_list(text)
    if not parts or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise SpecError(f"{option} must be stages separated by commas, such as 3,4, got {text!r}")
    return [int(part) for part in parts]


@dataclass(frozen=True, kw_only=True)
class Network(NamedNetwork):
    """A network with its changes."""

    components: Components
    dropout: Dropout = None
    head_dropout: HeadDropout = None
    drop_path: DropPath = None
    dilate: Dilate = None
    widen: Widen = None
    size: Size = None

    @property
    def changes(self) -> dict[str, Any]:
        """Changes in the form that `ModelSpec.modified` takes."""
        others = {
            "dropout": self.dropout,
            "head_dropout": self.head_dropout,
            "drop_path": self.drop_path,
            "dilate": None if self.dilate is None else stage_numbers("--dilate", self.dilate),
            "widen": self.widen,
            "input_size": self.size,
        }
        return {**self.components, **given(others)}


TRAIN_CONFIG = "resnet_lab.train.config:TrainConfig"
DATA_CONFIG = "resnet_lab.data.config:DataConfig"
ASKED = {"source": name_source, "download": _allow_download}
"""Fields of the data that the user at the keyboard allows more with than a file does."""

Learning = Annotated[Given, Fields(TRAIN_CONFIG)]
Placement = Annotated[Given, Fields(TRAIN_CONFIG, only=("device", "precision", "compile", "channels_last"))]
Inference = Annotated[Given, Fields("resnet_lab.device.config:InferenceConfig")]
Images = Annotated[Given, Fields(DATA_CONFIG, callbacks=ASKED)]
Download = Annotated[Given, Fields(DATA_CONFIG, only=("download",), callbacks=ASKED)]

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


@dataclass(frozen=True)
class Adopting(NamedNetwork):
    """Settings for pretrained weights that the weights themselves do not have."""

    classes: Annotated[
        Path | None,
        typer.Option(
            "--classes",
            metavar="FILE",
            help="Names of the weights' classes in order: one per line (tabs between several names of one), or JSON.",
            show_default="the weights' own",
            rich_help_panel=DATA,
        ),
    ] = None
    preprocess: Annotated[
        list[str] | None,
        typer.Option(
            "--preprocess",
            metavar="KEY=VALUE",
            help="Override the weights' own: size=224, resize=256, fit=crop, mean=R,G,B, std=R,G,B, or imagenet for "
            "all.",
            show_default=False,
            rich_help_panel=DATA,
        ),
    ] = None

    def adopt(self, weights: str, registry: "Registry") -> "Adopted":
        """The weights; where no network is named, that which they are of."""
        from resnet_lab.network.weights.adopting import Preprocessing, adopt, read_outputs

        return adopt(
            weights,
            registry,
            spec=self.network({}) if self.naming else None,
            outputs=() if self.classes is None else read_outputs(self.classes),
            preprocessing=Preprocessing.parse(self.preprocess or ()),
        )


def placement(given: Given) -> "Placed":
    """Choose where and how a network runs."""
    from resnet_lab.device import choose

    return choose(**given)


def inference_placement(placed: Given, inference: Given) -> "Placed":
    """Choose where and how a trained network runs, its runtime included."""
    from resnet_lab.device import choose
    from resnet_lab.device.config import InferenceConfig

    return choose(**placed, **{"runtime": InferenceConfig().runtime, **inference})


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were written on the command line."""
    return {name: value for name, value in values.items() if value is not None}


def load_registry(no_plugin: list[str] | None, *kinds: str) -> "Registry":
    """All components, or those of some kinds; errors of plugins are printed on standard error, and stop nothing else.

    Files that `--plugin` named are among them, since that option keeps them in the environment.
    """
    from resnet_lab.network.kinds import KINDS
    from resnet_lab.network.plugins import load

    _say_warnings_in_a_line()
    registry = load(without=no_plugin or (), kinds=kinds or tuple(KINDS))
    for plugin in registry.failures:
        output.remark(f"warning: {plugin}")
    return registry


def _say_warnings_in_a_line() -> None:
    """Print warnings about plugins in one line; all others are for programmers, with file and line."""

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
    ) -> None:
        if issubclass(category, PluginWarning):
            output.remark(f"warning: {message}")
        else:
            output.warning(warnings.formatwarning(message, category, filename, lineno, line))

    warnings.showwarning = show
