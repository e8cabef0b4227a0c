"""Study ResNet architectures: what a change to one part brings, how sure that is, and what it costs."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnet_lab import zoo
    from resnet_lab.builder import build
    from resnet_lab.checkpoint import load, save
    from resnet_lab.spec import ModelSpec

__all__ = ["ModelSpec", "build", "load", "save", "zoo"]

_HOMES = {"ModelSpec": "spec", "build": "builder", "load": "checkpoint", "save": "checkpoint", "zoo": ""}


def __getattr__(name: str) -> Any:
    """Public names are imported at first use, so that `import resnet_lab` is instant."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    value = getattr(import_module(f"resnet_lab.{home}"), name) if home else import_module(f"resnet_lab.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
