"""Normalisations over N C H W."""

from torch import Tensor, nn

from resnet_lab.core.errors import SpecError
from resnet_lab.network.hookspecs import RegisterNorm, hookimpl


def batch(channels: int, *, momentum: float = 0.1, eps: float = 1e-5) -> nn.Module:
    """Batch normalisation over N H W: Ioffe and Szegedy 2015, arXiv:1502.03167."""
    return nn.BatchNorm2d(channels, eps=eps, momentum=momentum)


def group(channels: int, *, groups: int = 32, eps: float = 1e-5) -> nn.Module:
    """Group normalisation over H W and the channels of a group: Wu and He 2018, arXiv:1803.08494.

    Raises:
        SpecError: the groups do not divide the channels.
    """
    if groups < 1 or channels % groups:
        raise SpecError(f"norm group(groups={groups}) does not divide {channels} channels; choose a divisor of them")
    return nn.GroupNorm(groups, channels, eps=eps)


class ChannelLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel, as in ConvNeXt (arXiv:2201.03545, section 2.6)."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)  # N C H W -> N H W C
        x = super().forward(x)
        return x.permute(0, 3, 1, 2)


def layer(channels: int, *, eps: float = 1e-6) -> nn.Module:
    """Layer normalisation over the channels of each pixel."""
    return ChannelLayerNorm(channels, eps=eps)


def none(channels: int) -> nn.Module:
    """No norm; the convolution before it gets a bias."""
    return nn.Identity()


@hookimpl
def register_norms(register: RegisterNorm) -> None:
    for factory in (batch, group, layer):
        register(factory.__name__, factory)
    register("none", none, adds_bias=False)
