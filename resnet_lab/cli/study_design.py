"""The options that describe a study, and the design that they or a file come to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnet_lab.cli import options
from resnet_lab.cli.bundles import Fields, Given
from resnet_lab.cli.components import OfEachKind
from resnet_lab.core.comma_list import comma_list
from resnet_lab.core.errors import ConfigError
from resnet_lab.core.option import DESIGN

if TYPE_CHECKING:
    from resnet_lab.study.design import Study

PLAN = "resnet_lab.study.plan:Plan"
SEEDS = ("seed", "init_seed", "split_seed", "order_seed")
"""Fields of a training that a study sets by itself."""


def _listed(name: str, help: str) -> Any:
    return typer.Option(name, metavar="LIST", help=help, show_default=False, rich_help_panel=DESIGN)


@dataclass(frozen=True, kw_only=True)
class Factors:
    """Levels of parts, by slot; a factor where there are several."""

    model: Annotated[str | None, _listed("--model", "Networks of the zoo; a factor if there are several.")] = None
    depth: Annotated[str | None, _listed("--depth", "Layers of a ResNet, such as 18,34.")] = None
    components: Annotated[Mapping[str, str], OfEachKind(DESIGN)]
    others: Annotated[
        list[str] | None,
        typer.Option(
            "--factor",
            metavar="TABLE.KEY=LIST",
            help="Any other value of a recipe, such as train.lr=1e-3,1e-2. Repeatable.",
            rich_help_panel=DESIGN,
        ),
    ] = None

    @property
    def options(self) -> list[str]:
        """Options that were given."""
        named = options.given({"--model": self.model, "--depth": self.depth, "--factor": self.others})
        return [*named, *(f"--{slot}" for slot in self.components)]

    def levels(self) -> dict[str, list[str]]:
        """Levels of each factor, by its key."""
        slots = {**options.given({"model": self.model, "depth": self.depth}), **self.components}
        found = {name: comma_list(text) for name, text in slots.items()}
        for text in self.others or ():
            key, mark, levels = text.partition("=")
            if not mark or "." not in key:
                raise ConfigError(f"--factor {text!r} must be TABLE.KEY=LIST, such as train.lr=1e-3,1e-2")
            found[key] = comma_list(levels)
        return found


@dataclass(frozen=True, kw_only=True)
class Design:
    """A study file, or options in its place, and options of what all arms share."""

    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="STUDY", help="A study file, or a name of `study list`; without one, the options define the study."
        ),
    ] = None
    factors: Factors
    size: Annotated[
        int | None, typer.Option("--size", help="Input height and width in pixels.", rich_help_panel=DESIGN)
    ] = None
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Change the recipe. Repeatable.", rich_help_panel=DESIGN),
    ] = None
    plan: Annotated[Given, Fields(PLAN)]
    data: options.Images
    train: Annotated[Given, Fields(options.TRAIN_CONFIG, without=SEEDS)]

    @property
    def options(self) -> list[str]:
        """All that were given, a file among them."""
        single = options.given({"--size": self.size, "--set": self.settings})
        bundles = (self.plan, self.data, self.train)
        written = [] if self.file is None else [str(self.file)]
        return [*written, *self.factors.options, *single, *(each for one in bundles for each in one.options.values())]

    def study(self) -> "Study":
        """Study that the file or the options design."""
        from resnet_lab.study.design import new_study

        if self.file is None and not self.factors.options:
            raise ConfigError("there is nothing to compare: name a study file, or parts such as --attn none,cbam")
        return new_study(*self.tables())

    def tables(self) -> tuple[dict[str, Any], str]:
        """Tables of the file or of the options, and where they are; beside a file, options apply to all arms."""
        from resnet_lab.study.design_files import read_tables

        if self.file is None:
            return self._overlaid({"study": self._about()}), "the options"
        alone = [*self.factors.options, *(each for name, each in self.plan.options.items() if name == "recipe")]
        if alone:
            raise ConfigError(f"{alone[0]} cannot be combined with {self.file}; set it in the file")
        return self._overlaid(read_tables(self.file)), str(self.file)

    def _about(self) -> dict[str, Any]:
        """The table `study` where there is no file."""
        factors = self.factors.levels()
        varied = [name for name, levels in factors.items() if len(levels) > 1]
        recipe = {} if "source" in self.data else {"recipe": "digits-quick"}
        return {"factors": factors, "name": "-".join(varied) or "study", **recipe}

    def _overlaid(self, tables: Mapping[str, Any]) -> dict[str, Any]:
        from resnet_lab.recipes.recipe import TABLES
        from resnet_lab.recipes.settings import apply_settings

        base = {name: dict(tables.get(name, {})) for name in TABLES}
        found = {**tables, **apply_settings(base, self.settings or ())}
        model = options.given({"input_size": self.size})
        for table, given in {"study": self.plan, "data": self.data, "train": self.train, "model": model}.items():
            found[table] = {**found.get(table, {}), **given}
        return {name: table for name, table in found.items() if table}
