"""Writes the files of a new plugin from templates."""

import re
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from resnet_lab.core.errors import PluginError, SpecError, nearest
from resnet_lab.core.files import make_folder, refuse_existing, write_new
from resnet_lab.network.component import Component
from resnet_lab.network.hookspecs import API_VERSION
from resnet_lab.network.kinds import KINDS
from resnet_lab.network.registry import Registry


@dataclass(frozen=True)
class Names:
    """Names of a new plugin.

    Attributes:
        component: as users write it.
    """

    kind: str
    component: str

    @property
    def distribution(self) -> str:
        """Distribution name, as pip knows it."""
        return f"resnet-lab-{self.component.replace('_', '-')}"

    @property
    def module(self) -> str:
        """Module name, as Python imports it."""
        return f"resnet_lab_{self.component}"

    @property
    def camel(self) -> str:
        """Stem of its class name."""
        return "".join(word.capitalize() for word in self.component.split("_"))

    @property
    def option(self) -> str:
        """That chooses it on the command line."""
        return KINDS[self.kind].option


def new_plugin(kind: str, name: str, registry: Registry, parent: Path = Path()) -> list[Path]:
    """Write a distribution `resnet-lab-NAME` with one component, which does something already.

    Args:
        kind: of the component; `conv` is short for `convolution`.
        name: of the component: lower case letters, digits and underscores.
        registry: the components that there are, whose names are taken.
        parent: the folder to put it into.

    Returns:
        The files, that of the component first.

    Raises:
        PluginError: an unknown kind, a name that is not allowed, or one that is taken.
        RunError: the folder exists already, or cannot be written.
    """
    names = Names(full_kind(kind), name)
    _require_free(names, registry)
    folder = parent / names.distribution
    refuse_existing(folder)
    written = []
    for path, template in _files(names).items():
        make_folder((folder / path).parent)
        write_new(folder / path, _filled(template, names).encode())
        written.append(folder / path)
    return written


def full_kind(text: str) -> str:
    """A kind by its name or its short one; raises `PluginError`."""
    for kind in KINDS.values():
        if text in (kind.name, kind.short or kind.name):
            return kind.name
    raise PluginError(f"unknown kind {text!r} of component; {nearest(text, KINDS)}")


def _require_free(names: Names, registry: Registry) -> None:
    name = names.component
    try:
        allowed = Component.parse(name).name == name and re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", name)
    except SpecError:
        allowed = None
    if not allowed:
        raise PluginError(
            f"component name {name!r} must be lower case letters and digits, the first a letter, with single "
            "underscores between words, and no word of Python's own"
        )
    holder = registry.entries.get((names.kind, name))
    if holder is not None:
        raise PluginError(f"{names.kind} {name!r} is registered by {holder.owner} already; choose another name")
    for plugin in registry.plugins:
        if names.distribution == plugin.owner.distribution:
            raise PluginError(f"{plugin.owner} is installed already; choose another name")


def _files(names: Names) -> dict[str, str]:
    """Paths in the distribution, and the templates that they are made from."""
    return {
        f"{names.module}.py": f"{names.kind}.py.j2",
        f"tests/test_{names.component}.py": f"test_{names.kind}.py.j2",
        "pyproject.toml": "pyproject.toml.j2",
        "README.md": "README.md.j2",
        ".github/workflows/test.yml": "test.yml.j2",
        ".gitignore": "gitignore.j2",
    }


def _filled(template: str, names: Names) -> str:
    environment = Environment(
        loader=PackageLoader("resnet_lab.scaffold"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        variable_start_string="<<",
        variable_end_string=">>",
    )
    general = f"{'test_' if template.startswith('test_') else ''}component.py.j2"
    return environment.select_template([template, general]).render(
        name=names.component, kind=names.kind, distribution=names.distribution, module=names.module, Name=names.camel,
        option=names.option, api=API_VERSION, row=KINDS[names.kind],
    )  # fmt: skip
