"""Commands with bundles of options.

Typer reads the options of a command from its function's parameters, one by one. Here a parameter may also be a bundle:
the fields of a pydantic configuration (`Fields`), or those of a dataclass, each annotated as Typer expects it. Options
are made once a command runs or shows its help, so that `resnet-lab --help` imports no configuration.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature, unwrap
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup

from resnet_lab.core.errors import ConfigError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

WIDEST = 20
"""Most characters of choices in the column of a help page; longer ones follow the description."""

Reader: TypeAlias = Callable[[Mapping[str, Any]], Any]
"""Makes a parameter's value of those of all options, by their names for Typer."""


class Bundle:
    """Annotation of a parameter that represents several options."""

    def made(self, parameter: str) -> tuple[list[Parameter], Reader]:
        """The options, and what makes the parameter's value of theirs."""
        raise NotImplementedError


@dataclass(frozen=True)
class Fields(Bundle):
    """Annotation of a parameter that takes the fields of a configuration as a `Given`.

    Attributes:
        of: the configuration, `module:class`.
        only: names of the fields that are options; all of them that a command line can express, where it is empty.
        without: names of fields that are none.
        callbacks: by name of the field, what is made of the text before it is its value; None if it is not given then.
    """

    of: str
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    callbacks: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)

    def made(self, parameter: str) -> tuple[list[Parameter], Reader]:
        return _of_configuration(parameter, self)


class Given(dict[str, Any]):
    """Values of those fields of a configuration that were given on the command line.

    Attributes:
        options: how each is written, by its field: `--lr`.
    """

    def __init__(self, values: Mapping[str, Any], options: Mapping[str, str]) -> None:
        super().__init__(values)
        self.options = options


def command(app: typer.Typer, name: str | None = None, **about: Any) -> Callable[[Callable[..., None]], Any]:
    """Add a function with bundles to an application as a command."""
    return _added(app.command(name, cls=_Command, **about))


def callback(app: typer.Typer, **about: Any) -> Callable[[Callable[..., None]], Any]:
    """Add a function with bundles as what a group of commands does by itself."""
    return _added(app.callback(cls=_Group, **about))


def _added(add: Callable[[Any], Any]) -> Callable[[Callable[..., None]], Any]:
    def added(function: Callable[..., None]) -> Any:
        @wraps(function)
        def without_options() -> None: ...

        without_options.__signature__ = Signature()  # type: ignore[attr-defined]
        without_options.__annotations__ = {}
        add(without_options)
        return function

    return added


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> Any:
        _make_options(self)
        return super().get_params(ctx)


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> Any:
        _make_options(self)
        return super().get_params(ctx)


def _make_options(added: TyperCommand | TyperGroup) -> None:
    """Have Typer make them of the function, if that was not done yet."""
    if not added.params and added.callback is not None:
        alone = typer.Typer(add_completion=False)
        alone.command()(with_options(unwrap(added.callback)))
        made = typer.main.get_command(alone)
        added.params, added.callback = made.params, made.callback


def with_options(function: Callable[..., None]) -> Callable[..., None]:
    """The function with a parameter for each option, as Typer reads it."""
    parameters: list[Parameter] = []
    readers: dict[str, Reader] = {}
    for name, parameter in signature(function).parameters.items():
        made, readers[name] = _options(name, parameter.annotation, parameter.default)
        parameters += made

    def called(**values: Any) -> None:
        function(**{name: read(values) for name, read in readers.items()})

    called.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {}
    return called


def _options(name: str, annotation: Any, default: Any) -> tuple[list[Parameter], Reader]:
    """The options of a parameter, and what makes its value of theirs."""
    for mark in getattr(annotation, "__metadata__", ()):
        if isinstance(mark, Bundle):
            return mark.made(name)
    if is_dataclass(annotation):
        return _of_dataclass(name, annotation)
    return [Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)], lambda values: values[
        name
    ]


def _of_dataclass(bundle: str, kind: Any) -> tuple[list[Parameter], Reader]:
    parameters: list[Parameter] = []
    readers: dict[str, Reader] = {}
    for each in fields(kind):
        default = Parameter.empty if each.default is MISSING else each.default
        made, readers[each.name] = _options(f"{bundle}_{each.name}", each.type, default)
        parameters += made
    return parameters, lambda values: kind(**{name: read(values) for name, read in readers.items()})


def _of_configuration(bundle: str, chosen: Fields) -> tuple[list[Parameter], Reader]:
    from resnet_lab.recipes.settings import alternatives, value_of

    known: Mapping[str, FieldInfo] = resolve_name(chosen.of).model_fields
    named = {name: known[name] for name in chosen.only or known if name not in chosen.without}
    taken = {name: info for name, info in named.items() if all(map(_fits_a_line, alternatives(info.annotation)))}
    parameters = []
    for name, info in taken.items():
        parameters.append(_option(f"{bundle}_{name}", name, info, chosen.callbacks.get(name)))
        if old := _words(info).get("formerly"):
            parameters.append(_refused(f"{bundle}_{name}_formerly", old, _written(name, info)))

    def read(values: Mapping[str, Any]) -> Given:
        given = {name: value for name in taken if (value := values[f"{bundle}_{name}"]) is not None}
        options = {name: _written(name, taken[name]).partition("/")[0] for name in given}
        for name, value in given.items():
            try:
                given[name] = value_of(value, taken[name]) if isinstance(value, str) else value
            except ConfigError as error:
                raise ConfigError(f"{options[name]}: {error}") from None
        return Given(given, options)

    return parameters, read


def _fits_a_line(kind: Any) -> bool:
    return kind in (bool, int, float, str, Path) or get_origin(kind) in (Literal, tuple)


def _option(parameter: str, name: str, info: "FieldInfo", callback: Callable[[Any], Any] | None) -> Parameter:
    """A number or flag where the field is just that; else a text, which `value_of` reads as a recipe's."""
    from resnet_lab.recipes.settings import alternatives

    words, kinds = _words(info), alternatives(info.annotation)
    flag = kinds == [bool] and info.default is not True
    typed: Any = kinds[0] if flag or info.annotation in (int, float) else str
    choices = [str(choice) for kind in _items(kinds) if get_origin(kind) is Literal for choice in get_args(kind)]
    many, help = len("|".join(choices)) > WIDEST, info.description or ""
    option = typer.Option(
        _written(name, info),
        metavar=words.get("metavar") or (_metavar(kinds, [] if many else choices) if typed is str else None),
        help=f"{help} {'Any' if any(map(_is_list, kinds)) else 'One'} of {', '.join(choices)}." if many else help,
        show_default=words.get("shown") or _shown(info.default),
        callback=callback,
        rich_help_panel=words.get("panel"),
    )
    return Parameter(parameter, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[typed | None, option])


def _words(info: "FieldInfo") -> Mapping[str, Any]:
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}


def _written(name: str, info: "FieldInfo") -> str:
    return str(_words(info).get("name") or f"--{name.replace('_', '-')}")


def _items(kinds: list[Any]) -> list[Any]:
    """Types of the items, where there is a list."""
    from resnet_lab.recipes.settings import alternatives

    return [item for kind in kinds for item in (alternatives(get_args(kind)[0]) if _is_list(kind) else [kind])]


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is tuple


def _metavar(kinds: list[Any], choices: list[str]) -> str | None:
    """Placeholder of a text value; None where Typer knows one."""
    if any(map(_is_list, kinds)):
        return f"{'|'.join(choices)},..." if choices else "LIST"
    return "|".join(choices) or {bool: "yes|no", int: "<int>", float: "<float>"}.get(kinds[0])


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, tuple):
        return ",".join(map(_shown, default)) or "none"
    return f"{default:g}" if isinstance(default, int | float) else "none" if default is None else str(default)


def _refused(parameter: str, old: str, new: str) -> Parameter:
    def refuse(value: str | None) -> None:
        if value is not None:
            raise ConfigError(f"{old} is {new} now; write {new} {value}")

    option = typer.Option(old, hidden=True, callback=refuse)
    return Parameter(parameter, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option])
