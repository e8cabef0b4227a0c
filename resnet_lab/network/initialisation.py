"""Initial weights that depend on a parameter's name and the seed alone.

So adding a component to a network leaves every other initial weight as it was, and two arms of a study differ only in
what was changed.
"""

from collections.abc import Callable, Mapping
from math import prod, sqrt

import torch
from torch import Tensor, nn

from resnet_lab.core.seeds import named_seed

ATTENTIONS = frozenset({"attn", "output_attn", "inner_attn"})
"""Names of the submodules whose own `reset_parameters` are left to decide."""


RELU_GAIN = sqrt(2)


def gain(make_activation: Callable[[], nn.Module]) -> float:
    """1 / sqrt(E[f(z)^2]) for z standard normal: sqrt(2) for ReLU, as in He et al. 2015, arXiv:1502.01852, eq. 10."""
    z = torch.linspace(-12, 12, 24_001, dtype=torch.float64)
    density = torch.exp(-z.square() / 2)
    with torch.no_grad():
        f = make_activation().double()(z.clone().view(1, 1, 1, -1)).view(-1)
    return sqrt(density.sum().item() / (density * f.square()).sum().item())


@torch.no_grad()
def initialise(model: nn.Module, seed: int, gains: Mapping[str, float], *, zero_init_residual: bool = False) -> None:
    """Set every parameter of `model` in place.

    Convolutions outside attentions: normal with standard deviation gain / sqrt(fan_out), where `gains` maps each top
    level child's name to its gain. All else: the module's own `reset_parameters`, seeded by name.

    Args:
        zero_init_residual: set the weight of each block's `last_norm` to zero (arXiv:1706.02677, section 5.1).
    """
    with torch.random.fork_rng(devices=[]):
        for name, module in model.named_modules():
            torch.default_generator.manual_seed(named_seed(seed, name))  # torch.manual_seed formats the stack each time
            if isinstance(module, nn.Conv2d) and not ATTENTIONS & set(name.split(".")):
                fan_out = module.out_channels * prod(module.kernel_size) / module.groups
                nn.init.normal_(module.weight, std=gains.get(name.split(".")[0], 1.0) / sqrt(fan_out))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif callable(reset := getattr(module, "reset_parameters", None)):
                reset()
    if zero_init_residual:
        for weight in last_norm_weights(model):
            nn.init.zeros_(weight)


def last_norm_weights(model: nn.Module) -> list[Tensor]:
    """Weights that scale residual branches; none of blocks that end in no norm, or in one without a weight."""
    found = [getattr(getattr(module, "last_norm", None), "weight", None) for module in model.modules()]
    return [weight for weight in found if isinstance(weight, nn.Parameter)]
