"""Options that choose components: one for each kind in the table that is part of a network."""

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import Parameter
from typing import Annotated, Any

import typer

from resnet_lab.cli.bundles import Bundle, Reader
from resnet_lab.core.option import NETWORK
from resnet_lab.network.kinds import Kind, of_networks


@dataclass(frozen=True)
class OfEachKind(Bundle):
    """Annotation of a parameter that takes what was written of each kind, by slot.

    Attributes:
        panel: heading of options whose value is a list of levels; without it they are repeatable, for one network.
    """

    panel: str | None = None

    def made(self, parameter: str) -> tuple[list[Parameter], Reader]:
        names = {kind.slot: f"{parameter}_{kind.slot}" for kind in of_networks()}
        parameters = [
            Parameter(names[kind.slot], Parameter.KEYWORD_ONLY, default=None, annotation=self._annotation(kind))
            for kind in of_networks()
        ]
        return parameters, lambda values: {
            slot: values[name] for slot, name in names.items() if values[name] is not None
        }

    def _annotation(self, kind: Kind) -> Any:
        if self.panel is not None:
            help = f"{kind.title}: comma-separated; the first is the baseline."
            option = typer.Option(
                kind.option, metavar="LIST", help=help, show_default=False, rich_help_panel=self.panel
            )
            return Annotated[str | None, option]
        stages = "name, name(key=value), or for some stages name@3,4. Repeatable."
        text = stages if "block" in kind.places else "name or name(key=value)."
        option = typer.Option(
            kind.option, metavar=kind.slot.upper(), help=f"{kind.title}: {text}", rich_help_panel=NETWORK
        )
        return Annotated[list[str] | None, option]


Components = Annotated[Mapping[str, Any], OfEachKind()]
