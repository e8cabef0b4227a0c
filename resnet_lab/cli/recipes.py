"""`resnet-lab recipes`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnet_lab.cli import options, output
from resnet_lab.cli.root import app
from resnet_lab.network.kinds import of_networks

if TYPE_CHECKING:
    from resnet_lab.recipes.recipe import Recipe

recipes = typer.Typer(no_args_is_help=True, help="List and show ready-made experiments.")
app.add_typer(recipes, name="recipes")


@recipes.command("list", epilog="Example: `resnet-lab recipes list`, then `resnet-lab train --recipe digits-quick`")
def list_recipes(json: options.JSON = False) -> None:
    """List the recipes with their networks and numbers of epochs."""
    from resnet_lab.recipes.recipe import names, read_recipe

    found = [read_recipe(name) for name in names()]
    if json:
        output.print_json({"recipes": [_as_dict(recipe) for recipe in found]})
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("name", no_wrap=True)
    table.add_column("what")
    table.add_column("network", max_width=16)
    table.add_column("epochs", justify="right")
    for recipe in found:
        epochs = recipe.tables["train"]["epochs"]
        table.add_row(recipe.name, recipe.title, _network(recipe), str(epochs))
    output.console().print(table)


@recipes.command("show", epilog="Example: `resnet-lab recipes show strong > my.toml`, then `train --config my.toml`")
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A recipe of the list, or the path of a file.", show_default=False)
    ],
    json: options.JSON = False,
) -> None:
    """Print a recipe as TOML, to save and edit."""
    from resnet_lab.recipes.recipe import read_recipe

    recipe = read_recipe(name)
    if json:
        output.print_json(_as_dict(recipe))
    else:
        output.whole(recipe.text)


def _as_dict(recipe: "Recipe") -> dict[str, Any]:
    """Recipe as printed with --json."""
    return {
        "name": recipe.name,
        "title": recipe.title,
        "description": recipe.description,
        "source": recipe.source,
        **recipe.tables,
    }


def _network(recipe: "Recipe") -> str:
    """`resnet50, gelu, cbam`: the network and the components put into it."""
    choices = recipe.tables["model"]
    slots = (kind.slot for kind in of_networks())
    return ", ".join(str(choices[key]) for key in ("model", *slots) if key in choices)
