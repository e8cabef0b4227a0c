"""Run records without the paths of the user's machine: of each, the last name stays."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PureWindowsPath
from typing import Any

_FOLDERS = re.compile(
    r"""(?:^|(?<=[\s:=,('"]))            # where a path may begin in a text
        (?:file:/+|[A-Za-z]:[\\/]|\\\\|~|/(?![/\s]))  # it is absolute, and no address of the web
        (?:.*[\\/](?=[^\\/]))?           # up to the last name of the line
    """,
    re.VERBOSE,
)
_SOURCE = re.compile(r"[a-z]{2,}:")
_PATHS = frozenset({"source", "split_file", "weights"})
"""Keys of run.json whose texts are paths, or names of a library."""


def public_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Content of run.json, for anyone to read."""
    content = {key: _public(value, key) for key, value in record.items()}
    return {**content, "command": public_command(record["command"])} if "command" in record else content


def public_command(arguments: Sequence[str]) -> list[str]:
    """A command line, program first."""
    names = [_last_of_each(argument) for argument in arguments]
    return ["resnet-lab", *names[1:]] if names[:1] == ["__main__.py"] else names


def public_text(text: str) -> str:
    """The text with the folders of absolute paths left out: of several in a line, up to the last."""
    return _FOLDERS.sub("", text)


def public_source(text: str) -> str:
    """A source of images or weights: the last name of a path, and what is no path as it is: `hf:user/set`."""
    text = public_text(text)
    return text if _SOURCE.match(text) else PureWindowsPath(text).name or text  # it knows both kinds of slashes


def _last_of_each(argument: str) -> str:
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    return f"{option}{equals}{public_source(value)}"


def _public(value: Any, key: str) -> Any:
    if isinstance(value, str):
        return public_source(value) if key in _PATHS else public_text(value)
    if isinstance(value, Mapping):
        return {name: _public(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [_public(each, key) for each in value]
    return value
