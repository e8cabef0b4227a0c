"""`resnet-lab plugins`."""

from typing import Any

import typer

from resnet_lab.cli import app, options

plugins = typer.Typer(no_args_is_help=True, help="What can be chosen for a network, and where it comes from.")
app.add_typer(plugins, name="plugins")


@plugins.command("list", epilog="Example: `resnet-lab plugins list --json`")
def list_plugins(no_plugin: options.NoPlugin = None, json: options.JSON = False) -> None:
    """List every component with its kind, source and version, and every plugin that is disabled or failed.

    The environment variable RESNET_LAB_PLUGINS names the plugins to load, separated by commas; empty loads none.
    """
    from resnet_lab.plugins import load

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
            "name": plugin.name,
            "kind": "plugin",
            "source": plugin.owner.distribution,
            "version": plugin.owner.version,
            "status": plugin.status,
            "cause": plugin.cause,
        }
        for plugin in registry.plugins
        if plugin.status != "loaded"
    ]
    if json:
        options.print_json({"plugins": rows})
        return
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("name", "kind", "parameters", "source", "version", "status"):
        table.add_column(column, overflow="fold")
    for row in rows:
        parameters = ", ".join(f"{name}={default}" for name, default in row.get("parameters", {}).items())
        status = f"{row['status']}: {row['cause']}" if row.get("cause") else row["status"]
        table.add_row(row["name"], row["kind"], escape(parameters), row["source"], row["version"], escape(status))
    Console().print(table)


def _shown(default: Any) -> Any:
    return None if default is ... else default
