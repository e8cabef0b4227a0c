"""A kind of component that the program does not have, in one file: run it, and it takes the program's commands.

Its components scale the residual branch of each channel; `scaled` is a block that has a place for one.
"""

import sys

from resnet_lab.network import hookspecs, kinds

kinds.KINDS["scale"] = kinds.Kind(
    name="scale",
    slot="scale",
    words="scale",
    title="Scale of the residual branch",
    places=("block",),
    default="one",
    given=("channels",),
    traits={"adds_bias": False},
    needs_place=False,
    hint="keep the shape",
    builtin=__name__,
)


@hookspecs.hookspec
def register_scales(register):
    """Scales: `factory(channels) -> Module`, (N, channels, H, W) to the same shape."""


hookspecs.register_scales = register_scales

import torch  # noqa: E402 - the table first
from torch import nn  # noqa: E402

from resnet_lab.network.model import BasicBlock  # noqa: E402
from resnet_lab.plugin_api import hookimpl  # noqa: E402


class Layer(nn.Module):
    """One weight per channel: Touvron et al. 2021, arXiv:2103.17239, equation 3."""

    def __init__(self, channels: int, *, start: float = 0.1) -> None:
        super().__init__()
        self.start = start
        self.weight = nn.Parameter(torch.empty(channels, 1, 1))
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.constant_(self.weight, self.start)

    def forward(self, x):
        return self.weight * x


class Scaled(BasicBlock):
    def __init__(self, in_channels, width, out_channels, stride, parts):
        super().__init__(in_channels, width, out_channels, stride, parts)
        self.bn2 = nn.Sequential(self.bn2, parts.more["scale"](out_channels))


def one(channels: int) -> nn.Module:
    """No scale."""
    return nn.Identity()


@hookimpl(specname="register_scales")
def scales(register):
    register("one", one)
    register("learned", Layer)


@hookimpl(specname="register_blocks")
def blocks(register):
    register("scaled", Scaled)


def shortened():
    """Neither exact times nor checks that take seconds."""
    import pytest

    from resnet_lab.testing import checking
    from tests.bench.short import shorten

    shorten(pytest.MonkeyPatch())
    kept = (
        "shapes",
        "traits",
        "spec",
        "gradient",
        "network",
        "parts",
        "macs",
        *checking.SAME,
        "fixed_state",
        "initial_weights",
    )
    checking.MODULE_CHECKS = tuple(each for each in checking.MODULE_CHECKS if each.name in kept)


if __name__ == "__main__":
    from resnet_lab.cli import main

    torch.set_num_threads(1)
    shortened()
    for line in sys.stdin.read().splitlines():
        print(f"$ {line}", flush=True)
        try:
            main(line.split(" "))
        except SystemExit as end:
            print(f"exit code {end.code or 0}", flush=True)
