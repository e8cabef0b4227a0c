"""Bytes that a block of ResNet-50 moves in a training step: eager, compiled, and with the plugin `fused` in both.

usage: python benchmarks/bytes_moved.py OUT.json [BATCH ...]

Nothing is timed, and no GPU is needed. Each is the second block of a stage at 224 pixels, forward and backward, in bf16
by autocast, channels-last, with GELU and CBAM:

- eager: every operator by itself, its inputs and outputs once.
- compiled: torch's own compiler (joint graph, min-cut partition, inductor's schedule) for an H200 that is pretended;
  its count of what each of its kernels reads and writes, every buffer once. Convolutions are one kernel forward and
  one backward there.
- with the plugin: the same for all else, and for the plugin's kernels every load and store, also those of vectors,
  which a cache serves. The plugin's tests find the same bytes in Triton's interpreter.

The block's own three convolutions, with the casts of their weights, are the same in all, and counted by a formula too.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from math import ceil
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


def block_of(stage: str) -> nn.Module:
    block: nn.Module = getattr(resnet_lab.build("resnet50", act="gelu", attn="cbam"), stage)[1]
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
    """Bytes of the block's own convolutions and of casts between float32 and bf16 of their weights and gradients.

    Forward x, w and y; backward both gradients from x, w and that of y.
    """
    found = [module for name, module in block.named_modules() if isinstance(module, nn.Conv2d) and "attn" not in name]
    return sum(
        2 * batch * side**2 * (3 * each.in_channels + 2 * each.out_channels) + (2 * 3 + 12) * each.weight.numel()
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


def of_kernels(block: nn.Module, batch: int, side: int) -> int:
    """Bytes that the plugin's kernels load and store: 13 passes over maps, and vectors as often as their loops do."""
    from resnet_lab_fused.gates import CHANNELS, CHUNK, SHORT

    pixels, channels = side**2, block.conv3.out_channels
    chunks, blocks, tiles = ceil(pixels / CHUNK), ceil(channels / CHANNELS), ceil(pixels / SHORT)
    maps = 13 * pixels * channels * 2
    return batch * (maps + 4 * channels * (26 * chunks + 3 * tiles) + 4 * pixels * (3 + 10 * blocks))


def counted(stage: str, batch: int) -> dict[str, int]:
    """Bytes of a block by each way, of the plugin's kernels, and of the convolutions."""
    side, plain, fused = STAGES[stage], block_of(stage), with_plugin(block_of(stage))
    own = of_kernels(fused, batch, side)
    counts = [eager(plain, batch, side), compiled(plain, batch, side)]
    with mock.patch("resnet_lab_fused.modules.INTERPRETED", True):  # or the kernels would be for CUDA alone
        counts += [own + eager(fused, batch, side), own + compiled(fused, batch, side)]
    return {
        **dict(zip(WAYS, counts, strict=True)),
        "kernels": own,
        "convolutions": convolutions(plain, batch, side),
    }


def main(out: str, *batches: str) -> None:
    """Count every case, and write after each."""
    content: dict[str, Any] = {"torch": torch.__version__, "blocks": {}}
    for batch in map(int, batches or ("32", "256")):
        for stage in STAGES:
            row = counted(stage, batch)
            content["blocks"][f"{stage}, batch {batch}"] = row
            ratio = row["fused, compiled"] / row["compiled"]
            others = (row["fused, compiled"] - row["convolutions"]) / (row["compiled"] - row["convolutions"])
            megabytes = ", ".join(f"{name} {count / 1e6:.1f} MB" for name, count in row.items())
            print(
                f"{stage}, batch {batch}: {megabytes}; ratio {ratio:.3f}, without convolutions {others:.3f}", flush=True
            )
            Path(out).write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
