"""Finds plugins, isolates what is wrong with them, and registers the components that they and the program offer."""

import os
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pluggy

from resnet_lab.core.comma_list import comma_list
from resnet_lab.core.errors import PluginError, PluginWarning, nearest
from resnet_lab.network import hookspecs
from resnet_lab.network.kinds import KINDS
from resnet_lab.network.plugin_files import (
    digest_of_module,
    line_of,
    module_of_file,
    named_files,
    require_api_of_module,
)
from resnet_lab.network.registry import OWN as OWN
from resnet_lab.network.registry import Entry as Entry
from resnet_lab.network.registry import Kernels as Kernels
from resnet_lab.network.registry import Owner as Owner
from resnet_lab.network.registry import PluginStatus as PluginStatus
from resnet_lab.network.registry import Registry as Registry

PLUGINS_VARIABLE = "RESNET_LAB_PLUGINS"
"""Environment variable: comma-separated plugins to load; unset loads all, empty none."""

FILE = " (file)"
"""End of the name of a plugin that is one file; no distribution can be called so."""


def registered_by(module: object, owner: Owner) -> tuple[list[Entry], list[Kernels]]:
    """Components and kernels of a plugin; raises what its hooks raise, and `PluginError` for a broken contract."""
    manager = pluggy.PluginManager(hookspecs.GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(module)
    manager.check_pending()
    entries: list[Entry] = []
    for kind in KINDS.values():

        def register(name: str, factory: Callable[..., Any], _kind: str = kind.name, **traits: bool) -> None:
            entry = Entry(_kind, name, factory, owner, traits)
            entry.check()
            entries.append(entry)

        getattr(manager.hook, kind.hook)(register=register)
    offered: list[Kernels] = []

    def register_kernels(plain: type[Any], kernels: type[Any]) -> None:
        offer = Kernels(plain, kernels, owner)
        offer.check()
        offered.append(offer)

    manager.hook.register_kernels(register=register_kernels)
    if not entries and not offered:
        raise PluginError("it registers nothing; mark its hooks with @hookimpl")
    return entries, offered


def load(
    only: Collection[str] | None = None,
    without: Collection[str] = (),
    files: Collection[str | Path] | None = None,
    kinds: Collection[str] = tuple(KINDS),
) -> Registry:
    """A registry of the program's own components and those of the installed plugins and of files.

    A plugin is named by its entry point or its distribution. An installed one that fails is recorded in
    `Registry.plugins`; a file was asked for, so that it may not fail.

    Args:
        only: installed plugins to load; by default those in the environment variable RESNET_LAB_PLUGINS, or all.
        without: installed plugins not to load.
        files: Python files that are plugins; by default those in the environment variable RESNET_LAB_PLUGIN_FILES.
        kinds: of the program's own components that are wanted; where there are plugins, whose names must not be taken,
            it has all of them.

    Raises:
        PluginError: a plugin named in either is not installed, or a file fails.
    """
    if only is None and PLUGINS_VARIABLE in os.environ:
        only = [name for name in comma_list(os.environ[PLUGINS_VARIABLE]) if name]
    files = named_files() if files is None else files
    installed = sorted(entry_points(group=hookspecs.GROUP), key=lambda point: (_owner(point).distribution, point.name))
    known = {name for point in installed for name in _names(point)}
    for name in (*(only or ()), *without):
        if name not in known:
            raise PluginError(f"plugin {name!r} is not installed; {nearest(name, known)}")
    wanted = [(only is None or _names(point) & set(only)) and not _names(point) & set(without) for point in installed]
    registry = Registry()
    for kind in KINDS.values():
        if kind.name in kinds or any(wanted) or files:
            registry.add(*registered_by(import_module(kind.module), OWN))
    for point, is_wanted in zip(installed, wanted, strict=True):
        registry.plugins.append(
            _load_one(point, registry) if is_wanted else PluginStatus(point.name, _owner(point), "disabled")
        )
    for path in files:
        registry.plugins.append(_load_file(Path(path).absolute(), registry))
    return registry


def _load_one(point: EntryPoint, registry: Registry) -> PluginStatus:
    owner = _owner(point)
    try:
        require_api_of_module(point.module)
        owner = replace(owner, source=digest_of_module(point.module))
        registry.add(*registered_by(point.load(), owner))
    except (Exception, SystemExit) as error:  # whatever third-party code raises must not stop the rest
        return PluginStatus(point.name, owner, "failed", _cause(error))
    return PluginStatus(point.name, owner, "loaded")


def _load_file(path: Path, registry: Registry) -> PluginStatus:
    name = path.name + FILE
    if any(plugin.owner.distribution == name for plugin in registry.plugins):
        raise PluginError(f"plugin file {path}: another file of that name is loaded already; rename one of them")
    try:
        module, digest = module_of_file(path)
        owner = Owner(name, digest[:12], digest)
        registry.add(*registered_by(module, owner))
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
    """Reason why a plugin is not loaded, and how to install it."""
    for plugin in registry.plugins:
        if plugin.owner.distribution == distribution:
            return str(plugin)
    if is_file(distribution):
        return f"it is not loaded: give it with --plugin {distribution.removesuffix(FILE)}"
    return f"it is not installed: pip install {distribution}=={version}"


def require_files(recorded: Iterable[Mapping[str, str]], registry: Registry, where: str) -> None:
    """Raise `PluginError` where a file that was a plugin of earlier work is not loaded.

    A record is data: it may name what is needed, and only the user decides what is run.

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
