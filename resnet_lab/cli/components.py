"""Options that choose components: one for each kind in the table that is part of a network."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Annotated, Any, TypeAlias, TypeVar

import typer

from resnet_lab.cli import options
from resnet_lab.network.kinds import Kind, of_networks

C = TypeVar("C", bound=Callable[..., Any])

Components: TypeAlias = Mapping[str, Any]
"""What was written, by slot; None where nothing was."""

NONE: Components = {}
"""Default of a command's parameter `components`."""


def _for_a_network(kind: Kind) -> Any:
    stages = "name, name(key=value), or for some stages name@3,4. Repeatable."
    text = stages if "block" in kind.places else "name or name(key=value)."
    option = typer.Option(
        kind.option, metavar=kind.slot.upper(), help=f"{kind.title}: {text}", rich_help_panel=options.NETWORK
    )
    return Annotated[list[str] | None, option]


def takes_components(command: C) -> C:
    """Give a command an option of each kind, repeatable; it gets them as its parameter `components`."""
    return _with_options(command, _for_a_network)


def takes_lists(panel: str) -> Callable[[C], C]:
    """Give a command an option of each kind whose value is a list; it gets them as its parameter `components`."""

    def for_arms(kind: Kind) -> Any:
        help = f"{kind.title}: several, separated by commas; the first makes the baseline."
        option = typer.Option(kind.option, metavar="LIST", help=help, show_default=False, rich_help_panel=panel)
        return Annotated[str | None, option]

    return lambda command: _with_options(command, for_arms)


def by_option(components: Components) -> dict[str, Any]:
    """The components that were written, by option."""
    return {f"--{slot}": value for slot, value in components.items() if value is not None}


def _with_options(command: C, annotation: Callable[[Kind], Any]) -> C:
    kinds = of_networks()
    parameters: list[inspect.Parameter] = []
    signature = inspect.signature(command, eval_str=True)
    for parameter in signature.parameters.values():
        if parameter.name != "components":
            parameters.append(parameter)
            continue
        parameters += [
            inspect.Parameter(kind.slot, parameter.kind, default=None, annotation=annotation(kind)) for kind in kinds
        ]

    @wraps(command)
    def called(**values: Any) -> Any:
        return command(components={kind.slot: values.pop(kind.slot) for kind in kinds}, **values)

    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called  # type: ignore[return-value]
