"""Memory of batches, used again: asking the system for new pages costs more than filling them."""

import sys
import threading
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet_lab.device import Placement

KEPT = 20
"""Arrays of a pool: more than are prepared and used at any time."""


class Memory(Protocol):
    """Gives uninitialised tensors that the CPU can write."""

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor: ...


def memory_for(placement: Placement) -> Memory:
    """Memory that batches are read into on their way to the device."""
    return PinnedMemory() if placement.device.type == "cuda" else PooledMemory()


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device; from pinned memory nothing waits for the copy, and other memory may be used again."""
    return tensor.to(device, non_blocking=device.type == "cuda")


class PinnedMemory:
    """Pinned memory for asynchronous copies to a GPU; torch keeps it until its copy is over, and pools it itself."""

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, pin_memory=True)


class PooledMemory:
    """Memory of tensors that nobody holds any more."""

    def __init__(self) -> None:
        self._arrays: list[NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A tensor whose memory comes back when the last tensor on it is gone."""
        needed = int(np.prod(shape)) * dtype.itemsize
        with self._lock:
            for number in range(len(self._arrays)):
                # held by the list and by the call alone
                if sys.getrefcount(self._arrays[number]) <= 2 and needed <= self._arrays[number].nbytes <= 2 * needed:
                    return self._tensor(self._arrays[number][:needed], shape, dtype)
            self._arrays = [*self._arrays[-KEPT + 1 :], np.empty(needed, dtype=np.uint8)]
            return self._tensor(self._arrays[-1][:needed], shape, dtype)

    @staticmethod
    def _tensor(array: NDArray[np.uint8], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        # the tensor holds the view, and the view the array: so its reference count tells of every tensor
        return torch.from_numpy(array).view(dtype).view(shape)
