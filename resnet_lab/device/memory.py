"""Memory of a training step, and messages where there is too little of it."""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from resnet_lab.core.errors import ConfigError
from resnet_lab.core.system_memory import free_memory, peak_memory, total_memory
from resnet_lab.device.placement import Placement

SHARE = {"cpu": 0.6, "gpu": 0.9}
"""Share of the free memory that the tensors of a step may take: on the CPU the heap has gaps, and was measured to take
up to 1.6 times as much."""

FEW, MORE = 2, 4
"""Images of these two steps. Batch norm may refuse a single one."""

SIGNS = ("can't allocate memory", "not enough memory", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED")
"""Signs in errors of other kinds: of torch's allocator for the CPU, and of CUDA's libraries."""

READS_VALUES = ("meta", "tensor.__format__")
"""Signs in torch's errors that an operation needs the values that a tensor on the meta device does not have."""

GIB = 2**30


def out_of_memory(
    error: BaseException, device: torch.device, batch_size: int, accumulate: int = 1
) -> ConfigError | None:
    """Message for a training step that ended with `error`; None where that has another cause.

    Args:
        batch_size: images per step.
        accumulate: micro-batches per optimizer step.
    """
    if not is_out_of_memory(error):
        return None
    tried = f"batch size {batch_size}" + (f" in {accumulate} micro-batches" if accumulate > 1 else "")
    remedies = ["a smaller --batch-size (or auto)"] if batch_size > 1 else ["smaller images (--size)"]
    if 2 * accumulate <= batch_size:
        remedies.append(f"--accumulate {2 * accumulate}")
    remedies.append("--precision bf16")
    return ConfigError(
        f"{tried} does not fit into the memory of {device}: {_taken(device) / GIB:.1f} GiB were taken of "
        f"{_total(device) / GIB:.1f} GiB when there was no more; give {' or '.join(remedies)}"
    )


def largest_batch(
    step: Callable[[int], object], most: int, device: torch.device, reserve: int = 0, sharing: int = 1
) -> int:
    """The largest power of two up to `most` whose training step fits into the memory that is free now.

    Steps of 2 and of 4 images show what an image takes; on a GPU the result is tried, and halved while it does not fit.

    Args:
        step: a training step on so many images, uncompiled; it leaves nothing behind.
        reserve: bytes that are needed besides, such as the optimiser's.
        sharing: trainings that the memory has to do for at one time.

    Raises:
        ConfigError: not even one image fits.
    """
    few, more = (peak_of_step(step, images, device) for images in (FEW, MORE))
    image = max(1, (more - few) // (MORE - FEW))
    free = (
        int(_free(device) * SHARE["cpu" if device.type == "cpu" else "gpu"]) // sharing
        - reserve
        - max(0, few - FEW * image)
    )
    size = _power_of_two(min(most, free // image))
    while size and device.type != "cpu" and not _fits(step, size):
        size //= 2
    if not size:
        raise ConfigError(
            f"not even one image fits into the memory of {device}: a step takes {image / 2**20:.0f} MiB per image, and "
            f"{max(0, free) / 2**20:.0f} MiB are left for images; take smaller images (--size) or a smaller network"
        )
    return size


def require_memory(
    network: nn.Module, shape: Sequence[int], placement: Placement, *, training: bool, most: int | None = None
) -> None:
    """Refuse a batch whose activations alone are more than the device has at all, before any of them is allocated.

    They are counted on the meta device: what the backward pass needs of a training step, the most that is held at once
    in inference. A network that reads values, as a plugin's part may, cannot be counted and is let through; any other
    error of its forward pass is raised.

    Args:
        shape: of the batch, (N, C, H, W).
        most: bytes that all activations certainly do not exceed, where known: nothing is counted where these fit.

    Raises:
        ConfigError: the batch cannot fit.
    """
    total = _total(placement.device)
    if (_most_activations(network, shape) if most is None else most) <= total:
        return
    needed = _activations(network, shape, training) * placement.dtype.itemsize // torch.float32.itemsize
    if needed > total:
        images, (height, width) = shape[0], shape[2:]
        step = "a training step" if training else "inference"
        fewer = "fewer at a time (--batch-size, --accumulate) or " if training and images > 1 else ""
        raise ConfigError(
            f"{step} on {images} image{'s' * (images > 1)} of {height} x {width} pixels takes {needed / GIB:,.1f} GiB "
            f"for activations alone, and {placement.device} has {total / GIB:,.1f}; take {fewer}smaller images (--size)"
        )


def _most_activations(network: nn.Module, shape: Sequence[int]) -> int:
    """Bytes that no network comes near whose feature maps are not larger than its images."""
    modules = list(network.modules())
    widest = max((max(tensor.shape, default=1) for tensor in network.parameters()), default=1)
    return 16 * shape[0] * shape[2] * shape[3] * max(widest, shape[1]) * len(modules)


def _activations(network: nn.Module, shape: Sequence[int], training: bool) -> int:
    """Bytes in float32: in training those held after the forward pass, else the most at once; 0 if values are read."""
    tensors = {
        name: torch.empty_like(tensor, device="meta", dtype=torch.float32 if tensor.is_floating_point() else None)
        .requires_grad_(training and tensor.requires_grad)
        for name, tensor in (*network.named_parameters(), *network.named_buffers())
    }  # fmt: skip
    allocations, was = _Allocations(), network.training
    try:
        network.train(training)
        x = torch.empty(tuple(shape), device="meta")
        with (
            torch.random.fork_rng(devices=[]),
            torch.inference_mode(False),
            torch.set_grad_enabled(training),
            allocations,
        ):
            outputs = functional_call(network, tensors, (x,))
        return allocations.now if outputs is not None and training else allocations.peak
    except (RuntimeError, TypeError) as error:
        if not any(sign in str(error).lower() for sign in READS_VALUES):
            raise
        return 0
    finally:
        network.train(was)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error means that there is no more memory, of the device or the system."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


def _power_of_two(number: int) -> int:
    """The largest that is not above `number`; 0 where there is none."""
    return 1 << (number.bit_length() - 1) if number > 0 else 0


def _fits(step: Callable[[int], object], images: int) -> bool:
    try:
        step(images)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        torch.accelerator.empty_cache()
        return False
    return True


def peak_of_step(step: Callable[[int], object], images: int, device: torch.device) -> int:
    """The most bytes that a step on so many images holds at once, beside what was there before.

    On the CPU those of tensors that operators make: what compiled code makes inside itself is not seen.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step(images)
        return int(torch.cuda.max_memory_allocated(device)) - before
    allocations = _Allocations()
    with allocations:
        step(images)
    return allocations.peak


def _taken(device: torch.device) -> int:
    """The most that this process held so far."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    return peak_memory()


def _total(device: torch.device) -> int:
    if device.type == "xpu":
        return int(torch.xpu.mem_get_info(device)[1])
    return torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else total_memory()  # which mps shares


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type == "xpu":
        return int(torch.xpu.mem_get_info(device)[0])
    return free_memory()


class _Allocations(TorchDispatchMode):
    """Follows the tensors that operators make while it is entered; the same steps give the same numbers.

    Attributes:
        now: bytes that they hold.
        peak: the most bytes that they held at once.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self.now = 0
        self._followed: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        there = self._followed | _storages((args, kwargs)).keys()
        outputs = func(*args, **(kwargs or {}))
        for address, storage in _storages(outputs).items():
            if address not in there:
                self._followed.add(address)
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._forget, address, storage.nbytes())
        return outputs

    def _forget(self, address: int, nbytes: int) -> None:
        self._followed.discard(address)
        self.now -= nbytes


def _storages(tree: Any) -> dict[int, torch.UntypedStorage]:
    """The memory of all tensors in it, by its address in torch, which those on the meta device have too."""
    storages = (leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))
    return {storage._cdata: storage for storage in storages}
