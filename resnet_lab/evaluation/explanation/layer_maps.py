"""Grad-CAM and HiResCAM maps. Legend: N batch, C channels, H W pixels, K classes, h w positions of a layer.

Grad-CAM, Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2: with A the layer's output and y the class's logit,

    alpha_c = mean over positions of dy / dA_c        map = relu(sum over channels of alpha_c A_c)

HiResCAM, Draelos and Carin 2020, arXiv:2011.08891, equation 5, keeps the gradient of each position:

    map = relu(sum over channels of dy / dA_c * A_c)
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from types import MappingProxyType
from typing import cast

import torch
from captum.attr import LayerGradCam, LayerGradientXActivation
from torch import Tensor, nn

from resnet_lab.core.choices import LayerMethod
from resnet_lab.core.errors import ConfigError, nearest
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.device import Placement, choose, optimize_for_inference
from resnet_lab.evaluation.explanation.maps import Pass
from resnet_lab.network.model import ResNet

CHUNK = 16
"""Images that go through the layers after the explained one at a time: their outputs are kept for the gradient."""

AttributeLayer = Callable[[Tensor, Tensor], Tensor]
"""Input of the explained part and classes, shape (N,), to evidence at the layer's positions, shape (N, 1, h, w)."""


def _grad_cam(network: nn.Module, layer: nn.Module) -> AttributeLayer:
    captum = LayerGradCam(network, layer)
    return lambda x, classes: captum.attribute(x, classes)


def _hires_cam(network: nn.Module, layer: nn.Module) -> AttributeLayer:
    captum = LayerGradientXActivation(network, layer)
    return lambda x, classes: captum.attribute(x, classes).sum(1, keepdim=True)


LAYER_METHODS: Mapping[LayerMethod, Callable[[nn.Module, nn.Module], AttributeLayer]] = MappingProxyType(
    {"grad-cam": _grad_cam, "hires-cam": _hires_cam}
)


class GradCAM:
    """Maps of one network and layer, by Grad-CAM or HiResCAM.

    It works on a copy, so that the network keeps its mode, hooks and gradients; later changes of its weights do not
    reach the maps. What comes before the layer runs as in any inference, what comes after in float32, as a gradient in
    half precision would lose its small values.

    Args:
        layer: a name as in `model.get_submodule`; the last stage by default. Of a layer that runs more than once in a
            forward pass, the last time counts.
        method: a key of `LAYER_METHODS`.
        images: that are to come; None where that is not known.
        watcher: notified of compilation.

    Attributes:
        positions: height and width of the layer's output in the last forward pass.

    Raises:
        ConfigError: the network has no such layer.
    """

    def __init__(
        self,
        model: ResNet,
        placement: Placement,
        layer: str | None = None,
        *,
        method: LayerMethod = "grad-cam",
        images: int | None = None,
        watcher: Watcher = SILENT,
    ) -> None:
        self.layer = layer or model.stage_names[-1]
        self.positions: tuple[int, int] | None = None
        self._placement = placement
        stages = model.stage_names
        self._remedy = f"take a stage ({', '.join(stages)}), a block such as {stages[-1]}.0, or a convolution in one"
        _require_layer(model, self.layer)
        steps = _steps(model)
        names, modules = list(steps), list(steps.values())
        around = [name for name in names if self.layer.startswith(f"{name}.")]
        if around:  # the layer is a part of this step, which is run again for every map
            first = names.index(around[0])
            rest = deepcopy(nn.Sequential(*modules[first:]))
            explained = rest[0].get_submodule(self.layer.removeprefix(f"{around[0]}."))
        else:  # the layer ends with a step: a stage with its last block
            first = 1 + max(n for n, name in enumerate(names) if f"{name}.".startswith(f"{self.layer}."))
            explained = nn.Identity()
            rest = nn.Sequential(explained, *deepcopy(modules[first:]))
        explained.register_forward_hook(self._as_map)
        self._before = optimize_for_inference(nn.Sequential(*modules[:first]), placement, images, watcher=watcher)
        self._rest = placement.place(rest.eval().requires_grad_(False))
        self._attribute = LAYER_METHODS[method](self._rest, explained)

    def run(self, x: Tensor) -> Pass:
        """A forward pass, from which maps of any classes can be had.

        Args:
            x: normalised images on the device, shape (N, C, H, W).

        Raises:
            ConfigError: the layer's output is not a map, or it has none, as its parts run without it.
        """
        self.positions = None
        features = self._before(x)
        with torch.inference_mode(), self._placement.products():
            logits = [self._rest(few.clone()) for few in torch.split(features, CHUNK)]
        if self.positions is None:
            raise ConfigError(f"layer {self.layer!r} has no output of its own; {self._remedy}")
        return Pass(partial(self._evidence, features), torch.cat(logits), (x.shape[2], x.shape[3]))

    def _evidence(self, features: Tensor, classes: Tensor) -> Tensor:
        """Shape (N, 1, h, w), as large as the layer's output."""
        # the features come from inference mode, and their copies must not
        with torch.inference_mode(False), self._placement.products():
            parts = [
                self._attribute(few.clone(), targets).detach()
                for few, targets in zip(torch.split(features, CHUNK), torch.split(classes, CHUNK), strict=True)
            ]
        return torch.cat(parts)

    def _as_map(self, module: nn.Module, inputs: object, output: object) -> Tensor:
        """A copy of the layer's output, which no other layer overwrites or hands on besides."""
        if isinstance(output, Tensor) and output.ndim == 4:
            self.positions = output.shape[2], output.shape[3]
            return output.clone()
        shape = ", ".join(("N", *map(str, output.shape[1:]))) if isinstance(output, Tensor) else ""
        what = f"one of shape ({shape})" if shape else f"a {type(output).__name__}"
        raise ConfigError(f"layer {self.layer!r} has no map (N, C, H, W) as its output but {what}; {self._remedy}")


def grad_cam(
    model: ResNet,
    x: Tensor,
    classes: Tensor,
    layer: str | None = None,
    placement: Placement | None = None,
    *,
    method: LayerMethod = "grad-cam",
) -> Tensor:
    """Maps of one batch, shape (N, H, W): `GradCAM(...).run(x).maps(classes)`, on the CPU by default."""
    placement = placement or choose("cpu", "fp32", "off")
    return GradCAM(model, placement, layer, method=method).run(placement.layout(x)).maps(classes)


def _steps(model: ResNet) -> dict[str, nn.Module]:
    """The network as a chain of modules by name, each stage taken apart into its blocks."""
    steps = {name: cast(nn.Module, getattr(model, name)) for name in ("conv1", "bn1", "act1", "maxpool")}
    for stage in model.stage_names:
        steps |= {f"{stage}.{number}": block for number, block in model.get_submodule(stage).named_children()}
    return steps | {"avgpool": model.avgpool, "": nn.Flatten(), "dropout": model.dropout, "fc": model.fc}


def _require_layer(model: ResNet, layer: str) -> None:
    names = {name for name, _ in model.named_modules()} - {""}
    if layer in names:
        return
    like = [name for name in names - {"avgpool", "dropout", "fc"} if name.count(".") <= layer.count(".") + 1]
    raise ConfigError(
        f"the network has no layer {layer!r}; its stages are {', '.join(model.stage_names)}, their blocks "
        f"{model.stage_names[0]}.0 and so on; {nearest(layer, like)}"
    )
