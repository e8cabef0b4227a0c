"""Finds plugins, isolates what is wrong with them, and keeps the registry of components they and the program offer."""

import inspect
import os
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from typing import Any, Literal, get_type_hints

import pluggy
from pydantic import PydanticUserError, TypeAdapter, ValidationError

from resnet_lab.core.errors import PluginError, PluginWarning, SpecError, nearest
from resnet_lab.network import hookspecs
from resnet_lab.network.builtin import activations, attentions, blocks, convolutions, datasets, norms
from resnet_lab.network.plugin_files import (
    digest_of_module,
    line_of,
    module_of_file,
    named_files,
    require_api_of_module,
)
from resnet_lab.network.spec import Component

PLUGINS_VARIABLE = "RESNET_LAB_PLUGINS"
"""Environment variable: comma-separated plugins to load; unset loads all, empty none."""

BUILT_IN = (activations, convolutions, norms, attentions, blocks, datasets)


PROGRAM_PARAMETERS: dict[str, dict[str, tuple[Any, Any]]] = {
    "attention": {"position": (Literal["branch", "output"], "branch")}
}
"""Parameters that every component of a kind takes and the program itself reads, with annotation and default."""


POSITIONAL: dict[str, tuple[str, ...]] = {
    "activation": (),
    "convolution": ("in_channels", "out_channels", "stride", "groups", "bias"),
    "norm": ("channels",),
    "attention": ("channels",),
    "block": ("in_channels", "width", "out_channels", "stride", "parts"),
    "dataset": (),
}
"""What the program gives each kind of factory, as `hookspecs` says."""

TRAITS = {"convolution": ("mixes_channels", "takes_groups"), "norm": ("adds_bias",)}
"""What a plugin may say of a component, by kind."""


FILE = " (file)"
"""End of the name of a plugin that is one file; no distribution can be called so."""


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

    def parameter_types(self) -> dict[str, tuple[Any, Any]]:
        """Each parameter's annotation and default, `...` where it has none."""
        return {**self._own_parameter_types(), **PROGRAM_PARAMETERS.get(self.kind, {})}

    def _own_parameter_types(self) -> dict[str, tuple[Any, Any]]:
        """Those of the factory: its keyword-only arguments."""
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
                        f"{first['msg'][0].lower()}{first['msg'][1:]}, got {first['input']!r}"
                    ) from None
            elif default is ...:
                raise SpecError(f"{where}: {self.kind} {self.name} needs its parameter {name!r}")
        own = self._own_parameter_types()
        return partial(self.factory, **{name: value for name, value in checked.items() if name in own})

    def check(self) -> None:
        """Raises `PluginError` where the entry breaks its hook's contract: at registration, not at first use."""
        what = f"{self.kind} {self.name!r}"
        if not _is_name(self.name):
            raise PluginError(f"{self.kind} name {self.name!r} must be lower case letters, digits and underscores")
        if not callable(self.factory):
            raise PluginError(f"{what}: the factory must be callable, got {type(self.factory).__name__}")
        own = self._own_parameter_types()
        given = POSITIONAL[self.kind]
        try:
            inspect.signature(self.factory).bind(*given, **dict.fromkeys(own))
        except TypeError as error:
            raise PluginError(f"{what}: the factory is called with ({', '.join(given)}), and {error}") from None
        for trait in self.traits:
            if trait not in (known := TRAITS.get(self.kind, ())):
                raise PluginError(f"{what}: unknown trait {trait!r}; {nearest(trait, known)}")
        for name, (annotation, _) in own.items():
            if name in PROGRAM_PARAMETERS.get(self.kind, {}):
                raise PluginError(f"{what}: parameter {name!r} is read by the program; name it otherwise")
            try:
                TypeAdapter(annotation)
            except PydanticUserError:
                raise PluginError(
                    f"{what}: parameter {name!r} must be annotated bool, int, float, str or a Literal of these"
                ) from None


@dataclass(frozen=True)
class PluginStatus:
    """What became of one plugin: `loaded`, `disabled` or `failed`, and then why; a file's path."""

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
        if (kind, name) in self.contested:
            first, second = self.contested[kind, name]
            raise PluginError(
                f"{where}: {kind} {name!r} is registered by {first} and again by {second}; "
                "leave one of the two plugins out with --no-plugin"
            )
        if (kind, name) not in self.entries:
            missing = "".join(f"; {plugin}" for plugin in self.plugins if plugin.status != "loaded")
            raise SpecError(f"{where}: unknown {kind} {name!r}; {nearest(name, self.names(kind))}{missing}")
        return self.entries[kind, name]

    def bind(self, kind: str, component: Component, where: str) -> Callable[..., Any]:
        """The factory of a component with its parameters set; raises like `get` and `Entry.bind`."""
        return self.get(kind, component.name, where).bind(dict(component.parameters), where)

    def add(self, entries: Iterable[Entry]) -> None:
        """Add all of one owner's entries, or none.

        Raises:
            PluginError: a name is taken. Between two plugins neither then has it; the program's own stay its own.
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
        self.entries.update(new)


OWN = Owner("resnet-lab", version("resnet-lab"))


def registered_by(module: object, owner: Owner) -> list[Entry]:
    """What a plugin registers; raises whatever its hooks raise, and `PluginError` where it breaks their contract."""
    manager = pluggy.PluginManager(hookspecs.GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(module)
    manager.check_pending()
    entries: list[Entry] = []
    for kind in hookspecs.KINDS:

        def register(name: str, factory: Callable[..., Any], _kind: str = kind, **traits: bool) -> None:
            entry = Entry(_kind, name, factory, owner, traits)
            entry.check()
            entries.append(entry)

        getattr(manager.hook, f"register_{kind}s")(register=register)
    if not entries:
        raise PluginError("it registers nothing; mark its hooks with @hookimpl")
    return entries


def _is_name(text: str) -> bool:
    try:
        return Component.parse(text).name == text
    except SpecError:
        return False


def load(
    only: Collection[str] | None = None,
    without: Collection[str] = (),
    files: Collection[str | Path] | None = None,
) -> Registry:
    """A registry of the program's own components and those of the installed plugins and of files.

    A plugin is named by its entry point or its distribution. An installed one that fails is recorded in
    `Registry.plugins`; a file was asked for, so that it may not fail.

    Args:
        only: installed plugins to load; by default those in the environment variable RESNET_LAB_PLUGINS, or all.
        without: installed plugins not to load.
        files: Python files that are plugins; by default those in the environment variable RESNET_LAB_PLUGIN_FILES.

    Raises:
        PluginError: a plugin named in either is not installed, or a file fails.
    """
    if only is None and PLUGINS_VARIABLE in os.environ:
        only = [name.strip() for name in os.environ[PLUGINS_VARIABLE].split(",") if name.strip()]
    registry = Registry()
    for module in BUILT_IN:
        registry.add(registered_by(module, OWN))
    installed = sorted(entry_points(group=hookspecs.GROUP), key=lambda point: (_owner(point).distribution, point.name))
    known = {name for point in installed for name in _names(point)}
    for name in (*(only or ()), *without):
        if name not in known:
            raise PluginError(f"plugin {name!r} is not installed; {nearest(name, known)}")
    for point in installed:
        wanted = (only is None or _names(point) & set(only)) and not _names(point) & set(without)
        registry.plugins.append(
            _load_one(point, registry) if wanted else PluginStatus(point.name, _owner(point), "disabled")
        )
    for path in named_files() if files is None else files:
        registry.plugins.append(_load_file(Path(path).absolute(), registry))
    return registry


def _load_one(point: EntryPoint, registry: Registry) -> PluginStatus:
    owner = _owner(point)
    try:
        require_api_of_module(point.module)
        owner = replace(owner, source=digest_of_module(point.module))
        registry.add(registered_by(point.load(), owner))
    except (Exception, SystemExit) as error:  # whatever a stranger's code raises must not stop the rest
        return PluginStatus(point.name, owner, "failed", _cause(error))
    return PluginStatus(point.name, owner, "loaded")


def _load_file(path: Path, registry: Registry) -> PluginStatus:
    name = path.name + FILE
    if any(plugin.owner.distribution == name for plugin in registry.plugins):
        raise PluginError(f"plugin file {path}: another file of that name is loaded already; rename one of them")
    try:
        module, digest = module_of_file(path)
        owner = Owner(name, digest[:12], digest)
        registry.add(registered_by(module, owner))
    except OSError as error:
        if error.filename != str(path):
            raise PluginError(f"plugin file {path}{_at(error, path)}: {_cause(error)}") from error
        raise PluginError(f"plugin file {path}: cannot be read: {error.strerror}") from None
    except (Exception, SystemExit) as error:
        raise PluginError(f"plugin file {path}{_at(error, path)}: {_cause(error)}") from error
    return PluginStatus(path.name, owner, "loaded", file=path)


def _at(error: BaseException, path: Path) -> str:
    line = line_of(error, path)
    return "" if line is None else f", line {line}"


def _cause(error: BaseException) -> str:
    return " ".join((str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}").split())


def _owner(point: EntryPoint) -> Owner:
    if point.dist is None:
        return Owner("unknown distribution", "?")
    return Owner(point.dist.name, point.dist.version)


def _names(point: EntryPoint) -> set[str]:
    return {point.name, _owner(point).distribution}


@cache
def default_registry() -> Registry:
    """The registry used where none is given, loaded once; warns of each plugin that failed."""
    registry = load()
    for plugin in registry.failures:
        warnings.warn(str(plugin), PluginWarning, stacklevel=2)
    return registry


def is_file(distribution: str) -> bool:
    """Whether a plugin is one file, by the name of its owner."""
    return distribution.endswith(FILE)


def why_missing(distribution: str, version: str, registry: Registry) -> str:
    """What became of a plugin that is not loaded, and how to have it."""
    for plugin in registry.plugins:
        if plugin.owner.distribution == distribution:
            return str(plugin)
    if is_file(distribution):
        return f"it is not loaded: give it with --plugin {distribution.removesuffix(FILE)}"
    return f"it is not installed: pip install {distribution}=={version}"


def require_files(recorded: Iterable[Mapping[str, str]], registry: Registry, where: str) -> None:
    """Raise `PluginError` where a file that was a plugin of earlier work is not loaded.

    A record is data: it may say what is needed, and only the user says what is run.

    Args:
        recorded: path and SHA-256 of each, as `Registry.files` gave them.
        where: it is recorded, for errors.
    """
    loaded = {plugin.file.name for plugin in registry.plugins if plugin.file is not None}
    for file in recorded:
        path = Path(file["path"])
        if path.name not in loaded:
            raise PluginError(
                f"{where} needs the plugin file {path}, and a file that a record names is never loaded by itself; "
                f"read it, and give it with --plugin {path}"
            )


def warn_of_other_sources(sources: Mapping[str, str], registry: Registry, where: str) -> None:
    """Warn of each plugin that is loaded from another source than that of which the SHA-256 is given."""
    for plugin in registry.plugins:
        then, now = sources.get(plugin.owner.distribution, ""), plugin.owner.source
        if plugin.status == "loaded" and then and now and then != now:
            warnings.warn(
                f"{where}: made with another source of {plugin.owner.distribution} (SHA-256 {then[:12]}) than is "
                f"loaded now ({now[:12]}); its results may differ",
                PluginWarning,
                stacklevel=2,
            )
