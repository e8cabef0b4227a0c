"""Swish with a learned slope, for resnet-lab."""

from math import isfinite

import torch
from torch import Tensor, nn

from resnet_lab.plugin_api import Register, SpecError, hookimpl

requires_api = 1


class SwishBeta(nn.Module):
    """x * sigmoid(beta x), with one beta that is learned for all values of the module.

    Any shape to the same shape. x / 2 at beta = 0, SiLU at 1, towards ReLU as beta grows; below 0 it is the mirror
    image, x - f(x) of the positive one. Ramachandran et al. 2017, "Searching for Activation Functions",
    arXiv:1710.05941.

    Args:
        start: beta before training.

    Raises:
        SpecError: `start` is not finite.
    """

    def __init__(self, *, start: float = 1.0) -> None:
        super().__init__()
        if not isfinite(start):
            raise SpecError(f"activation swish_beta(start={start}): start must be finite")
        self.beta = nn.Parameter(torch.tensor(float(start)))  # without dimensions, so that bfloat16 stays bfloat16

    def forward(self, x: Tensor) -> Tensor:
        return x * (self.beta * x).sigmoid()


@hookimpl
def register_activations(register: Register) -> None:
    register("swish_beta", SwishBeta)
