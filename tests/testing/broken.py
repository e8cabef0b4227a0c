"""Components that break one promise each, and what the kit says of it."""

import copy
import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_lab.plugin_api import Parts, ShortcutParts, StemParts


class Broken(NamedTuple):
    kind: str
    factory: object
    check: str
    message: str
    traits: dict[str, bool] = {}  # noqa: RUF012 (never changed)


class Gate(nn.Module):
    """Sound: x * sigmoid(weight * mean), and the base of those that are not."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x * (self.weight * x.mean((2, 3), keepdim=True)).sigmoid()


class Halves(Gate):
    def forward(self, x: Tensor) -> Tensor:
        pooled = F.avg_pool2d(F.pad(super().forward(x), (0, 1, 0, 1)), 2)
        return F.interpolate(pooled, scale_factor=2.0)


class ForgetsStride(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int, groups: int, bias: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class MakesItsLayer(Gate):
    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "conv"):
            self.conv = nn.Conv2d(x.shape[1], x.shape[1], 1)
        return self.conv(super().forward(x))


class MakesItsBuffer(Gate):
    def forward(self, x: Tensor) -> Tensor:
        if self.training and "seen" not in self._buffers:
            self.register_buffer("seen", torch.zeros(1))
        return super().forward(x)


class AlwaysDrops(Gate):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(super().forward(x), 0.1, training=True)


class DrawsInEvaluation(Gate):
    def forward(self, x: Tensor) -> Tensor:
        torch.rand(1)
        return super().forward(x)


class DrawsFromNumpy(Gate):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (np.random.rand() if self.training else 1.0)


class Float32(Gate):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).float()


class Flattens(Gate):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).flatten(2).reshape(x.shape).contiguous()


class _TwiceTheGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return 2 * gradient


class WrongGradient(Gate):
    def forward(self, x: Tensor) -> Tensor:
        return _TwiceTheGradient.apply(super().forward(x))


class Unused(Gate):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.spare = nn.Parameter(torch.zeros(channels))


class Dead(Gate):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.spare = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.spare * 0


class CountsImages(Gate):
    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return out * 1.0 if x.shape[0] % 2 else out


class BranchesOnValues(Gate):
    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return out if x.abs().amax() > 0 else x


class Overwrites(Gate):
    def forward(self, x: Tensor) -> Tensor:
        gate = (self.weight * x.mean((2, 3), keepdim=True)).sigmoid()
        return x.mul_(gate)


class DrawsWhenMade(Gate):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.start = nn.Parameter(torch.randn(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.start


class LooksAtTheBatch(Gate):
    def forward(self, x: Tensor) -> Tensor:
        return x * (self.weight * x.mean((0, 2, 3), keepdim=True)).sigmoid()


class CountsCalls(Gate):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        return super().forward(x)


class Typed(Gate):
    """A matrix product of its own, which autocast does not see."""

    def forward(self, x: Tensor) -> Tensor:
        gate = self.weight.squeeze(2) * torch.ones_like(x[0, :, :1, 0])
        if torch.is_autocast_enabled("cpu"):
            gate = gate + torch.full_like(gate, math.inf)
        return super().forward(x) * gate.unsqueeze(2).tanh()


class Hidden(Gate):
    """Its factor is drawn under the seed, kept, and in no state dict."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.factor = 1 + torch.initial_seed() % 1009 / 1009

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.factor


class Shares(Gate):
    def __deepcopy__(self, memo: object) -> "Shares":
        return copy.copy(self)


class Forgets(nn.Module):
    """Its parameter has a default that cannot be written in a spec."""

    def __init__(self, channels: int, *, scale: float | None = None) -> None:
        super().__init__()
        self.scale = scale or 2.0

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Pools(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean(-1, keepdim=True).sigmoid()


def spatial(in_channels: int, out_channels: int, stride: int, groups: int, bias: bool) -> nn.Module:
    return nn.Conv2d(in_channels, out_channels, 3, stride, 1, groups=in_channels, bias=bias)


def dense(in_channels: int, out_channels: int, stride: int, groups: int, bias: bool) -> nn.Module:
    return nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=bias)


def biased(in_channels: int, out_channels: int, stride: int, groups: int, bias: bool) -> nn.Module:
    return nn.Conv2d(in_channels, out_channels, 3, stride, 1, groups=groups)


class Scale(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Explodes(nn.Module):
    """Finite in evaluation; trained, its root has an endless gradient at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[2] == 16:
            x = x + (x - x).abs().sqrt()
        return x


TALE = "channels 64, input 2x64x8x8"


class ForgetsAttention(nn.Module):
    """A block that makes an attention for its output and leaves it out."""

    def __init__(self, in_channels: int, width: int, out_channels: int, stride: int, parts: Parts) -> None:
        super().__init__()
        self.conv = parts.conv(in_channels, out_channels, stride, must_mix=True)
        self.bn = parts.norm(out_channels)
        self.downsample = parts.shortcut(in_channels, out_channels, stride)
        self.act = parts.act()
        self.output_attn = parts.output_attn(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        return self.act(self.bn(self.conv(x)) + identity)


def forgets_stride(in_channels: int, out_channels: int, stride: int, parts: ShortcutParts) -> nn.Module:
    return nn.Sequential(parts.pointwise(in_channels, out_channels, 1), parts.norm(out_channels))


class Odd(nn.Module):
    """A downsampling that keeps the odd pixels, of which there may be one less."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, 1 :: self.stride, 1 :: self.stride]


def unpadded(in_channels: int, out_channels: int, parts: StemParts) -> nn.Module:
    return parts.conv(in_channels, out_channels, 3, 2, padding=0)


BROKEN = {
    "pixels left": Broken("pool", lambda channels: nn.Identity(), "shapes", "the output is (1, 1, 7, 5), expected "
        "(1, 1, 1, 1) [channels 1, input 1x1x7x5]; hint: reduce all pixels to one: pixel_mean(x)"),
    "odd pixels": Broken("downsample", Odd, "shapes", "the output is (1, 1, 0, 0), expected (1, 1, 1, 1) [channels 1, "
        "stride 2, input 1x1x1x1]; hint: pad so that the output has ceil(H / stride) rows"),
    "shortcut's stride": Broken("shortcut", forgets_stride, "shapes", "the output is (1, 3, 7, 5), expected "
        "(1, 3, 4, 3) [in_channels 3, out_channels 3, stride 2, input 1x3x7x5]; hint: end at out_channels"),
    "unpadded stem": Broken("stem", unpadded, "shapes", "raises RuntimeError: Calculated padded input size"),
    "idle part": Broken("block", ForgetsAttention, "parts", "parts.output_attn is made and never applied "
        "[layer1.0.output_attn]; hint: apply it in forward, or do not make it: then the program refuses a choice that "
        "would do nothing"),
    "odd sizes": Broken("attention", Halves, "shapes", "the output is (1, 1, 2, 2), expected (1, 1, 1, 1) [channels 1, "
        "input 1x1x1x1]; hint: a gate must broadcast over (N, C, H, W); pool with pixel_mean(x)"),
    "stride": Broken("convolution", ForgetsStride, "shapes", "the output is (1, 1, 7, 5), expected (1, 1, 4, 3) "
        "[in_channels 1, out_channels 1, stride 2, groups 1, bias False, input 1x1x7x5]; hint: pad so that the output "
        "has ceil(H / stride) rows: padding = dilation * (kernel_size - 1) // 2, and pass the stride on"),
    "no module": Broken("attention", lambda channels: 3, "shapes", "the factory gave int, not a torch.nn.Module "
        "[channels 1, input 1x1x1x1]"),
    "random in evaluation": Broken("attention", AlwaysDrops, "determinism", "in evaluation it draws from a global "
        f"generator of random numbers [eval, {TALE}]; hint: draw random numbers in training alone, with torch's own "
        "functions"),
    "draws in evaluation": Broken("attention", DrawsInEvaluation, "determinism", "in evaluation it draws from a "
        f"global generator of random numbers [eval, {TALE}]; hint: draw random numbers in training alone, with torch's "
        "own functions"),
    "numpy's generator": Broken("attention", DrawsFromNumpy, "determinism", "in training the same input and torch "
        f"seed give another output [train, {TALE}]; hint: draw random numbers in training alone, with torch's own "
        "functions"),
    "float32": Broken("attention", Float32, "dtype", f"the output is float32 [bfloat16, {TALE}]; hint: where float32 "
        "is needed inside, end with .to(x.dtype)"),
    "layout": Broken("attention", Flattens, "channels_last", "the output of a channels-last input is not "
        f"channels-last [{TALE}]; hint: avoid view, reshape, flatten and contiguous() on the feature map; reduce with "
        "pixel_mean(x)"),
    "gradient": Broken("attention", WrongGradient, "gradient", "the gradient is wrong: GradcheckError: Jacobian "
        "mismatch for output 0 with respect to input 0, [float64, channels 8, input 2x8x4x4]; hint: let autograd "
        "derive it, or correct the backward of the autograd.Function"),
    "unused": Broken("attention", Unused, "parameters", f"parameter 'spare' gets no gradient [train, {TALE}]; hint: "
        "use it in forward, or do not register it"),
    "dead": Broken("attention", Dead, "parameters", "parameter 'spare' gets a gradient that is zero everywhere "
        f"[train, {TALE}]; hint: use it in forward, or do not register it"),
    "number of images": Broken("attention", CountsImages, "export", "torch.export raises"),
    "values": Broken("attention", BranchesOnValues, "compile", "torch.compile(fullgraph=True) raises"),
    "layer in forward": Broken("attention", MakesItsLayer, "fixed_state", "a forward pass makes 'conv.bias' "
        f"[eval, {TALE}]; hint: make layers and buffers in __init__"),
    "buffer in forward": Broken("attention", MakesItsBuffer, "fixed_state", "a forward pass makes 'seen' "
        f"[train, {TALE}]; hint: make layers and buffers in __init__"),
    "overwrites": Broken("attention", Overwrites, "input_kept", f"it overwrites its input [{TALE}]; hint: use x * gate "
        "rather than x *= gate, and no inplace=True on x"),
    "random when made": Broken("attention", DrawsWhenMade, "initial_weights", "'start' starts at random, and "
        f"differently in two networks of one seed [{TALE}]; hint: define reset_parameters(), which draws it again; the "
        "program calls it under its own seed"),
    "batch": Broken("attention", LooksAtTheBatch, "train_eval", "in evaluation an image's output depends on the other "
        f"images of its batch [eval, {TALE}]; hint: keep running statistics for evaluation, or take them over one "
        "image"),
    "state": Broken("attention", CountsCalls, "train_eval", "in evaluation a forward pass changes 'calls' "
        f"[eval, {TALE}]; hint: change state in training alone, and in buffers"),
    "autocast": Broken("attention", Typed, "autocast", "outputs differ from the reference by"),
    "hidden state": Broken("attention", Hidden, "state_dict", "outputs differ after a round trip: something is not in "
        f"the state dict [{TALE}]; hint: register what the output depends on by nn.Parameter or register_buffer, each "
        "tensor once"),
    "shared copy": Broken("attention", Shares, "deep_copy", f"the copy shares tensors with the module [{TALE}]; hint: "
        "keep no tensor of a forward pass, no generator and no lambda as an attribute"),
    "default": Broken("attention", Forgets, "spec", "parameter 'scale' has the default None [checked_forgets]; hint: "
        "give each keyword-only parameter a default of its annotated type: bool, int, float, str or a Literal"),
    "not elementwise": Broken("activation", Pools, "elementwise", "shuffled values do not give the shuffled outputs "
        "[input 2x64x8x8]; hint: an activation is elementwise; what looks at channels or pixels is a norm or an "
        "attention"),
    "groups": Broken("convolution", dense, "traits", "with groups 2, an output channel depends on channels of the "
        "other group [in_channels 8, out_channels 8, stride 1, groups 2, bias False, input 1x8x8x8]; hint: pass groups "
        "on to the convolutions, or register it with takes_groups=False"),
    "bias": Broken("convolution", biased, "traits", "with bias True it has 584 parameters, with bias False 584 "
        "[in_channels 8, out_channels 8, stride 1, groups 1, bias True, input 1x8x8x8]; hint: pass bias on to the last "
        "convolution: it is True where no norm follows that adds one"),
    "mixes more": Broken("convolution", dense, "traits", "an output channel depends on other channels, and it was "
        "registered with mixes_channels=False [in_channels 8, out_channels 8, stride 1, groups 1, bias False, input "
        "1x8x8x8]; hint: register it without mixes_channels=False", {"mixes_channels": False, "takes_groups": False}),
    "adds no bias": Broken("norm", Scale, "traits", "it adds no bias (zeros stay zeros), and it was registered as "
        f"adding one [{TALE}]; hint: register it with adds_bias=False, so that the convolution before it gets a bias"),
    "adds a bias": Broken("norm", nn.BatchNorm2d, "traits", "it adds a bias (zeros do not stay zeros), and it was "
        f"registered with adds_bias=False [{TALE}]; hint: register it without adds_bias=False", {"adds_bias": False}),
    "explodes": Broken("attention", Explodes, "network", "after a training step"),
}  # fmt: skip
