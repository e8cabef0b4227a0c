"""Study ResNet architectures: the effects of changes to their parts, their certainty and their costs."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from resnet_lab.network import ModelSpec as ModelSpec
    from resnet_lab.network import build as build
    from resnet_lab.network import features as features
    from resnet_lab.network import load as load
    from resnet_lab.network import save as save
    from resnet_lab.network import zoo as zoo

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"network": ["ModelSpec", "build", "features", "load", "save", "zoo"]}
)
