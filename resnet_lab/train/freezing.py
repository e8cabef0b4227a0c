"""Parts of a network that keep the weights they start with. Legend: N images, V views, C channels, H W pixels."""

from collections.abc import Collection, Iterable, Iterator
from itertools import takewhile
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resnet_lab.core.errors import ConfigError
from resnet_lab.data.loader import Loader, Transform
from resnet_lab.network.model import ResNet

STEM = ("conv1", "bn1", "act1", "maxpool")
POOL = "avgpool"


class PartlyFrozen(nn.Module):
    """A ResNet some parts of which learn nothing: (N, C, H, W) to (N, K).

    The modules are the network's own under its own names, so the state dict is the network's. A frozen part gets no
    gradient and is in evaluation mode whatever the rest is in: batch norm keeps its statistics, dropout is off. Those
    frozen parts that precede all others run without a graph.

    Attributes:
        frozen: the parts that learn nothing: `stem`, `layer1`, ..., `fc`.
        fixed_parts: those of them that precede all others.
        fixed_modules: what these consist of, and the pool where only the classifier learns.
        takes_features: whether it is called with what `fixed` gives, and not with images.
    """

    def __init__(self, model: ResNet, frozen: Collection[str]) -> None:
        super().__init__()
        parts = parts_of(model)
        self.frozen = tuple(part for part in parts if part in frozen)
        self._frozen_modules = tuple(name for part in self.frozen for name in parts[part])
        for name, child in model.named_children():  # in the order in which they are called
            self.add_module(name, child)
        for name in self._frozen_modules:
            self.get_submodule(name).requires_grad_(False)
        order = tuple(name for name, _ in self.named_children())
        self.fixed_modules = tuple(takewhile(lambda name: name in self._frozen_modules or name == POOL, order))
        self._learning = order[len(self.fixed_modules) :]
        self.fixed_parts = tuple(takewhile(lambda part: part in frozen, parts))
        self.takes_features = False
        self.train(model.training)

    def train(self, mode: bool = True) -> Self:
        """All but the frozen parts learn, or with `mode` False nothing does."""
        super().train(mode)
        for name in self._frozen_modules:
            self.get_submodule(name).eval()
        return self

    @torch.no_grad()
    def fixed(self, x: Tensor) -> Tensor:
        """Images to what the learning parts begin with: a feature map N C H W, or N C where only the classifier learns.

        Where the stem learns the images themselves are that.
        """
        return self._run(self.fixed_modules, x)

    def forward(self, x: Tensor) -> Tensor:
        return self._run(self._learning, x if self.takes_features else self.fixed(x))

    def _run(self, names: Iterable[str], x: Tensor) -> Tensor:
        for name in names:
            x = self.get_submodule(name)(x)
            if name == POOL:
                x = torch.flatten(x, 1)  # N C 1 1 -> N C
        return x


def freeze(model: ResNet, names: Collection[str]) -> PartlyFrozen:
    """The network with the parts of these names frozen: `stem`, `layer1`, ..., `fc`; no weight is changed.

    Raises:
        ConfigError: the network has no such part, or nothing would be left to learn.
    """
    parts = parts_of(model)
    for name in names:
        if name not in parts:
            raise ConfigError(f"freeze: the network has no part {name!r}; it has {', '.join(parts)}")
    if set(parts) == set(names):
        raise ConfigError("freeze: every part of the network is frozen and nothing is left to learn; leave out fc")
    return PartlyFrozen(model, names)


def parts_of(model: ResNet) -> dict[str, tuple[str, ...]]:
    """Parts that can be frozen, in the network's order: for each the names of the network's modules that it is."""
    return {"stem": STEM, **{name: (name,) for name in model.stage_names}, "fc": ("fc",)}


def require_possible(network: PartlyFrozen, images: Transform) -> None:
    """Raises `ConfigError` where the output of the frozen parts is never the same twice."""
    if not network.fixed_parts:
        raise ConfigError(
            "cache_frozen: the stem learns, so the output of all that comes after it changes with every step; freeze "
            "the stem too, or turn cache_frozen off"
        )
    if images.sizes is not None:
        raise ConfigError(
            "cache_frozen: with progressive_size an image comes in several sizes; leave progressive_size, or turn "
            "cache_frozen off"
        )
    if images.augment.endless:
        names = " and ".join(images.augment.endless)
        raise ConfigError(
            f"cache_frozen: with {names} an image never looks the same twice; augment with flip and rotate90 alone, or "
            "turn cache_frozen off"
        )


def features_of(
    network: PartlyFrozen, images: Loader, missing: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """Outputs of `network.fixed` for images, a batch and view at a time.

    Args:
        missing: for each image and view whether it is asked for, shape (N, V).

    Returns:
        Numbers i V + v of images i and views v, and the bytes of each one's H x W x C numbers, or C pooled ones.
    """
    views = missing.shape[1]
    for chosen, x, _ in images.unshared().evaluation():  # whatever other processes do: this one may be alone here
        for view in np.flatnonzero(missing[chosen].any(axis=0)).tolist():
            shown = images.transform.augment.shown(x.clone(), view) if view else x
            with torch.inference_mode(), images.placement.autocast():
                features = network.fixed(shown)
            if features.ndim == 4:
                features = features.permute(0, 2, 3, 1)  # N C H W -> N H W C
            rows = features[: len(chosen)].contiguous().cpu().view(torch.uint8).flatten(1)
            wanted = missing[chosen, view]
            yield chosen[wanted] * views + view, rows.numpy()[wanted]
