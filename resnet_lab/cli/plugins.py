"""`resnet-lab plugins`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from resnet_lab.cli import options, output
from resnet_lab.cli.root import app
from resnet_lab.core.errors import PluginError
from resnet_lab.network.kinds import KINDS

if TYPE_CHECKING:
    from resnet_lab.network.plugins import Kernels, Registry
    from resnet_lab.testing import Result

plugins = typer.Typer(no_args_is_help=True, help="List components, and create and check plugins.")
app.add_typer(plugins, name="plugins")


@plugins.command("list", epilog="Example: `resnet-lab plugins list --json`")
def list_plugins(no_plugin: options.NoPlugin = None, plugin: options.Plugin = None, json: options.JSON = False) -> None:
    """List every component with its kind, source and version, and every plugin that is disabled or failed.

    The environment variable RESNET_LAB_PLUGINS names the plugins to load, separated by commas; empty loads none.
    """
    from resnet_lab.network.plugins import load

    registry = load(without=no_plugin or ())
    rows: list[dict[str, Any]] = [
        {
            "name": entry.name,
            "kind": entry.kind,
            "source": entry.owner.distribution,
            "version": entry.owner.version,
            "status": "contested" if (entry.kind, entry.name) in registry.contested else "loaded",
            "parameters": {name: _shown(default) for name, (_, default) in entry.parameter_types().items()},
        }
        for entry in sorted(registry.entries.values(), key=lambda entry: (entry.kind, entry.name))
    ]
    rows += [
        {
            "name": offer.kernels.__name__,
            "kind": "kernels",
            "source": offer.owner.distribution,
            "version": offer.owner.version,
            "status": "loaded",
        }
        for offer in registry.kernels.values()
    ]
    rows += [
        {
            "name": failed.name,
            "kind": "plugin",
            "source": failed.owner.distribution,
            "version": failed.owner.version,
            "status": failed.status,
            "cause": failed.cause,
        }
        for failed in registry.plugins
        if failed.status != "loaded"
    ]
    if json:
        output.print_json({"plugins": rows})
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("name", "kind", "parameters", "source", "version", "status"):
        table.add_column(column, overflow="fold")
    for row in rows:
        parameters = ", ".join(f"{name}={default}" for name, default in row.get("parameters", {}).items())
        status = f"{row['status']}: {row['cause']}" if row.get("cause") else row["status"]
        table.add_row(row["name"], row["kind"], parameters, row["source"], row["version"], status)
    output.console().print(table)


Kind = Annotated[
    str | None,
    typer.Option("--kind", metavar="KIND", help=f"Kind of component: {', '.join(KINDS)}.", show_default=False),
]


@plugins.command(epilog="Example: `resnet-lab plugins new attention gate`")
def new(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"{', '.join(KINDS)}; conv is short for convolution.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the component, as users write it.")],
    out: Annotated[
        Path | None, options.written("--out", "FOLDER", "The folder to make resnet-lab-NAME in.", "here")
    ] = None,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
) -> None:
    """Create a distribution resnet-lab-NAME: a working module, an entry point, a README, tests, and CI."""
    from resnet_lab.scaffold import full_kind, new_plugin

    written = new_plugin(kind, name, options.load_registry(no_plugin), out or Path())
    for path in written:
        output.line(path)
    folder = written[0].parent
    output.line(f"next: pip install -e {folder}; resnet-lab plugins check {name} --kind {full_kind(kind)}")


@plugins.command("check", epilog="Example: `resnet-lab plugins check simam`")
def check_plugin(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A component, optionally with parameters, or a plugin, with its kernels."),
    ],
    kind: Kind = None,
    compiler: Annotated[
        Literal["aot_eager", "inductor"],
        typer.Option("--compiler", help="Backend of torch.compile; inductor generates code too, and takes longer."),
    ] = "aot_eager",
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Check components against their hooks' contracts: shapes, dtypes, gradients, tracing, serialisation and more.

    A built-in is a component like any other: `plugins check cbam`. A failed check ends in exit code 2.
    """
    from resnet_lab.scaffold import full_kind
    from resnet_lab.testing import check, check_kernels

    registry = options.load_registry(no_plugin)
    kernels = _kernels(name, registry) if kind is None else []
    components = _components(name, None if kind is None else full_kind(kind), registry, may_be_none=bool(kernels))
    reports = []
    for offer in kernels:
        if not json:
            output.line(f"kernels {offer.kernels.__name__}")
        on_result = _print_result if not json else lambda result: None
        reports.append(check_kernels(offer, on_result=on_result))
    for each_kind, component in components:
        if not json:
            output.line(f"{each_kind} {component}")
        on_result = _print_result if not json else lambda result: None
        reports.append(check(each_kind, component, registry=registry, compiler=compiler, on_result=on_result))
    if json:
        output.print_json({"components": [report.as_json() for report in reports]})
    failed = [f"{report.kind} {report.component}: {_named(report.failures)}" for report in reports if report.failures]
    if failed:
        raise PluginError(f"{reports[0].source}: failed checks: {'; '.join(failed)}")


def _kernels(name: str, registry: "Registry") -> "list[Kernels]":
    """Kernels of a plugin."""
    owners = {status.owner.distribution for status in registry.plugins if status.name == name} | {name}
    return [offer for offer in registry.kernels.values() if offer.owner.distribution in owners]


def _components(
    name: str, kind: str | None, registry: "Registry", *, may_be_none: bool = False
) -> list[tuple[str, str]]:
    """Kind and text of the components that a name means: a plugin's, or those of that name."""
    from resnet_lab.core.errors import nearest
    from resnet_lab.network.spec import Component

    for status in registry.plugins:
        if name in (status.name, status.owner.distribution) and status.status != "loaded":
            raise PluginError(str(status))
    owners = {status.owner.distribution for status in registry.plugins if status.name == name} | {name}
    of_plugin = [key for key, entry in registry.entries.items() if entry.owner.distribution in owners]
    if may_be_none and not of_plugin:
        return []
    wanted = of_plugin or [key for key in registry.entries if key[1] == Component.parse(name).name]
    text = {} if of_plugin else dict.fromkeys(wanted, name)
    found = [(each, text.get((each, called), called)) for each, called in wanted if kind in (None, each)]
    if not found:
        known = {called for each, called in registry.entries if kind in (None, each)}
        known |= {status.name for status in registry.plugins}
        raise PluginError(f"there is no {kind or 'component'} and no plugin {name!r}; {nearest(name, known)}")
    return sorted(found)


def _print_result(result: "Result") -> None:

    colour = {"passed": "green", "failed": "bold red", "skipped": "yellow"}[result.status]
    line = output.text(f"  {result.check:<16}").append(f"{result.status:<8}", colour).append(result.text)
    for word, text in (("case", result.case), ("hint", result.hint)):
        if text:
            line.append(f"\n{'':26}{word}: {text}")
    output.console().print(line, soft_wrap=True)


def _named(results: "Sequence[Result]") -> str:
    return ", ".join(result.check for result in results)


def _shown(default: Any) -> Any:
    return None if default is ... else default
