"""Cost of a network: parameters and multiply-adds, per stage, without running it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from resnet_lab.network.builder import assemble, faults_of_plugins
from resnet_lab.network.model import ResNet
from resnet_lab.network.plugins import Registry, default_registry
from resnet_lab.network.spec import ModelSpec


@dataclass(frozen=True)
class StageCost:
    """One row: `stem`, `layer1` to `layerN` or `head`.

    Attributes:
        shape: of its output at batch 1, without the batch: (C, H, W), or (classes,) for the head.
        macs: multiply-adds of convolutions and matrix products.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    macs: int


@dataclass(frozen=True)
class NetworkCost:
    """A network's counts at the spec's input size and batch 1.

    Attributes:
        macs: multiply-adds; FLOPs = 2 x MACs.
        uncounted: operators that ran and are in no count: normalisation, activation, pooling, addition, gates.
        oversized_strides: of convolutions whose stride is larger than the map they get, such as "2 over 1 x 1".
    """

    stages: tuple[StageCost, ...]
    parameters: int
    macs: int
    uncounted: tuple[str, ...]
    oversized_strides: tuple[str, ...]
    notes: tuple[str, ...]


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the arithmetic operators that torch's counter has no formula for, and strides larger than their map."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.uncounted: set[str] = set()
        self.oversized_strides: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func._overloadpacket
        if packet not in flop_registry and not func.is_view and packet is not torch.ops.aten.empty:
            name = str(packet).removeprefix("aten.")
            self.uncounted.add("batch_norm" if "batch_norm" in name else name)
        if packet is torch.ops.aten.convolution:
            self._look_at_stride(*args[:2], stride=args[3])
        return func(*args, **(kwargs or {}))

    def _look_at_stride(self, x: Tensor, weight: Tensor, *, stride: Sequence[int]) -> None:
        size, kernel = x.shape[2:], weight.shape[2:]
        if max(kernel) > 1 and any(step > pixels for step, pixels in zip(stride, size, strict=False)):
            self.oversized_strides.add(f"{max(stride)} over {' x '.join(map(str, size))}")


def measure(spec: ModelSpec, registry: Registry | None = None) -> NetworkCost:
    """Count a network by torch's FlopCounterMode on the meta device; raises like `builder.build`."""
    return _measured(spec, registry or default_registry())


@lru_cache(maxsize=256)
def _measured(spec: ModelSpec, registry: Registry) -> NetworkCost:
    built = assemble(spec, registry, device="meta")
    model = built.model.eval()
    shapes: dict[str, tuple[int, ...]] = {}
    _record_shapes(model, shapes)
    x = torch.empty(1, spec.in_channels, spec.input_size, spec.input_size, device="meta")
    operators = _Operators()
    counter = FlopCounterMode(display=False)
    with faults_of_plugins(spec, registry, "counted"), torch.no_grad(), operators, counter:
        model(x)
    flops = {name: sum(counts.values()) for name, counts in counter.get_flop_counts().items()}
    total = counter.get_total_flops() // 2

    def macs(child: str) -> int:
        return int(flops.get(f"{type(model).__name__}.{child}", 0)) // 2

    rows = [StageCost("stem", shapes["maxpool"], _parameters(model.conv1, model.bn1, model.act1), macs("conv1"))]
    rows += [
        StageCost(name, shapes[name], _parameters(model.get_submodule(name)), macs(name)) for name in model.stage_names
    ]
    rows.append(StageCost("head", shapes["fc"], _parameters(model.avgpool, model.fc), macs("avgpool") + macs("fc")))
    return NetworkCost(
        stages=tuple(rows),
        parameters=_parameters(model),
        macs=total,
        uncounted=tuple(sorted(operators.uncounted)),
        oversized_strides=tuple(sorted(operators.oversized_strides)),
        notes=tuple(built.notes),
    )


def small_maps(spec: ModelSpec, cost: NetworkCost) -> tuple[str, ...]:
    """Remark on a stem for large images that leaves the last stage almost no pixels; none elsewhere.

    A 3x3 convolution over a map of at most 2 x 2 pixels multiplies more padding than pixels.
    """
    stem, *stages = (stage.shape[1:] for stage in cost.stages[:-1])
    if 4 * max(stem) > spec.input_size + 3 or max(stages[-1]) > 2:
        return ()
    sizes = [f"{height} x {width}" for height, width in (stem, *stages)]
    return (
        f"the stem reduces {spec.input_size} x {spec.input_size} pixels to {sizes[0]}, and the maps of the stages are "
        f"{', '.join(sizes[1:])}; for images this small give --stem cifar, which keeps all pixels at 16 times the MACs "
        "per stage, or a larger --size",
    )


def _record_shapes(model: ResNet, shapes: dict[str, tuple[int, ...]]) -> None:
    for name in ("maxpool", *model.stage_names, "fc"):

        def record(module: nn.Module, args: Any, output: Tensor, name: str = name) -> None:
            shapes[name] = tuple(output.shape[1:])

        model.get_submodule(name).register_forward_hook(record)


def _parameters(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())
