"""Options that several commands share."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

from resnet_lab.cli.root import app
from resnet_lab.core.option import OUTPUT


def outputs(command: object, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Words of each command, and each of its options that names an output, with its placeholder."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from outputs(inner, (*words, name))
    for option in command.get_params(typer.Context(command)):  # type: ignore[attr-defined]
        if getattr(option, "rich_help_panel", None) == OUTPUT and option.metavar in ("FILE", "FOLDER", "RUN"):
            yield words, option.opts[0], option.metavar


WRITTEN = list(outputs(typer.main.get_command(app)))


def test_the_options_of_outputs_are_known() -> None:
    assert {(" ".join(words), option) for words, option, _ in WRITTEN} >= {
        ("train", "--out"), ("eval", "--csv"), ("bench", "--out"), ("bench", "--plots"), ("export", "--out"),
        ("explain", "--out"), ("report", "--out"), ("build", "--weights-out"), ("data split", "--out"),
        ("data describe", "--html"), ("study run", "--out"), ("study search", "--out"), ("study report", "--parquet"),
        ("import", "--out"), ("plugins new", "--out"),
    }  # fmt: skip


@pytest.mark.parametrize(("words", "option", "kind"), WRITTEN, ids=lambda value: "_".join(value))
def test_a_place_that_cannot_be_written_is_refused_before_anything_else_is_looked_at(
    cli: Callable, tmp_path: Path, words: tuple[str, ...], option: str, kind: str
) -> None:
    (tmp_path / "file").touch()
    code, out, err = cli(*words, option, "file/new")
    what = "cannot be written" if kind == "FILE" else "the folder cannot be made or written"
    assert (code, out, err.splitlines()[-1]) == (2, "", f"resnet-lab: file/new: {what}: Not a directory")
    assert os.listdir(tmp_path) == ["file"]


def test_two_outputs_cannot_have_one_name(cli: Callable, tmp_path: Path) -> None:
    code, out, err = cli("bench", "--out", "a", "--csv", tmp_path / "a")
    assert (code, out) == (2, "")
    assert err == f"resnet-lab: --out and --csv are both {tmp_path}/a; give each a name of its own\n"
    (tmp_path / "x").mkdir()
    code, _, err = cli("bench", "--out", "a.html", "--csv", "x/../a.html")
    assert (code, err) == (2, "resnet-lab: --out and --csv are both x/../a.html; give each a name of its own\n")
    (tmp_path / "link").symlink_to("x")
    assert "are both link/a" in cli("bench", "--out", "x/a", "--csv", "link/a").err
    code, _, err = cli("study", "report", "absent", "--csv", "tables", "--parquet", "tables", "--plots", "tables")
    assert (code, "both" in err) == (2, False)
