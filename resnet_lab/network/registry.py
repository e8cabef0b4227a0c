"""Components by kind and name, with what each is made by and whose it is."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from resnet_lab.core.errors import PluginError, SpecError, nearest
from resnet_lab.core.records import problem_of
from resnet_lab.network.component import Component
from resnet_lab.network.kinds import Kind, kind_of


@dataclass(frozen=True)
class Owner:
    """The distribution that a component comes from, or a file, whose version is the start of its SHA-256.

    Attributes:
        source: SHA-256 of the plugin's source; empty for the program itself, and where there is no source.
    """

    distribution: str
    version: str
    source: str = ""

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


@dataclass(frozen=True)
class Entry:
    """A registered component."""

    kind: str
    name: str
    factory: Callable[..., Any]
    owner: Owner
    traits: Mapping[str, bool] = field(default_factory=dict)

    @property
    def row(self) -> Kind:
        """Row of the table of kinds."""
        return kind_of(self.kind)

    def trait(self, name: str) -> bool:
        """Trait given at registration, or its default."""
        return self.traits.get(name, self.row.traits[name])

    def parameter_types(self) -> dict[str, tuple[Any, Any]]:
        """Each parameter's annotation and default, `...` where it has none."""
        return {**self._own_parameter_types, **self.row.parameters}

    @cached_property
    def _own_parameter_types(self) -> dict[str, tuple[Any, Any]]:
        """Keyword-only arguments of the factory."""
        hints = get_type_hints(self.factory.__init__ if inspect.isclass(self.factory) else self.factory)
        return {
            name: (hints.get(name, Any), ... if parameter.default is parameter.empty else parameter.default)
            for name, parameter in inspect.signature(self.factory).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY
        }

    def bind(self, parameters: Mapping[str, Any], where: str) -> Callable[..., Any]:
        """The factory with these parameters set; those that the program reads are checked and left out.

        Raises:
            SpecError: an unknown parameter, one of the wrong type, or one missing.
        """
        allowed = self.parameter_types()
        for name in parameters:
            if name not in allowed:
                raise SpecError(f"{where}: {self.kind} {self.name} has no parameter {name!r}; {nearest(name, allowed)}")
        checked: dict[str, Any] = {}
        for name, (annotation, default) in allowed.items():
            if name in parameters:
                try:
                    checked[name] = TypeAdapter(annotation).validate_python(parameters[name], strict=True)
                except ValidationError as failure:
                    first = failure.errors()[0]
                    raise SpecError(
                        f"{where}: {self.kind} {self.name}: parameter {name!r}: "
                        f"{problem_of(first)}, got {first['input']!r}"
                    ) from None
            elif default is ...:
                raise SpecError(f"{where}: {self.kind} {self.name} needs its parameter {name!r}")
        own = self._own_parameter_types
        return partial(self.factory, **{name: value for name, value in checked.items() if name in own})

    def check(self) -> None:
        """Raises `PluginError` where the entry breaks its hook's contract: at registration, not at first use."""
        what = f"{self.kind} {self.name!r}"
        if not _is_name(self.name):
            raise PluginError(f"{self.kind} name {self.name!r} must be lower case letters, digits and underscores")
        if not callable(self.factory):
            raise PluginError(f"{what}: the factory must be callable, got {type(self.factory).__name__}")
        own = self._own_parameter_types
        given = self.row.given
        try:
            inspect.signature(self.factory).bind(*given, **dict.fromkeys(own))
        except TypeError as error:
            raise PluginError(f"{what}: the factory is called with ({', '.join(given)}), and {error}") from None
        for trait in self.traits:
            if trait not in self.row.traits:
                raise PluginError(f"{what}: unknown trait {trait!r}; {nearest(trait, self.row.traits)}")
        for name, (annotation, _) in own.items():
            if name in self.row.parameters:
                raise PluginError(f"{what}: parameter {name!r} is read by the program; name it otherwise")
            try:
                TypeAdapter(annotation)
            except PydanticUserError:
                raise PluginError(
                    f"{what}: parameter {name!r} must be annotated bool, int, float, str or a Literal of these"
                ) from None


@dataclass(frozen=True)
class Kernels:
    """Kernels of a plugin for modules of a class.

    Attributes:
        plain: the class of modules.
        kernels: the subclass that modules become.
    """

    plain: type[Any]
    kernels: type[Any]
    owner: Owner

    def check(self) -> None:
        """Raises `PluginError` where they break their hook's contract."""
        for each in (self.plain, self.kernels):
            if not _is_module_class(each):
                raise PluginError(f"kernels: they are registered by two classes of modules, got {each!r}")
        what = f"kernels {self.kernels.__name__}"
        if self.kernels is self.plain or not issubclass(self.kernels, self.plain):
            raise PluginError(f"{what}: must be a subclass of {self.plain.__name__}, whose modules become it")
        if self.kernels.__init__ is not self.plain.__init__:
            raise PluginError(f"{what}: must have no __init__ of their own: modules become it after they are made")
        try:
            object.__new__(self.plain).__class__ = self.kernels
        except TypeError as error:
            raise PluginError(
                f"{what}: modules cannot become it, since {error}; leave out slots and other bases"
            ) from None
        if not callable(getattr(self.kernels, "suits", None)):
            raise PluginError(f"{what}: need a static method `suits(module) -> bool`, which says what they compute")

    def suit(self, module: object) -> bool:
        """Whether they compute what a module does; raises `PluginError` where its `suits` does not say."""
        what = f"{self.owner}: kernels {self.kernels.__name__}: suits"
        try:
            answer = self.kernels.suits(module)
        except (Exception, SystemExit) as error:
            raise PluginError(f"{what} raises {type(error).__name__}: {error}; mend it, or use --no-plugin") from error
        if not isinstance(answer, bool):
            raise PluginError(f"{what} gives {type(answer).__name__}, and must give True or False")
        return answer


def _is_module_class(found: object) -> bool:
    """Whether it is a class of torch's modules, without importing torch."""
    return inspect.isclass(found) and any(
        (each.__module__, each.__name__) == ("torch.nn.modules.module", "Module") for each in found.__mro__
    )


@dataclass(frozen=True)
class PluginStatus:
    """Status of one plugin: `loaded`, `disabled` or `failed`, and then why; a file's path."""

    name: str
    owner: Owner
    status: str
    cause: str = ""
    file: Path | None = None

    def __str__(self) -> str:
        return f"plugin {self.name} ({self.owner}) {self.status}" + (f": {self.cause}" if self.cause else "")


class Registry:
    """Components by kind and name, with their owners."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], Entry] = {}
        self.contested: dict[tuple[str, str], tuple[Owner, Owner]] = {}
        self.kernels: dict[type[Any], Kernels] = {}
        self._claimed: dict[type[Any], Owner] = {}
        self.plugins: list[PluginStatus] = []

    @property
    def failures(self) -> list[PluginStatus]:
        """Installed plugins that could not be used."""
        return [plugin for plugin in self.plugins if plugin.status == "failed"]

    def files(self) -> list[dict[str, str]]:
        """Path and SHA-256 of every plugin that is a file, as records have them and `require_files` takes them."""
        return [
            {"path": str(plugin.file), "source": plugin.owner.source}
            for plugin in self.plugins
            if plugin.file is not None
        ]

    def names(self, kind: str) -> list[str]:
        """Sorted names of a kind."""
        return sorted(name for entry_kind, name in self.entries if entry_kind == kind)

    def get(self, kind: str, name: str, where: str) -> Entry:
        """The component of that name.

        Raises:
            PluginError: two plugins claim the name.
            SpecError: no such component; the nearest names are offered, and plugins that failed are named.
        """
        try:
            return self.find(kind, name)
        except (PluginError, SpecError) as error:
            raise type(error)(f"{where}: {error}") from None

    def find(self, kind: str, name: str) -> Entry:
        """Find an entry like `get`, with errors that state where the name is written."""
        if (kind, name) in self.contested:
            first, second = self.contested[kind, name]
            raise PluginError(
                f"{kind} {name!r} is registered by {first} and again by {second}; "
                "leave one of the two plugins out with --no-plugin"
            )
        if (kind, name) not in self.entries:
            missing = "".join(f"; {plugin}" for plugin in self.plugins if plugin.status != "loaded")
            raise SpecError(f"unknown {kind} {name!r}; {nearest(name, self.names(kind))}{missing}")
        return self.entries[kind, name]

    def bind(self, kind: str, component: Component, where: str) -> Callable[..., Any]:
        """The factory of a component with its parameters set; raises like `get` and `Entry.bind`."""
        return self.get(kind, component.name, where).bind(dict(component.parameters), where)

    def add(self, entries: Iterable[Entry], kernels: Iterable[Kernels] = ()) -> None:
        """Add all of one owner's entries and kernels, or none.

        Raises:
            PluginError: a name is taken, or a class has kernels. Between two plugins neither then has it; the program's
                own stay its own.
        """
        new: dict[tuple[str, str], Entry] = {}
        for entry in entries:
            key = entry.kind, entry.name
            holder = new.get(key) or self.entries.get(key)
            if holder is not None:
                if holder.owner.distribution not in (OWN.distribution, entry.owner.distribution):
                    self.contested[key] = holder.owner, entry.owner
                raise PluginError(
                    f"{entry.kind} {entry.name!r} is already registered by {holder.owner}; {entry.owner} may not "
                    "register it again"
                )
            new[key] = entry
        self._add_kernels(list(kernels))
        self.entries.update(new)

    def _add_kernels(self, offered: list[Kernels]) -> None:
        for each in offered:
            if sum(other.plain is each.plain for other in offered) > 1:
                raise PluginError(f"kernels for {each.plain.__name__} are registered twice; register one class")
            holder = self._claimed.setdefault(each.plain, each.owner)
            if holder != each.owner:
                self.kernels.pop(each.plain, None)
                raise PluginError(
                    f"{holder} and {each.owner} both have kernels for {each.plain.__name__}, and neither is used; "
                    "leave one of the two plugins out with --no-plugin"
                )
        self.kernels.update({each.plain: each for each in offered})


OWN = Owner("resnet-lab", version("resnet-lab"))


def _is_name(text: str) -> bool:
    try:
        return Component.parse(text).name == text
    except SpecError:
        return False
