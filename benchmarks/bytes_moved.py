"""Bytes that a block of ResNet-50 moves in a training step: eager, compiled, and with the plugin `fused` in both.

usage: python benchmarks/bytes_moved.py OUT.json [BATCH] [STAGE ...]

Nothing is timed, and no GPU is needed. Each is the second block of a stage at 224 pixels, forward and backward, in bf16
by autocast, channels-last, with GELU and CBAM:

- eager: every operator by itself, its inputs and outputs once.
- compiled: torch's own compiler (joint graph, min-cut partition, inductor's schedule) for an H200 that is pretended;
  its count of what each of its kernels reads and writes, every buffer once. Convolutions are one kernel forward and
  one backward there.
- with the plugin: the same for all else, and for the plugin's kernels every load and store as Triton's interpreter
  carries them out, also those that a cache serves. One image and two are counted, which gives any number.

The block's own three convolutions, which are the same in all of these if they are dense, are counted by a formula too.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import resnet_lab
from resnet_lab.device.kernels import take_kernels
from resnet_lab.network import default_registry

STAGES = {"layer1": 56, "layer2": 28, "layer3": 14, "layer4": 7}
"""Pixels along a side of each stage's maps, for images of 224."""

PARTS = {"dense": {"act": "gelu", "attn": "cbam"}, "depthwise": {"act": "gelu", "attn": "cbam", "conv": "depthwise"}}

WAYS = ("eager", "compiled", "fused, eager", "fused, compiled")


class Operators(TorchDispatchMode):
    """Counts the bytes of each operator's inputs and outputs; views move none, and the plugin's count themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.namespace == "aten" and not func.is_view and "empty" not in func.name():
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return result


def block_of(stage: str, parts: dict[str, str]) -> nn.Module:
    block: nn.Module = getattr(resnet_lab.build("resnet50", **parts), stage)[1]
    return block


def fake_step(block: nn.Module, batch: int, side: int) -> tuple[FakeTensorMode, dict[str, Tensor], Tensor]:
    """Parameters and input of a block without values."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    channels = block.conv1.in_channels
    with mode:
        weights = {
            name: torch.empty_like(each, memory_format=torch.channels_last if each.ndim == 4 else torch.preserve_format)
            for name, each in block.state_dict().items()
        }
        learned = dict(block.named_parameters())
        weights = {name: each.requires_grad_(name in learned) for name, each in weights.items()}
        x = torch.empty(batch, channels, side, side, dtype=torch.bfloat16, memory_format=torch.channels_last)
    return mode, weights, x.requires_grad_()


def called(block: nn.Module, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        out: Tensor = torch.func.functional_call(block, weights, (x,))
    return out


def convolutions(block: nn.Module, batch: int, side: int) -> int:
    """Bytes of the block's own convolutions: forward x, w and y; backward both gradients from x, w and that of y."""
    found = [module for name, module in block.named_modules() if isinstance(module, nn.Conv2d) and "attn" not in name]
    return sum(
        2 * (batch * side**2 * (3 * each.in_channels + 2 * each.out_channels) + 3 * each.weight.numel())
        for each in found
    )


def eager(block: nn.Module, batch: int, side: int) -> int:
    mode, weights, x = fake_step(block, batch, side)
    with mode, Operators() as operators:
        out = called(block, weights, x)
        out.backward(torch.empty_like(out))
    return operators.bytes


def graphs(block: nn.Module, batch: int, side: int) -> dict[str, tuple[torch.fx.GraphModule, list[Any]]]:
    """The graphs of a step as torch's compiler has them, with their inputs."""
    from torch._functorch.aot_autograd import aot_function
    from torch._functorch.partitioners import min_cut_rematerialization_partition
    from torch._inductor.decomposition import select_decomp_table
    from torch._inductor.fx_passes.joint_graph import joint_graph_passes

    found: dict[str, tuple[torch.fx.GraphModule, list[Any]]] = {}

    def keep(name: str) -> Callable[..., torch.fx.GraphModule]:
        def compiler(graph: torch.fx.GraphModule, inputs: list[Any]) -> torch.fx.GraphModule:
            found[name] = graph, inputs
            return graph

        return compiler

    def partition(graph: torch.fx.GraphModule, *args: Any, **options: Any) -> Any:
        joint_graph_passes(graph)
        return min_cut_rematerialization_partition(graph, *args, compiler="inductor", **options)

    mode, weights, x = fake_step(block, batch, side)
    with mode, mock.patch.object(torch.compiler, "is_compiling", return_value=True):
        compiled = aot_function(
            lambda weights, x: called(block, weights, x),
            fw_compiler=keep("forward"),
            bw_compiler=keep("backward"),
            partition_fn=partition,
            decompositions=select_decomp_table(),
        )
        compiled(weights, x).sum().backward()
    return found


def compiled(block: nn.Module, batch: int, side: int) -> int:
    """Bytes by inductor's schedule of both graphs; those of the plugin's operators are left out."""
    total = 0
    found = graphs(block, batch, side)
    with pretended_gpu():
        for name, (graph, inputs) in found.items():
            for node, nbytes in scheduled(*on_gpu(graph, inputs), is_backward=name == "backward"):
                kernel = getattr(getattr(node, "node", None), "python_kernel_name", None) or ""
                total += 0 if "resnet_lab_fused" in kernel else nbytes
    return total


def on_gpu(graph: torch.fx.GraphModule, inputs: list[Any]) -> tuple[torch.fx.GraphModule, list[Any], FakeTensorMode]:
    """The same graph for tensors on a GPU, with channels-last convolutions, as cuDNN's."""
    from torch.fx.passes.fake_tensor_prop import FakeTensorProp

    mode = FakeTensorMode(allow_non_fake_inputs=True)
    for node in graph.graph.nodes:
        if "device" in node.kwargs:
            node.kwargs = {**node.kwargs, "device": torch.device("cuda:0")}
    graph.recompile()
    with mode:
        moved = [
            torch.empty_strided(each.shape, each.stride(), dtype=each.dtype, device="cuda:0")
            if isinstance(each, Tensor)
            else each
            for each in inputs
        ]
        FakeTensorProp(graph, mode).propagate_dont_convert_inputs(*moved)
    return graph, moved, mode


def scheduled(
    graph: torch.fx.GraphModule, inputs: list[Any], mode: FakeTensorMode, *, is_backward: bool
) -> Iterator[tuple[Any, int]]:
    """Kernels of inductor's schedule, with the bytes that it counts for each."""
    from torch._inductor.debug import DebugContext
    from torch._inductor.fx_passes.post_grad import post_grad_passes, view_to_reshape
    from torch._inductor.graph import GraphLowering
    from torch._inductor.virtualized import V

    view_to_reshape(graph)
    with V.set_fake_mode(mode), mode:
        post_grad_passes(graph, False)
        lowering = GraphLowering(graph, example_inputs=inputs, is_backward=is_backward)
        with V.set_graph_handler(lowering), DebugContext():
            lowering.run(*inputs)
            lowering._update_scheduler()
            for node in lowering.scheduler.nodes:
                yield node, node.get_read_write_buffers_sizes()


@contextlib.contextmanager
def pretended_gpu() -> Iterator[None]:
    """Have inductor schedule for an H200."""
    import torch._subclasses.fake_tensor as fake
    from torch._dynamo.device_interface import CudaInterface

    properties = SimpleNamespace(
        name="H200",
        major=9,
        minor=0,
        multi_processor_count=132,
        max_threads_per_multi_processor=2048,
        regs_per_multiprocessor=65536,
        warp_size=32,
        total_memory=141 * 2**30,
        gcnArchName="",
        shared_memory_per_block=49152,
        shared_memory_per_block_optin=232448,
        shared_memory_per_multiprocessor=233472,
        L2_cache_size=50 * 2**20,
    )
    answers: dict[str, Callable[..., Any]] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_capability": lambda device=None: (9, 0),
        "get_device_properties": lambda device=None: properties,
        "get_device_name": lambda device=None: "H200",
        "_lazy_init": lambda: None,
    }
    interface = {
        "get_device_properties": lambda device=None: properties,
        "get_compute_capability": lambda device=None: 90,
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "is_triton_capable": lambda device=None: True,
        "raise_if_triton_unavailable": lambda device=None: None,
    }
    with contextlib.ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, answer))
        for name, answer in interface.items():
            stack.enter_context(mock.patch.object(CudaInterface, name, staticmethod(answer)))
        worker = {name: interface[name] for name in ("get_device_properties", "current_device")}
        for name, answer in worker.items():
            stack.enter_context(mock.patch.object(CudaInterface.Worker, name, staticmethod(answer)))
        stack.enter_context(mock.patch("torch._inductor.scheduler.has_triton", return_value=True))
        stack.enter_context(mock.patch.object(fake, "init_gpu_context", return_value=None))
        stack.enter_context(mock.patch.object(FakeTensorMode, "avoid_device_init", property(lambda mode: True)))
        stack.enter_context(
            mock.patch.object(torch._C, "_select_conv_backend", return_value=torch._C._ConvBackend.Cudnn)
        )
        stack.enter_context(
            mock.patch.object(torch._C, "_conv_determine_backend_memory_format", return_value=torch.channels_last)
        )
        yield


def with_plugin(block: nn.Module) -> nn.Module:
    """The block with the plugin's kernels, as a training on CUDA has it."""
    take_kernels(block, default_registry().kernels.values())
    return block


def of_kernels(block: nn.Module, batch: int, side: int, parts: dict[str, str]) -> int:
    """Bytes of the plugin's kernels, counted in another process, as the interpreter has to be chosen from the start."""
    sizes = block.conv3.out_channels, block.attn.fc1.out_channels, side
    width = block.conv3.in_channels if "conv" in parts else 0
    told = subprocess.run(
        [sys.executable, __file__, "--kernels", *map(str, (*sizes, width))],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        stdout=subprocess.PIPE,
        check=True,
    )
    one, two = json.loads(told.stdout)
    return int(one + (batch - 1) * (two - one))


def kernels(number: int, channels: int, hidden: int, side: int, width: int) -> int:
    """Bytes of the plugin's kernels for a number of images, counted as they run in Triton's interpreter."""
    from resnet_lab_fused.depthwise import depthwise
    from resnet_lab_fused.gates import GatedBranch

    def map_of(size: int) -> Tensor:
        values = torch.randn(number, size, side, side, generator=torch.Generator().manual_seed(0))
        return values.to(torch.bfloat16, memory_format=torch.channels_last).requires_grad_()

    def weights(*shape: int) -> Tensor:
        return torch.ones(shape, requires_grad=True)

    layers = weights(hidden, channels, 1, 1), weights(channels, hidden, 1, 1), weights(1, 2, 7, 7)
    with interpreted() as counted:
        norm = weights(channels), weights(channels), None, None, 1e-5
        out, _ = GatedBranch.apply(map_of(channels), map_of(channels), *norm, *layers, "gelu")
        out.backward(torch.ones_like(out))
        if width:
            out = depthwise(map_of(width), weights(width, 1, 3, 3), None, 1)
            out.backward(torch.ones_like(out))
    return counted.total()


@contextlib.contextmanager
def interpreted() -> Iterator[Counter[str]]:
    """Count the bytes that interpreted kernels load and store."""
    from triton.runtime.interpreter import InterpreterBuilder

    count: Counter[str] = Counter()

    def counting(method: str, mask_at: int) -> Any:
        original = getattr(InterpreterBuilder, method)

        def wrapper(self: Any, pointers: Any, *args: Any) -> Any:
            count[method] += int(args[mask_at].data.sum()) * pointers.get_element_ty().primitive_bitwidth // 8
            return original(self, pointers, *args)

        return mock.patch.object(InterpreterBuilder, method, wrapper)

    with counting("create_masked_load", 0), counting("create_masked_store", 1):
        yield count


def main(out: str, batch: str = "32", *stages: str) -> None:
    """Count every case, and write after each."""
    content: dict[str, Any] = {"torch": torch.__version__, "batch": int(batch), "blocks": {}}
    for convolution, parts in PARTS.items():
        for stage in stages or STAGES:
            images, side = int(batch), STAGES[stage]
            plain, fused = block_of(stage, parts), with_plugin(block_of(stage, parts))
            own = of_kernels(fused, images, side, parts)
            with mock.patch("resnet_lab_fused.modules.INTERPRETED", True):  # or kernels would be for CUDA alone
                beside = eager(fused, images, side), compiled(fused, images, side)
            counts = eager(plain, images, side), compiled(plain, images, side), *(own + each for each in beside)
            row = {
                **dict(zip(WAYS, counts, strict=True)),
                "kernels": own,
                "convolutions": convolutions(plain, images, side),
            }
            content["blocks"][f"{stage}, {convolution} 3x3"] = row
            others = {way: row[way] - row["convolutions"] for way in WAYS}
            print(
                f"{stage}, {convolution}:",
                *(f"{name} {count / 1e6:.1f} MB;" for name, count in row.items()),
                f"fused / compiled {row['fused, compiled'] / row['compiled']:.3f},",
                f"without convolutions {others['fused, compiled'] / others['compiled']:.3f}",
                flush=True,
            )
            Path(out).write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "--kernels":
        print(json.dumps([kernels(number, *map(int, sys.argv[2:])) for number in (1, 2)]))
    else:
        main(*sys.argv[1:])
