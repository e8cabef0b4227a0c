"""Everything a plugin may import; the rest of the package, but for `resnet_lab.testing`, is private to the program.

A plugin that needs a certain version of this declares it in a line of its module, `requires_api = 1`.
"""

from resnet_lab.core.errors import ConfigError, DataError, SpecError
from resnet_lab.core.images import ImageSet
from resnet_lab.core.tracking import RunEnd, RunStart, Tracker
from resnet_lab.network.builtin.attentions import CBAM
from resnet_lab.network.hookspecs import (
    API_VERSION,
    Register,
    RegisterConvolution,
    RegisterKernels,
    RegisterNorm,
    hookimpl,
)
from resnet_lab.network.model import BasicBlock, Bottleneck, Parts, ShortcutParts, StemParts
from resnet_lab.network.pooling import channel_max, channel_mean, column_mean, pixel_max, pixel_mean, row_mean

__all__ = [
    "API_VERSION",
    "CBAM",
    "BasicBlock",
    "Bottleneck",
    "ConfigError",
    "DataError",
    "ImageSet",
    "Parts",
    "Register",
    "RegisterConvolution",
    "RegisterKernels",
    "RegisterNorm",
    "RunEnd",
    "RunStart",
    "ShortcutParts",
    "SpecError",
    "StemParts",
    "Tracker",
    "channel_max",
    "channel_mean",
    "column_mean",
    "hookimpl",
    "pixel_max",
    "pixel_mean",
    "row_mean",
]
