"""The errors a user can mend. Each message is one sentence: what, where, got, allowed, remedy; and names in them."""

from collections.abc import Iterable
from difflib import get_close_matches


class ResNetLabError(Exception):
    """Base of every error caused by input; the command line prints it and exits with 2."""


class SpecError(ResNetLabError):
    """An architecture that cannot be: unknown component, wrong parameter, impossible count."""


class PluginError(ResNetLabError):
    """A plugin that is missing, broken or in conflict with another."""


class DataError(ResNetLabError):
    """Images or labels that cannot be used as they are."""


class CheckpointError(ResNetLabError):
    """A weights file that is damaged, foreign or of another network."""


class RunError(ResNetLabError):
    """A run folder or an output file that stands in the way, or is not one."""


class ConfigError(ResNetLabError):
    """A training option outside what is allowed."""


class PluginWarning(UserWarning):
    """A plugin that could not be used, or is not quite the one that a file was made with; the rest works."""


def nearest(name: str, known: Iterable[str]) -> str:
    """End of a sentence about an unknown name: the nearest known ones, or else all of them."""
    known = sorted(known)
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(candidate) for candidate in close) + "?"
    return "known: " + (", ".join(known) or "none")


def printable(text: str) -> str:
    """The text with control characters, and bytes of a name that are no UTF-8, written as Python escapes."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
