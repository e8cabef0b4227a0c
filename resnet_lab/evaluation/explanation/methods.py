"""The methods of explanation by name."""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from resnet_lab.core.choices import MapMethod
from resnet_lab.evaluation.explanation.input_maps import IntegratedGradients, Occlusion
from resnet_lab.evaluation.explanation.layer_maps import GradCAM
from resnet_lab.evaluation.explanation.maps import MakeMaps

EXPLAINABLE: Mapping[MapMethod, MakeMaps] = MappingProxyType(
    {
        "grad-cam": partial(GradCAM, method="grad-cam"),
        "hires-cam": partial(GradCAM, method="hires-cam"),
        "occlusion": Occlusion,
        "integrated-gradients": IntegratedGradients,
    }
)
