"""Study ResNet architectures: what a change to one part brings, how sure that is, and what it costs."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnet_lab.network import zoo
    from resnet_lab.network.builder import build
    from resnet_lab.network.checkpoint import load, save
    from resnet_lab.network.spec import ModelSpec

__all__ = ["ModelSpec", "build", "load", "save", "zoo"]

_HOMES = {"ModelSpec": "spec", "build": "builder", "load": "checkpoint", "save": "checkpoint"}


def __getattr__(name: str) -> Any:
    """Public names are imported at first use, so that `import resnet_lab` is instant."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = import_module(f"resnet_lab.network.{_HOMES.get(name, name)}")
    globals()[name] = value = getattr(value, name) if name in _HOMES else value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
