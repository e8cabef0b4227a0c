"""A trained network's feature maps, for detection and segmentation. Legend: N batch, C channels, H W pixels.

Feature pyramids: Lin et al. 2017, arXiv:1612.03144. Dilation for stride: Yu and Koltun 2016, arXiv:1511.07122.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from resnet_lab.core.errors import ConfigError
from resnet_lab.core.run_folder import weights_of
from resnet_lab.network import checkpoint
from resnet_lab.network.builder import assemble, faults_of_plugins
from resnet_lab.network.checkpoint import Metadata
from resnet_lab.network.model import ResNet
from resnet_lab.network.plugins import Registry, default_registry
from resnet_lab.network.spec import ModelSpec

STEM = "act1"
"""The module whose output is the stem's map, before its pool."""

SIDE = 1024
"""Side in pixels of the image, without values, on which strides are counted."""


class FeatureExtractor(nn.Module):
    """The network up to the last map that is asked for: (N, C, H, W) to a dictionary of maps by layer.

    Its children are the network's own, in order and under their names, so that torchvision's
    `BackboneWithFPN` and `IntermediateLayerGetter` take it as they take a ResNet.

    Args:
        model: the network, whose modules are taken over.
        layers: of the maps.
        shapes: channels and stride of the maps of at least these layers.
        metadata: of the weights.

    Attributes:
        channels: C of each map by its layer, in the network's order.
        strides: pixels of the image per row and column of each map, by its layer.
        mean, std: by which images are normalised, x in [0, 1] to (x - mean) / std; empty where the weights have none.
    """

    def __init__(
        self, model: ResNet, layers: Sequence[str], shapes: dict[str, tuple[int, int]], metadata: Metadata
    ) -> None:
        super().__init__()
        wanted = [name for name in shapes if name in layers]
        self.channels = {name: shapes[name][0] for name in wanted}
        self.strides = {name: shapes[name][1] for name in wanted}
        self.mean, self.std, self.in_channels = metadata.mean, metadata.std, metadata.spec.in_channels
        for name in ("conv1", "bn1", STEM, "maxpool", *model.stage_names):
            self.add_module(name, cast(nn.Module, getattr(model, name)))
            if name == wanted[-1]:
                break

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = {}
        for name, module in self.named_children():
            x = module(x)
            if name in self.channels:
                maps[name] = x
        return maps

    def encoder(self) -> "Encoder":
        """These maps as segmentation_models.pytorch's encoders give them; raises `ConfigError` like `Encoder`."""
        return Encoder(self)


class Encoder(nn.Module):
    """Feature maps by the interface of segmentation_models.pytorch's encoders.

    (N, C, H, W) to the image and its maps, the largest first. A map of the image's own size is left out, as the
    image stands for it.

    Args:
        extractor: whose maps halve in size from one to the next, or keep it where stages are dilated.

    Attributes:
        out_channels: of the image and of each map.
        output_stride: pixels of the image per row and column of the last map.

    Raises:
        ConfigError: the maps are not such, as without the stem's map.
    """

    def __init__(self, extractor: FeatureExtractor) -> None:
        super().__init__()
        self.extractor = extractor
        strides = {name: stride for name, stride in extractor.strides.items() if stride > 1}
        steps = [1, *strides.values()]
        if len(steps) == 1 or any(later not in (one, 2 * one) for one, later in pairwise(steps)):
            raise ConfigError(
                "an encoder's maps have strides that double, from 2, and these have "
                f"{', '.join(map(str, extractor.strides.values()))} ({', '.join(extractor.strides)}); "
                f"ask for more layers, {STEM} among them, or take a stem of stride 2"
            )
        self.out_channels = [extractor.in_channels, *(extractor.channels[name] for name in strides)]
        self.output_stride = steps[-1]
        self._names = tuple(strides)
        self.train(extractor.training)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = self.extractor(x)
        return [x, *(maps[name] for name in self._names)]

    def set_in_channels(self, in_channels: int, pretrained: bool = True) -> None:
        """Part of the package's interface; raises `ConfigError` for other channels than the weights have."""
        if in_channels != self.out_channels[0]:
            raise ConfigError(
                f"the weights are of images with {self.out_channels[0]} channels, and in_channels is {in_channels}; "
                f"give in_channels={self.out_channels[0]}"
            )

    def make_dilated(self, output_stride: int) -> None:
        """Part of the package's interface; raises `ConfigError` for another stride than it was made with."""
        if output_stride != self.output_stride:
            raise ConfigError(
                f"the encoder has output stride {self.output_stride}, and {output_stride} is asked for; make it with "
                f"features(..., output_stride={output_stride})"
            )


def features(
    weights: str | Path,
    layers: Sequence[str] | None = None,
    *,
    output_stride: int | None = None,
    registry: Registry | None = None,
) -> FeatureExtractor:
    """The feature maps of trained weights: `features("runs/a", ("layer2", "layer4"), output_stride=16)`.

    Args:
        weights: a run folder, whose best weights are taken, or a weights file.
        layers: stages, and `act1` for the stem's map before its pool; by default all stages.
        output_stride: of the last stage; stages beyond it are dilated in place of their stride, so that the same
            weights give larger maps. By default the network's own.
        registry: as `build` takes it.

    Returns:
        The network in evaluation mode, on the CPU in float32; its parameters require gradients.

    Raises:
        RunError, CheckpointError, PluginError: no usable weights.
        ConfigError: a layer or an output stride that the network does not have.
        SpecError: a convolution that cannot be dilated.
    """
    registry, path = registry or default_registry(), weights_of(Path(weights))
    metadata, tensors = checkpoint.read(path)
    shapes = _shapes(metadata.spec, registry)
    wanted = list(shapes)[1:] if layers is None else [layers] if isinstance(layers, str) else list(layers)
    unknown = [name for name in wanted if name not in shapes]
    if unknown or not wanted:
        got = f"no layer {unknown[0]!r} with a map" if unknown else "no map for an empty list of layers"
        raise ConfigError(f"{path}: the network has {got}; choose from {', '.join(shapes)}")
    if output_stride is not None:
        spec = _dilated(metadata.spec, output_stride, shapes)
        metadata, shapes = metadata.model_copy(update={"spec": spec}), _shapes(spec, registry)
    model = checkpoint.restore(metadata, tensors, str(path), registry)
    return FeatureExtractor(model, wanted, shapes, metadata).eval()


def _dilated(spec: ModelSpec, output_stride: int, shapes: dict[str, tuple[int, int]]) -> ModelSpec:
    """The spec whose stages beyond a stride are dilated instead."""
    strides = [stride for _, stride in list(shapes.values())[1:]]
    if output_stride not in strides:
        there = ", ".join(map(str, dict.fromkeys(strides)))
        raise ConfigError(f"output_stride {output_stride!r} is none of the strides of {spec.name}'s stages: {there}")
    return spec.modified(dilate=[number for number, stride in enumerate(strides, 1) if stride > output_stride])


def _shapes(spec: ModelSpec, registry: Registry) -> dict[str, tuple[int, int]]:
    """Channels and stride of the stem's map and of each stage's."""
    model = assemble(spec, registry, device="meta").model.eval()
    x = torch.empty(1, spec.in_channels, SIDE, SIDE, device="meta")
    with torch.no_grad(), faults_of_plugins(spec, registry, "counted"):
        maps = model.feature_maps(x)
    return {
        name: (each.shape[1], round(SIDE / each.shape[2]))
        for name, each in zip((STEM, *model.stage_names), maps, strict=True)
    }
