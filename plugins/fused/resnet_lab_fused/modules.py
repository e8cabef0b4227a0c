"""Modules that run the kernels where these can, and do what their base class does elsewhere.

Legend: N batch, C channels, H W pixels. Triton is imported when a network is first to run kernels: that takes a second.
"""

import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from resnet_lab.plugin_api import CBAM, BasicBlock, Bottleneck

TYPES = (torch.float32, torch.bfloat16, torch.float16)

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether kernels run on the processor, in Triton's interpreter, as in tests."""

with torch.device("meta"):  # where no random numbers are drawn
    MADE = {name: type(layer) for name, layer in CBAM(1).named_children()}
"""Classes of the layers that CBAM makes without a norm."""


@cache
def has_triton() -> bool:
    """Whether Triton is installed; the operators are then registered with torch."""
    if find_spec("triton") is None:
        return False
    for name in ("gates", "depthwise"):
        import_module(f"resnet_lab_fused.{name}")
    return True


def can_run(x: Tensor) -> bool:
    """Whether the kernels take a map: a channels-last one on CUDA, of a type that they know, and not a symbol."""
    return (
        isinstance(x, Tensor)
        and not torch.compiler.is_exporting()
        and not torch.jit.is_tracing()
        and (x.is_cuda or (INTERPRETED and x.device.type == "cpu"))
        and x.dtype in TYPES
        and x.numel() > 0
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def _is_plain(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether a module is of one of these classes, and has no hooks, which only calling it would run."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return type(module) in kinds and not any(hooks)


def _takes(attn: nn.Module) -> bool:
    """Whether the kernels compute an attention: CBAM with layers of the classes that it makes, and no norm."""
    return (
        _is_plain(attn, CBAM, FusedCBAM)
        and all(_is_plain(getattr(attn, name), made) for name, made in MADE.items())
        and attn.fc1.weight.dtype == attn.fc2.weight.dtype == attn.conv.weight.dtype == torch.float32
    )


def _knows(norm: nn.Module, pixels: int) -> bool:
    """Whether the kernels compute a norm of a batch of so many pixels; another one is run before them."""
    return (
        _is_plain(norm, nn.BatchNorm2d)
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
        and norm.weight.dtype == torch.float32
        and not (norm.training and pixels == 1)  # which it refuses
    )


def _activation(act: nn.Module) -> str:
    """Name that the kernels have for an activation, or `none`."""
    if _is_plain(act, nn.ReLU):
        return "relu"
    if _is_plain(act, nn.SiLU):
        return "silu"
    if _is_plain(act, nn.GELU) and act.approximate == "none":
        return "gelu"
    return "none"


def _update(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, pixels: int) -> None:
    """Running statistics as `nn.BatchNorm2d` keeps them, the variance that of the population."""
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (pixels / (pixels - 1)), norm.momentum)


def _gated_branch(*arguments: Any) -> tuple[Tensor, Tensor]:
    """`gates.GatedBranch`, which needs Triton to be imported."""
    from resnet_lab_fused.gates import GatedBranch

    return GatedBranch.apply(*arguments)


def _finished(block: BasicBlock | Bottleneck, out: Tensor, x: Tensor, act: nn.Module) -> Tensor | None:
    """Norm, CBAM, addition and activation; what the kernels do not know of them runs by itself. None for a CBAM."""
    norm, attn = block.last_norm, block.attn
    if not (can_run(out) and _takes(attn)):
        return None
    identity = x if block.downsample is None else block.downsample(x)
    if not can_run(identity) or identity.dtype != out.dtype:
        return act(attn(norm(out)) + identity)
    pixels = out.shape[0] * out.shape[2] * out.shape[3]
    weights = attn.fc1.weight, attn.fc2.weight, attn.conv.weight
    name = _activation(act)
    if not _knows(norm, pixels):
        out = _gated_branch(norm(out), identity, None, None, None, None, 0.0, *weights, name)[0]
    elif norm.training:
        out, affine = _gated_branch(out, identity, norm.weight, norm.bias, None, None, norm.eps, *weights, name)
        _update(norm, affine[0], affine[4], pixels)
    else:
        running = norm.running_mean, norm.running_var
        out = _gated_branch(out, identity, norm.weight, norm.bias, *running, norm.eps, *weights, name)[0]
    return act(out) if name == "none" else out


class FusedCBAM(CBAM):
    """CBAM by itself; the map is read three times and written once, and five times and once backward."""

    @staticmethod
    def suits(module: nn.Module) -> bool:
        """Whether there are kernels for it: it has no norm."""
        return _takes(module) and has_triton()

    def forward(self, x: Tensor) -> Tensor:
        if not (can_run(x) and _takes(self)):
            return super().forward(x)
        weights = self.fc1.weight, self.fc2.weight, self.conv.weight
        return _gated_branch(x, None, None, None, None, None, 0.0, *weights, "none")[0]


class FusedBasicBlock(BasicBlock):
    """A basic block whose end is fused: norm, CBAM, addition, activation."""

    @staticmethod
    def suits(module: nn.Module) -> bool:
        """Whether there are kernels for it: its branch ends in CBAM, without stochastic depth."""
        return _takes(module.attn) and isinstance(module.drop_path, nn.Identity) and has_triton()

    def finish(self, out: Tensor, x: Tensor) -> Tensor:
        finished = _finished(self, out, x, self.act2)
        return super().finish(out, x) if finished is None else finished


class FusedBottleneck(Bottleneck):
    """A bottleneck whose end is fused: norm, CBAM, addition, activation."""

    @staticmethod
    def suits(module: nn.Module) -> bool:
        """Whether there are kernels for it: its branch ends in CBAM, without stochastic depth."""
        return _takes(module.attn) and isinstance(module.drop_path, nn.Identity) and has_triton()

    def finish(self, out: Tensor, x: Tensor) -> Tensor:
        finished = _finished(self, out, x, self.act3)
        return super().finish(out, x) if finished is None else finished


class FusedDepthwise(nn.Conv2d):
    """A depthwise 3x3 convolution with stride 1 or 2; backward, the gradients of map and weights share their reads."""

    @staticmethod
    def suits(module: nn.Module) -> bool:
        """Whether there are kernels for it: a convolution as `--conv depthwise` and `separable` make them."""
        return (
            module.in_channels == module.out_channels == module.groups
            and module.groups > 1
            and module.kernel_size == (3, 3)
            and module.stride in ((1, 1), (2, 2))
            and module.padding == (1, 1)
            and module.dilation == (1, 1)
            and module.padding_mode == "zeros"
            and has_triton()
        )

    def forward(self, x: Tensor) -> Tensor:
        if not (can_run(x) and self.weight.dtype == torch.float32):
            return super().forward(x)
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        elif x.dtype != self.weight.dtype:
            return super().forward(x)
        return torch.ops.resnet_lab_fused.depthwise(x, self.weight, self.bias, self.stride[0])
