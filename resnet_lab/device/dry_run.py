"""Operations that a device lacks, all of them at once."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map


def lacking(step: Callable[[], object]) -> list[str]:
    """Names of the operations of `step` that its device lacks; meanwhile the CPU computes them."""
    found = _Lacking()
    with found:
        step()
    return sorted(found.names)


class _Lacking(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        try:
            return func(*args, **(kwargs or {}))
        except (NotImplementedError, TypeError):  # the second where it lacks the type
            self.names.add(str(func._overloadpacket).removeprefix("aten."))
            return _on_the_cpu(func, args, kwargs or {})


def _on_the_cpu(func: Any, args: Any, kwargs: Any) -> Any:
    """Outputs where the inputs are; what is changed in place is changed."""
    pairs: list[tuple[Tensor, Tensor]] = []
    device = torch.device(kwargs.get("device") or "cpu")

    def down(each: Any) -> Any:
        nonlocal device
        if not isinstance(each, Tensor):
            return torch.device("cpu") if isinstance(each, torch.device) else each
        device = each.device if each.device.type != "cpu" else device
        copy = torch.empty(each.shape, dtype=each.dtype, device="cpu").copy_(each)
        pairs.append((each, copy))
        return pairs[-1][1]

    outputs = func(*tree_map(down, args), **tree_map(down, kwargs))

    def up(each: Any) -> Any:
        if not isinstance(each, Tensor):
            return each
        for original, copy in pairs:
            if each is copy:
                return original.copy_(copy.to(original.dtype))
        return each.to(device, torch.float32 if each.dtype == torch.float64 else each.dtype)

    return tree_map(up, outputs)
