"""Turns a spec into a network: the only place where component names become constructors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from resnet_lab.core.errors import PluginError, ResNetLabError, SpecError
from resnet_lab.network import zoo
from resnet_lab.network.initialisation import gain, initialise, last_norm_weights
from resnet_lab.network.model import Parts, ResNet, Stage, ZeroPadShortcut
from resnet_lab.network.plugins import OWN, Owner, Registry, default_registry
from resnet_lab.network.spec import BlockSpec, Component, ModelSpec, StageSpec, StemSpec

_DEFAULTS = {slot: BlockSpec.model_fields[slot].default for slot in ("conv", "act", "norm", "attn")}
_WORDS = {"conv": "3x3 convolution", "act": "activation", "norm": "norm", "attn": "place for an attention"}


@dataclass
class Built:
    """A network with what should be said about it."""

    model: ResNet
    notes: list[str] = field(default_factory=list)


def build(
    model: str | ModelSpec = "resnet50",
    *,
    seed: int = 0,
    zero_init_residual: bool = False,
    registry: Registry | None = None,
    **changes: Any,
) -> ResNet:
    """Build a network: `build("resnet50", act="gelu", conv="depthwise", attn="cbam", num_classes=50, seed=0)`.

    Args:
        model: a name of the zoo, or a whole spec.
        seed: of the initial weights; each depends on the seed and its parameter's name alone.
        zero_init_residual: start each residual branch at zero, by the weight of its last norm.
        registry: the components to choose from; by default the program's own and those of installed plugins.
        changes: what `ModelSpec.modified` takes.

    Returns:
        A network in training mode, on the CPU in float32: (N, in_channels, H, W) to logits (N, num_classes).

    Raises:
        SpecError: an unknown network or component, or an impossible combination.
        PluginError: a component that is needed is claimed by two plugins.
    """
    spec = resolve(model, **changes)
    return assemble(spec, registry, seed=seed, zero_init_residual=zero_init_residual).model


def resolve(model: str | ModelSpec, **changes: Any) -> ModelSpec:
    """The spec that `build` builds of the same arguments; raises `SpecError` like it."""
    spec = zoo.get(model) if isinstance(model, str) else model
    return spec.modified(**changes) if changes else spec


def assemble(
    spec: ModelSpec,
    registry: Registry | None = None,
    *,
    seed: int = 0,
    zero_init_residual: bool = False,
    device: str | None = None,
) -> Built:
    """Build a spec and say what was added or left out on the way; raises like `build`.

    On the device `meta` nothing is allocated or initialised: for counting.
    """
    registry = registry or default_registry()
    with faults_of_plugins(spec, registry, "built"):
        return _assembled(spec, registry, seed, zero_init_residual, device)


def _assembled(spec: ModelSpec, registry: Registry, seed: int, zero_init_residual: bool, device: str | None) -> Built:
    notes: dict[str, None] = {}
    with torch.random.fork_rng(devices=[]), torch.device(device or "cpu"):
        torch.default_generator.manual_seed(seed)  # for a plugin's parameters that no `reset_parameters` sets
        stages, in_channels = [], spec.stem.convs[-1].out_channels
        for number, stage in enumerate(spec.stages, 1):
            stages.append(_stage(stage, in_channels, registry, f"stage {number}", notes))
            in_channels = stage.out_channels
        conv1, bn1, act1 = _stem(spec, registry)
        model = ResNet(
            conv1=conv1,
            bn1=bn1,
            act1=act1,
            maxpool=nn.MaxPool2d(3, stride=2, padding=1) if spec.stem.max_pool else nn.Identity(),
            stages=stages,
            dropout=_dropout(spec.head.dropout),
            fc=nn.Linear(in_channels, spec.head.num_classes),
        )
    _refuse_unstorable(model, spec)
    if device != "meta":
        gains = {"conv1": gain(registry.bind("activation", spec.stem.act, "stem"))}
        for name, stage in zip(model.stage_names, spec.stages, strict=True):
            gains[name] = gain(registry.bind("activation", stage.block.act, name))
        initialise(model, seed, gains, zero_init_residual=zero_init_residual)
    for name, stage in zip(model.stage_names, spec.stages, strict=True) if zero_init_residual else ():
        if not last_norm_weights(model.get_submodule(name)):
            notes[f"zero_init_residual has no effect on {name}: its {stage.block.kind} blocks end in no norm"] = None
    return Built(model, list(notes))


def _refuse_unstorable(model: nn.Module, spec: ModelSpec) -> None:
    """Tensors that a weights file could not hold under their names: those without a shape yet, and one under several.

    Raises:
        PluginError: the network has one.
    """
    names: dict[int, str] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if is_lazy(tensor):
            module = name.rpartition(".")[0]
            raise PluginError(
                f"{spec.name}: {module} is a lazy module ({type(model.get_submodule(module)).__name__}), whose tensors "
                "have no shape before a forward pass; make it with its input channels, which each factory is given"
            )
        other = names.setdefault(id(tensor), name)
        if other != name:
            raise PluginError(
                f"{spec.name}: {other} and {name} are one tensor, and a weights file holds each under one name; keep a "
                "module in one place, and call it there as often as is needed"
            )


@contextmanager
def faults_of_plugins(spec: ModelSpec, registry: Registry, done: str) -> Iterator[None]:
    """Whatever is raised in here by a network with plugins' parts is theirs to mend; one of our own parts is ours.

    Raises:
        PluginError: something was raised, and the network has parts of plugins.
    """
    try:
        yield
    except ResNetLabError:
        raise
    except Exception as error:
        plugins = plugins_needed(spec, registry)
        if not plugins:
            raise
        parts = " and ".join(f"{name} {version}" for name, version in plugins.items())
        cause = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise PluginError(
            f"{spec.name} has parts of {parts} and cannot be {done}: {cause}; `resnet-lab plugins check` looks for the "
            "reason"
        ) from error


def plugins_needed(spec: ModelSpec, registry: Registry) -> dict[str, str]:
    """Plugins that the components of `spec` come from, with their versions."""
    return {owner.distribution: owner.version for owner in _owners(spec, registry)}


def sources_needed(spec: ModelSpec, registry: Registry) -> dict[str, str]:
    """Plugins that the components of `spec` come from, with the SHA-256 of their source where it is known."""
    return {owner.distribution: owner.source for owner in _owners(spec, registry) if owner.source}


def components_of(spec: ModelSpec) -> set[tuple[str, str]]:
    """Kind and name of every component that `spec` is made of."""
    used = {("activation", spec.stem.act.name), ("norm", spec.stem.norm.name)}
    for stage in spec.stages:
        block = stage.block
        used |= {
            ("block", block.kind.name),
            ("convolution", block.conv.name),
            ("activation", block.act.name),
            ("norm", block.norm.name),
            ("attention", block.attn.name),
        }
    return used


def _owners(spec: ModelSpec, registry: Registry) -> list[Owner]:
    owners = {registry.entries[key].owner for key in components_of(spec)}
    return sorted(owners - {OWN}, key=str)


def _stem(spec: ModelSpec, registry: Registry) -> tuple[nn.Module, nn.Module, nn.Module]:
    """The stem's `conv1`, `bn1` and `act1`; several convolutions make `conv1` a sequence, named as in timm."""
    stem: StemSpec = spec.stem
    norm, adds_bias = _norm(stem.norm, registry, "stem")
    act = registry.bind("activation", stem.act, "stem")
    layers: list[nn.Module] = []
    in_channels = spec.in_channels
    for conv in stem.convs:
        if layers:
            layers += [norm(in_channels), act()]
        layers.append(
            nn.Conv2d(
                in_channels,
                conv.out_channels,
                conv.kernel_size,
                conv.stride,
                padding=conv.kernel_size // 2,
                bias=not adds_bias,
            )
        )
        in_channels = conv.out_channels
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers), norm(in_channels), act()


def _stage(stage: StageSpec, in_channels: int, registry: Registry, where: str, notes: dict[str, None]) -> Stage:
    make_block = registry.bind("block", stage.block.kind, where)
    blocks = []
    for index in range(stage.depth):
        parts, used = _parts(stage.block, registry, where, notes)
        stride = stage.stride if index == 0 else 1
        blocks.append(make_block(in_channels, stage.width, stage.out_channels, stride, parts))
        _refuse_unused(stage.block, used, where)
        in_channels = stage.out_channels
    return Stage(*blocks)


def _refuse_unused(block: BlockSpec, used: set[str], where: str) -> None:
    """A component that the user chose and the block has no place for is an error, not a silent no-op."""
    for slot, default in _DEFAULTS.items():
        chosen = getattr(block, slot)
        if chosen != default and slot not in used:
            raise SpecError(
                f"{where}: block {block.kind.name} has no {_WORDS[slot]}, so {chosen} cannot go there; "
                f"leave it at {default}, or name other stages with {chosen}@..."
            )


def _parts(block: BlockSpec, registry: Registry, where: str, notes: dict[str, None]) -> tuple[Parts, set[str]]:
    """Makers of a block's parts, and the set that records which of the choices the block asked for."""
    used: set[str] = set()

    def recorded(slot: str, make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        def wrapper(*args: Any, **kwargs: Any) -> nn.Module:
            used.add(slot)
            return make(*args, **kwargs)

        return wrapper

    make_norm, adds_bias = _norm(block.norm, registry, where)
    branch_attn, output_attn = _attentions(block.attn, registry, where)
    parts = Parts(
        conv=recorded("conv", _convolution(block, registry, where, notes, bias=not adds_bias)),
        pointwise=partial(_pointwise, bias=not adds_bias),
        norm=recorded("norm", make_norm),
        act=recorded("act", registry.bind("activation", block.act, where)),
        attn=recorded("attn", branch_attn),
        output_attn=recorded("attn", output_attn),
        dropout=partial(_dropout, block.dropout),
        shortcut=partial(_shortcut, block.shortcut, make_norm, where, bias=not adds_bias),
    )
    return parts, used


def _norm(component: Component, registry: Registry, where: str) -> tuple[Callable[[int], nn.Module], bool]:
    entry = registry.get("norm", component.name, where)
    make = entry.bind(dict(component.parameters), where)

    def make_norm(channels: int) -> nn.Module:
        return _located(make, where, channels)

    return make_norm, entry.traits.get("adds_bias", True)


def _attentions(
    component: Component, registry: Registry, where: str
) -> tuple[Callable[[int], nn.Module], Callable[[int], nn.Module]]:
    """Makers for the residual branch and for the block's output: the attention in one place, identity in the other."""
    make = registry.bind("attention", component, where)

    def present(channels: int) -> nn.Module:
        return _located(make, where, channels)

    def absent(channels: int) -> nn.Module:
        return nn.Identity()

    on_output = ("position", "output") in component.parameters
    return (absent, present) if on_output else (present, absent)


def _convolution(
    block: BlockSpec, registry: Registry, where: str, notes: dict[str, None], *, bias: bool
) -> Callable[..., nn.Module]:
    entry = registry.get("convolution", block.conv.name, where)
    make = entry.bind(dict(block.conv.parameters), where)

    def conv(
        in_channels: int, out_channels: int, stride: int = 1, *, groups: int = 1, must_mix: bool = False
    ) -> nn.Module:
        if groups > 1 and not entry.traits.get("takes_groups", True):
            raise SpecError(
                f"{where}: convolution {block.conv} cannot be put in {groups} groups as block {block.kind} asks; "
                f"choose block {block.kind.name} without groups, or convolution dense"
            )
        if groups < 1:
            raise SpecError(f"{where}: block {block.kind}: groups must be at least 1, got {groups}")
        if in_channels % groups or out_channels % groups:
            raise SpecError(f"{where}: block {block.kind}: {groups} groups do not divide {in_channels} channels")
        mixes = entry.traits.get("mixes_channels", True)
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
    """Call a factory; a `SpecError` it raises is told where it happened."""
    try:
        module: nn.Module = make(*args)
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from None
    return module


def _pointwise(in_channels: int, out_channels: int, stride: int = 1, *, bias: bool) -> nn.Module:
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=bias)


def _dropout(probability: float) -> nn.Module:
    return nn.Dropout(probability) if probability else nn.Identity()


def _shortcut(
    chosen: Component,
    norm: Callable[[int], nn.Module],
    where: str,
    in_channels: int,
    out_channels: int,
    stride: int,
    *,
    bias: bool,
) -> nn.Module | None:
    if stride == 1 and in_channels == out_channels:
        return None
    if chosen.name == "zero_pad":
        if out_channels < in_channels:
            raise SpecError(f"{where}: a zero_pad shortcut cannot lead from {in_channels} to {out_channels} channels")
        both = ("zeros", "both") in chosen.parameters
        return ZeroPadShortcut(in_channels, out_channels, stride, zeros="both" if both else "end")
    if chosen.name == "projection":
        return nn.Sequential(_pointwise(in_channels, out_channels, stride, bias=bias), norm(out_channels))
    pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False) if stride > 1 else nn.Identity()
    return nn.Sequential(pool, _pointwise(in_channels, out_channels, bias=bias), norm(out_channels))
