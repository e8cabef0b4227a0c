"""Kernels of plugins for modules of a network that is trained on a GPU."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Protocol

from torch import nn

from resnet_lab.device.placement import Placement

_PLAIN = "_class_without_kernels"


class Offer(Protocol):
    """Kernels as a registry has them (`network.registry.Kernels`)."""

    @property
    def plain(self) -> type[Any]: ...

    @property
    def kernels(self) -> type[Any]: ...

    @property
    def owner(self) -> object: ...

    def suit(self, module: object) -> bool: ...


def with_kernels(network: nn.Module, placement: Placement, offers: Iterable[Offer]) -> Placement:
    """Have modules of a network run kernels where it is placed on CUDA.

    Returns:
        The placement, with the kernels that are used.
    """
    if placement.device.type != "cuda":
        return placement
    return replace(placement, kernels=take_kernels(network, offers))


def take_kernels(network: nn.Module, offers: Iterable[Offer]) -> tuple[str, ...]:
    """Make modules of a network those of kernels; parameters and names stay as they are.

    Returns:
        What was taken, with its owner and number.
    """
    by_class = {offer.plain: offer for offer in offers}
    used: Counter[str] = Counter()
    for module in network.modules():
        plain = module.__dict__.get(_PLAIN, type(module))
        offer = by_class.get(plain)
        if offer is not None and (type(module) is offer.kernels or offer.suit(module)):
            module.__dict__[_PLAIN] = plain
            module.__class__ = offer.kernels
            used[f"{offer.owner}: {offer.kernels.__name__}"] += 1
    return tuple(f"{name} x {count}" for name, count in sorted(used.items()))


def without_kernels(network: nn.Module) -> nn.Module:
    """The network itself, its modules of the classes that they had before `take_kernels`."""
    for module in network.modules():
        module.__class__ = module.__dict__.pop(_PLAIN, type(module))
    return network
