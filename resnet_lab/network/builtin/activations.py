"""Activations. ReLUs work in place; where the gradient needs the input, that would cost a copy."""

from math import isfinite
from typing import Literal

import torch
from torch import Tensor, nn

from resnet_lab.core.errors import SpecError
from resnet_lab.network.hookspecs import Register, hookimpl


def relu() -> nn.Module:
    """max(0, x)."""
    return nn.ReLU(inplace=True)


def leaky_relu(*, slope: float = 0.01) -> nn.Module:
    """x where positive, else slope * x: Maas et al. 2013."""
    return nn.LeakyReLU(slope, inplace=slope >= 0)


def gelu(*, approximate: Literal["none", "tanh"] = "none") -> nn.Module:
    """x * P(Z <= x), exact or by the tanh formula: Hendrycks and Gimpel 2016, arXiv:1606.08415."""
    return nn.GELU(approximate=approximate)


def silu() -> nn.Module:
    """x * sigmoid(x): arXiv:1606.08415, section 2; studied as Swish in arXiv:1710.05941."""
    return nn.SiLU()


def mish() -> nn.Module:
    """x * tanh(softplus(x)): Misra 2019, arXiv:1908.08681."""
    return nn.Mish()


def hardswish() -> nn.Module:
    """x * relu6(x + 3) / 6: Howard et al. 2019, arXiv:1905.02244, section 5.2."""
    return nn.Hardswish()


class LearnedSlope(nn.Module):
    """x where positive, else a slope x that is learned for all values of the module: He et al. 2015, arXiv:1502.01852.

    Raises:
        SpecError: `slope` is not finite.
    """

    def __init__(self, *, slope: float = 0.25) -> None:
        super().__init__()
        if not isfinite(slope):
            raise SpecError(f"activation prelu(slope={slope}): the slope must be finite")
        self.slope = nn.Parameter(torch.tensor(float(slope)))  # without dimensions, so that bfloat16 stays bfloat16

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp_min(0) + self.slope * x.clamp_max(0)


@hookimpl
def register_activations(register: Register) -> None:
    for factory in (relu, leaky_relu, gelu, silu, mish, hardswish):
        register(factory.__name__, factory)
    register("prelu", LearnedSlope)
