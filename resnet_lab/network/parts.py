"""Makers of what a network is put together from: its stem, stages and pool, each of the components that were chosen."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import partial
from itertools import chain, repeat
from typing import Any

from torch import nn

from resnet_lab.core.errors import SpecError
from resnet_lab.network.builtin.stems import listed_convolutions
from resnet_lab.network.component import Component
from resnet_lab.network.kinds import KINDS, placed
from resnet_lab.network.model import ConvStem, DropPath, Parts, ShortcutParts, Stage, StemParts, padded_convolution
from resnet_lab.network.registry import Registry
from resnet_lab.network.spec import BlockSpec, HeadSpec, ModelSpec, StageSpec, chosen, default, of_stem_alone

_OWN_FIELDS = {field.name for field in fields(Parts)} - {"more"}


def make_stem(spec: ModelSpec, registry: Registry) -> ConvStem:
    """Make the stem; a stem of a plugin's kind becomes its `conv1`."""
    norm, adds_bias = _norm(spec.stem.norm, registry, "stem")
    used: set[str] = set()
    parts = StemParts(
        conv=partial(padded_convolution, bias=not adds_bias),
        norm=_recorded(used, "norm", norm),
        act=_recorded(used, "act", registry.bind("activation", spec.stem.act, "stem")),
    )
    if spec.stem.kind is None:
        make: Callable[..., nn.Module] = partial(listed_convolutions, spec.stem.convs, spec.stem.max_pool)
        stem = _located(make, "stem", spec.in_channels, parts)
    else:
        make = registry.bind("stem", spec.stem.kind, "stem")
        stem = _located(make, "stem", spec.in_channels, spec.stem.channels, parts)
        _refuse_unused_in_stem(spec, used)
    if isinstance(stem, ConvStem):
        return stem
    return ConvStem(conv1=stem, bn1=nn.Identity(), act1=nn.Identity(), maxpool=nn.Identity())


def _refuse_unused_in_stem(spec: ModelSpec, used: set[str]) -> None:
    """One that stands in stages too is no error, since a choice for the whole network reaches the stem by itself."""
    for kind, component in of_stem_alone(spec):
        if kind.slot not in used:
            raise SpecError(
                f"stem: stem {spec.stem.kind} has no {kind.words}, so {component} cannot go there; "
                f"leave it at {kind.default}, or name stages with {component}@..."
            )


def make_pool(head: HeadSpec, channels: int, registry: Registry) -> nn.Module:
    """Make the pool of the last feature map."""
    return _located(registry.bind("pool", chosen(head, "pool"), "head"), "head", channels)


def make_dropout(probability: float) -> nn.Module:
    """Dropout, or identity at probability 0."""
    return nn.Dropout(probability) if probability else nn.Identity()


def make_drop_path(probability: float) -> nn.Module:
    """Stochastic depth, or identity at probability 0."""
    return DropPath(probability) if probability else nn.Identity()


def make_stage(
    stage: StageSpec,
    in_channels: int,
    registry: Registry,
    where: str,
    notes: dict[str, None],
    *,
    drop_paths: Sequence[float],
    dilation_before: int = 1,
) -> Stage:
    """Blocks of one resolution; what was added on the way is put into the notes.

    Args:
        drop_paths: probability of stochastic depth of each block.
        dilation_before: that of the stage before, which the first convolution has.
    """
    make_block = registry.bind("block", stage.block.kind, where)
    dilations = chain([dilation_before], repeat(stage.dilation))
    blocks = []
    for index in range(stage.depth):
        parts, used = _parts(stage, registry, where, notes, drop_paths[index], dilations)
        stride = stage.stride if index == 0 else 1
        blocks.append(make_block(in_channels, stage.width, stage.out_channels, stride, parts))
        _refuse_unused(stage.block, used, where)
        if drop_paths[index] and "drop_path" not in used:
            raise SpecError(f"{where}: block {stage.block.kind.name} has no place for stochastic depth; leave it at 0")
        in_channels = stage.out_channels
    return Stage(*blocks)


def _refuse_unused(block: BlockSpec, used: set[str], where: str) -> None:
    """A component that the user chose and the block has no place for is an error, not a silent no-op."""
    for kind in placed("block"):
        component = chosen(block, kind.name)
        if kind.needs_place and component != default(kind.name) and kind.slot not in used:
            raise SpecError(
                f"{where}: block {block.kind.name} has no {kind.lacks or kind.words}, so {component} cannot go there; "
                f"leave it at {kind.default}, or name other stages with {component}@..."
            )


def _parts(
    stage: StageSpec,
    registry: Registry,
    where: str,
    notes: dict[str, None],
    drop_path: float,
    dilations: Iterator[int],
) -> tuple[Parts, set[str]]:
    """Makers of a block's parts, and the set that records which of the choices the block asked for."""
    block = stage.block
    used: set[str] = set()
    recorded = partial(_recorded, used)

    def plain(kind: str) -> Callable[..., nn.Module]:
        return partial(_located, registry.bind(kind, chosen(block, kind), where), where)

    norm, adds_bias = _norm(block.norm, registry, where)
    pointwise = partial(_pointwise, bias=not adds_bias)
    padded = partial(padded_convolution, bias=not adds_bias)
    attention = partial(_attention, block.attn, recorded("attn", plain("attention")))
    parts = Parts(
        conv=recorded("conv", _convolution(block, registry, where, notes, dilations, bias=not adds_bias)),
        pointwise=pointwise,
        norm=recorded("norm", plain("norm")),
        act=recorded("act", plain("activation")),
        attn=attention("branch"),
        output_attn=attention("output"),
        inner_attn=attention("inner"),
        dropout=partial(make_dropout, block.dropout),
        drop_path=recorded("drop_path", partial(make_drop_path, drop_path)),
        shortcut=partial(_shortcut, plain("shortcut"), ShortcutParts(pointwise, norm, padded, stage.dilation)),
        downsample=recorded("downsample", partial(_downsample, chosen(block, "downsample"), plain("downsample"))),
        more={
            kind.slot: recorded(kind.slot, plain(kind.name))
            for kind in placed("block")
            if kind.name != "block" and kind.slot not in _OWN_FIELDS
        },
    )
    return parts, used


def _recorded(used: set[str], slot: str, make: Callable[..., Any]) -> Callable[..., Any]:
    """The maker, which puts its slot into `used` when it is called."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        used.add(slot)
        return make(*args, **kwargs)

    return wrapper


def _norm(component: Component, registry: Registry, where: str) -> tuple[Callable[[int], nn.Module], bool]:
    entry = registry.get("norm", component.name, where)
    return entry.bind(dict(component.parameters), where), entry.trait("adds_bias")


def _attention(component: Component, make: Callable[..., nn.Module], position: str) -> Callable[[int], nn.Module]:
    """Maker of the attention where it stands in this position, else of identity, which counts as no use of it."""
    default_position = KINDS["attention"].parameters["position"][1]
    chosen_position = dict(component.parameters).get("position", default_position)
    return make if position == chosen_position else lambda channels: nn.Identity()


def _convolution(
    block: BlockSpec, registry: Registry, where: str, notes: dict[str, None], dilations: Iterator[int], *, bias: bool
) -> Callable[..., nn.Module]:
    entry = registry.get("convolution", block.conv.name, where)
    parameters = dict(block.conv.parameters)
    entry.bind(parameters, where)

    def conv(
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        groups: int = 1,
        must_mix: bool = False,
        dilation: int = 1,
    ) -> nn.Module:
        dilation *= next(dilations)
        if groups > 1 and not entry.trait("takes_groups"):
            raise SpecError(
                f"{where}: convolution {block.conv} cannot be put in {groups} groups as block {block.kind} asks; "
                f"choose block {block.kind.name} without groups, or convolution dense"
            )
        if groups < 1:
            raise SpecError(f"{where}: block {block.kind}: groups must be at least 1, got {groups}")
        if in_channels % groups or out_channels % groups:
            raise SpecError(f"{where}: block {block.kind}: {groups} groups do not divide {in_channels} channels")
        if dilation > 1 and "dilation" not in entry.parameter_types():
            raise SpecError(
                f"{where}: convolution {block.conv} cannot be dilated by {dilation}, which the stage or block "
                f"{block.kind} asks for; choose one with a parameter dilation, such as dense"
            )
        dilated = {"dilation": dilation * int(parameters.get("dilation", 1))} if dilation > 1 else {}
        make = entry.bind({**parameters, **dilated}, where)
        mixes = entry.trait("mixes_channels")
        if mixes or (in_channels == out_channels and not must_mix):
            return _located(make, where, in_channels, out_channels, stride, groups, bias)
        notes[
            f"{block.conv} in block {block.kind.name}: each is followed by a 1x1 convolution, "
            "or nothing would mix the channels"
        ] = None
        return nn.Sequential(
            _located(make, where, in_channels, in_channels, stride, 1, False),
            nn.Conv2d(in_channels, out_channels, 1, bias=bias),
        )

    return conv


def _located(make: Callable[..., Any], where: str, *args: Any) -> nn.Module:
    """Call a factory; a `SpecError` it raises gets the place where it happened."""
    try:
        module: nn.Module = make(*args)
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from None
    return module


def _pointwise(in_channels: int, out_channels: int, stride: int = 1, *, bias: bool) -> nn.Module:
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=bias)


def _shortcut(
    make: Callable[..., nn.Module], parts: ShortcutParts, in_channels: int, out_channels: int, stride: int
) -> nn.Module | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return make(in_channels, out_channels, stride, parts)


def _downsample(component: Component, make: Callable[..., nn.Module], channels: int, stride: int) -> nn.Module | None:
    """None where the convolution has the stride."""
    if stride == 1 or component == default("downsample"):
        return None
    return make(channels, stride)
