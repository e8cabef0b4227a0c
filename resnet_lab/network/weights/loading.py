"""Puts as much of pretrained weights as fits into a network.

Tensors are matched by torchvision's names. Those that a modification moved are found by their part: the projection of
a pooled shortcut, the first of two convolutions in the place of one.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from resnet_lab.core.errors import CheckpointError
from resnet_lab.network.differences import differences as differing_parts
from resnet_lab.network.model import ResNet
from resnet_lab.network.spec import Component, ModelSpec, chosen, default
from resnet_lab.network.weights.compatibility import anatomy, anatomy_of
from resnet_lab.network.weights.coverage import Coverage, Difference, Group, Kind, StageCoverage
from resnet_lab.network.weights.layouts import with_names_of
from resnet_lab.network.weights.sources import Weights, open_weights

_CLASSIFIER = ("fc.weight", "fc.bias")
_STATISTICS = ("running_mean", "running_var")
_IN_SHORTCUT = re.compile(r"(.+\.downsample\.)(\d+)(\..+)")
_FIRST_OF_SEVERAL = re.compile(r"(.*\bconv\d+)\.0\.weight")


@dataclass(frozen=True)
class _Match:
    """A tensor of the network with what becomes of it.

    Attributes:
        target: the tensor itself.
        origin: name of the weights' tensor for its place, if they have one.
        values: to be loaded, of the kinds `loaded`, `converted` and `diagonal`.
    """

    name: str
    target: Tensor
    kind: Kind
    origin: str = ""
    values: Tensor | None = None


def load_weights(
    model: ResNet,
    spec: ModelSpec,
    source: str | Weights,
    *,
    classes: tuple[str, ...] = (),
    depthwise_from_dense: bool = False,
) -> Coverage:
    """Load as much of pretrained weights as fits into `model`, in place; all else keeps its initial values.

    Args:
        model: was built from `spec`.
        source: a name of torchvision's weights for the network that `spec` derives from (`IMAGENET1K_V2`), a
            .safetensors file, a .pth file of tensors, or a run folder, whose best weights are taken; or what
            `open_weights` returned.
        classes: names of the network's classes; a classifier that is known to be of others is not taken.
        depthwise_from_dense: give a depthwise convolution the diagonal W[c, c] of a dense kernel W.

    Raises:
        CheckpointError: no such weights, not readable as tensors alone, of another network, or nothing fits; the
            model is then as it was.
        RunError: a folder that is no run.
    """
    weights = open_weights(source, spec) if isinstance(source, str) else source
    theirs, ours = anatomy_of(weights.tensors), anatomy(spec)
    if not theirs.is_compatible(ours):
        raise CheckpointError(
            f"{weights.name}: the weights are of a network with {theirs}, and this one has {ours}; "
            "choose weights of a network of the same depth, block and width, or build the weights' network"
        )
    targets = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    found = _as_in(targets, with_names_of(targets, weights.tensors))
    keep = _fits_classifier(targets, found) and (not classes or weights.classes in ((), classes))
    matches = [
        _match(name, target, found, keep_classifier=keep, depthwise_from_dense=depthwise_from_dense)
        for name, target in targets.items()
    ]
    coverage = _account(matches, weights, found, model, spec)
    if not coverage.share:
        why = _why_not(matches, found, coverage.differences)
        raise CheckpointError(f"{weights.name}: nothing in it fits {spec.name}: {why}")
    _load(matches, weights.name)
    return coverage


def _load(matches: Sequence[_Match], where: str) -> None:
    loaded = [(match, match.values) for match in matches if match.values is not None]
    for match, values in loaded:
        if not torch.stack(values.aminmax()).isfinite().all():
            raise CheckpointError(
                f"{where}: {match.origin} has non-finite values, so the training that wrote it "
                "diverged; give weights of an earlier epoch"
            )
    with torch.no_grad():
        for match, values in loaded:
            match.target.copy_(values)


def _as_in(network: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights, the parts of their shortcuts counted as the network's, where a pool may stand before the rest."""
    theirs, ours = _projections(weights), _projections(network)

    def renamed(name: str) -> str:
        match = _IN_SHORTCUT.fullmatch(name)
        if match is None or match[1] not in theirs.keys() & ours.keys():
            return name
        return f"{match[1]}{int(match[2]) - theirs[match[1]] + ours[match[1]]}{match[3]}"

    return {renamed(name): tensor for name, tensor in weights.items()}


def _projections(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Position of the 1x1 convolution of each shortcut."""
    matches = (_IN_SHORTCUT.fullmatch(name) for name, tensor in tensors.items() if tensor.ndim == 4)
    return {match[1]: int(match[2]) for match in matches if match}


def _fits_classifier(targets: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> bool:
    return all(name in found and found[name].shape == targets[name].shape for name in _CLASSIFIER)


def _match(
    name: str, target: Tensor, found: Mapping[str, Tensor], *, keep_classifier: bool, depthwise_from_dense: bool
) -> _Match:
    first = _FIRST_OF_SEVERAL.fullmatch(name)
    origin = f"{first[1]}.weight" if first and name not in found else name
    if origin not in found:
        return _Match(name, target, "new")
    if name in _CLASSIFIER and not keep_classifier:
        return _Match(name, target, "replaced", origin)
    values = found[origin]
    if values.shape == target.shape:
        return _Match(name, target, "loaded", origin, values)
    if _is_of_images(name) and _differ_in_channels(values.shape, target.shape):
        return _Match(name, target, "converted", origin, _for_channels(values, target.shape[1]))
    if depthwise_from_dense and _has_diagonal(values.shape, target.shape):
        channels = torch.arange(len(target))
        return _Match(name, target, "diagonal", origin, values[channels, channels].unsqueeze(1))
    return _Match(name, target, "shape_differs", origin)


def _is_of_images(name: str) -> bool:
    """Whether it is the kernel that images go through first."""
    return name in ("conv1.weight", "conv1.0.weight")


def _differ_in_channels(kernel: Sequence[int], other: Sequence[int]) -> bool:
    """Whether kernels (out, in, k, k) have different input channels and nothing else."""
    return len(kernel) == len(other) == 4 and (kernel[0], *kernel[2:]) == (other[0], *other[2:])


def _for_channels(kernel: Tensor, channels: int) -> Tensor:
    """A kernel (out, in, k, k) for other input channels, as timm makes it: an image of equal channels gives the same.

    For one channel it is summed; for several its own are repeated in turn, and scaled by how many more these are.
    """
    own = kernel.shape[1]
    if channels == 1:
        return kernel.sum(1, keepdim=True)
    return kernel[:, [channel % own for channel in range(channels)]] * (own / channels)


def _has_diagonal(kernel: Sequence[int], filters: Sequence[int]) -> bool:
    """Whether a dense kernel (out, in, k, k) has one for depthwise filters (in, 1, k, k)."""
    if len(kernel) != 4 or len(filters) != 4:
        return False
    channels = filters[0]
    return filters[1] == 1 < channels == kernel[1] <= kernel[0] and kernel[2:] == filters[2:]


def _account(
    matches: Sequence[_Match], weights: Weights, found: Mapping[str, Tensor], model: ResNet, spec: ModelSpec
) -> Coverage:
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    fates = [(match.name, match.kind, sizes.get(match.name, 0)) for match in matches]
    for name in found.keys() - {match.origin for match in matches}:
        fates.append((name, "unused", 0 if name.endswith(_STATISTICS) else found[name].numel()))
    differences = [
        Difference(name=match.name, weights=tuple(found[match.origin].shape), network=tuple(match.target.shape))
        for match in matches
        if match.kind in ("converted", "diagonal", "shape_differs")
    ]
    body = sum(size for name, size in sizes.items() if name not in _CLASSIFIER)
    filled = sum(
        size for name, kind, size in fates if kind in ("loaded", "converted", "diagonal") and name not in _CLASSIFIER
    )
    return Coverage(
        source=weights.name,
        share=filled / body,
        stages=_by_stage(fates, model.stage_names),
        differences=tuple(differences),
        notes=tuple(_notes(differences, weights, diagonal=any(match.kind == "diagonal" for match in matches))),
        differing=() if weights.spec is None else tuple(differing_parts(spec, weights.spec, dropout=False)),
        unseen=() if weights.spec is not None and not weights.layout else tuple(_without_parameters(spec)),
        mean=weights.mean,
        std=weights.std,
    )


def _why_not(matches: Sequence[_Match], found: Mapping[str, Tensor], differences: Sequence[Difference]) -> str:
    if differences:
        return f"{differences[0]}; give weights of a network of the same channels"
    theirs, ours = ", ".join(list(found)[:3]), ", ".join(match.name for match in matches[:3])
    return f"its tensors are named {theirs}, and the network's {ours}; give weights with torchvision's names"


def _by_stage(fates: Iterable[tuple[str, Kind, int]], stage_names: tuple[str, ...]) -> tuple[StageCoverage, ...]:
    homes = {"conv1": "stem", "bn1": "stem", "act1": "stem", "fc": "fc", **{name: name for name in stage_names}}
    stages: dict[str, dict[Kind, list[tuple[str, int]]]] = {
        stage: {} for stage in ("stem", *stage_names, "fc", "elsewhere")
    }
    for name, kind, size in sorted(fates):
        stages[homes.get(name.split(".")[0], "elsewhere")].setdefault(kind, []).append((name, size))
    return tuple(
        StageCoverage(stage=stage, **{kind: _group(members) for kind, members in kinds.items()})
        for stage, kinds in stages.items()
        if kinds or stage != "elsewhere"
    )


def _group(members: Sequence[tuple[str, int]]) -> Group:
    return Group(names=tuple(name for name, _ in members), parameters=sum(size for _, size in members))


def _without_parameters(spec: ModelSpec) -> Iterator[str]:
    """Parts of a network of which a state dict shows nothing, as they are here."""
    blocks = [stage.block for stage in spec.stages]
    yield f"activation ({_each([spec.stem.act, *(block.act for block in blocks)])})"
    if spec.stem.kind is None:
        yield f"pool after the stem ({'3x3 max pool' if spec.stem.max_pool else 'none'})"
    downsamples = _each(chosen(block, "downsample") for block in blocks)
    without = downsamples == str(default("downsample"))
    yield f"anti-aliasing where the resolution falls ({'none' if without else downsamples})"
    if any(block.kind.name == "bottleneck" for block in blocks):
        first = any(("stride_on", "conv1") in block.kind.parameters for block in blocks)
        yield f"place of a bottleneck's stride ({'first 1x1' if first else '3x3'} convolution)"
    if chosen(spec.head, "pool") != default("pool"):
        yield f"pool before the classifier ({chosen(spec.head, 'pool')})"
    yield f"pool or padding of the shortcut ({_each([block.shortcut for block in blocks])})"


def _each(components: Iterable[Component]) -> str:
    return ", ".join(dict.fromkeys(map(str, components)))


def _notes(differences: Sequence[Difference], weights: Weights, *, diagonal: bool) -> Iterator[str]:
    if weights.taken:
        taken, *more = weights.taken
        rest = f"; the file has {', '.join(more)} too, and --weights FILE:KEY takes another" if more else ""
        yield f"the weights are those under {taken!r}{rest}"
    if weights.layout and weights.spec:
        yield (
            f"names and shapes of the weights are those of {weights.layout}, whose shortcut is "
            f"{_each(stage.block.shortcut for stage in weights.spec.stages)}"
        )
    depthwise: list[Difference] = []
    channels: list[Difference] = []
    others: list[Difference] = []
    for each in differences:
        if _has_diagonal(each.weights, each.network):
            depthwise.append(each)
        elif _is_of_images(each.name) and _differ_in_channels(each.weights, each.network):
            channels.append(each)
        else:
            others.append(each)
    if depthwise and diagonal:
        yield f"depthwise convolutions that took the diagonal of a dense kernel: {len(depthwise)}"
    elif depthwise:
        yield (
            f"depthwise convolutions where the weights have a dense kernel: {len(depthwise)}; they keep their initial "
            "values, or take the kernels' diagonals with depthwise_from_dense"
        )
    for each in channels:
        yield (
            f"the weights are for images of {each.weights[1]} channels and the network for {each.network[1]}, so "
            f"{each.name} is " + ("summed over the channels" if each.network[1] == 1 else "repeated and rescaled")
        )
    stem = [each for each in others if each.name.startswith("conv1.")]
    if len(stem) > 1:
        yield (
            f"the stem of the weights has other widths: {len(stem)} of its tensors keep their initial values, such as "
            f"{stem[0]}"
        )
        others = [each for each in others if each not in stem]
    if others:
        yield f"other tensors of another shape, which keep their initial values: {len(others)}, such as {others[0]}"
