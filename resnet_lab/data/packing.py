"""Tensors in one piece of memory, so that they reach a GPU in one copy that nothing waits for."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from resnet_lab.data.pooled_memory import Memory, moved

ALIGNED = 16
"""Bytes at whose multiples each tensor begins: any type may lie there."""


class Packed:
    """A tree of tuples whose leaves are tensors on the CPU, or anything else, which stays as it is.

    Args:
        memory: that the tensors are copied into.
    """

    def __init__(self, tree: Any, memory: Memory) -> None:
        self._leaves, self._structure = tree_flatten(tree)
        self._places: list[tuple[int, Tensor] | None] = []
        end = 0
        for leaf in self._leaves:
            self._places.append((end, leaf) if isinstance(leaf, Tensor) else None)
            end += -(-leaf.nbytes // ALIGNED) * ALIGNED if isinstance(leaf, Tensor) else 0
        self._bytes = memory.take((end,), torch.uint8)
        for place in self._places:
            if place is not None:
                _piece(self._bytes, *place).copy_(place[1])

    def to(self, device: torch.device) -> Any:
        """The same tree with its tensors on a device."""
        there = moved(self._bytes, device)
        leaves = [
            leaf if place is None else _piece(there, *place)
            for leaf, place in zip(self._leaves, self._places, strict=True)
        ]
        return tree_unflatten(leaves, self._structure)


def _piece(memory: Tensor, start: int, like: Tensor) -> Tensor:
    return memory[start : start + like.nbytes].view(like.dtype).view(like.shape)
