"""Processes that this program starts: they import nothing from the current folder, which may be a stranger's."""

import sys


def python_module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module with this Python; `-m` alone would look in the current folder first."""
    return [sys.executable, "-P", "-m", name, *arguments]
