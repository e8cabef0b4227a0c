"""The errors a user can mend. Each message is one sentence: what, where, got, allowed, remedy; and names in them."""

from collections.abc import Iterable, Iterator
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
    """A run folder or an output file that exists already, or is not one."""


class ConfigError(ResNetLabError):
    """A training option outside what is allowed."""


class PluginWarning(UserWarning):
    """A plugin that could not be used, or is not quite the one that a file was made with; the rest works."""


def kinds_of(error: ResNetLabError) -> list[str]:
    """Names of the program's own classes that an error is of, the narrowest first; for `error_of` elsewhere."""
    own = _own_kinds()
    return [kind.__name__ for kind in type(error).__mro__ if own.get(kind.__name__) is kind]


def error_of(kinds: Iterable[str], text: str) -> ResNetLabError:
    """The error that another process described, of the first class in `kinds` that is the program's own."""
    own = _own_kinds()
    return next((own[kind] for kind in kinds if kind in own), ResNetLabError)(text)


def _own_kinds() -> dict[str, type[ResNetLabError]]:
    def with_narrower(kind: type[ResNetLabError]) -> Iterator[type[ResNetLabError]]:
        yield kind
        for narrower in kind.__subclasses__():
            yield from with_narrower(narrower)

    package = __name__.partition(".")[0]
    return {kind.__name__: kind for kind in with_narrower(ResNetLabError) if kind.__module__.startswith(f"{package}.")}


def nearest(name: str, known: Iterable[str]) -> str:
    """End of a sentence about an unknown name: the nearest known ones, or else all of them."""
    known = sorted(known)
    close = get_close_matches(name[:100], known, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(candidate) for candidate in close) + "?"
    return "known: " + (", ".join(known) or "none")


def printable(text: str) -> str:
    """The text with control characters, and bytes of a name that are no UTF-8, written as Python escapes."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
