"""Turns a spec into a network: the only place where component names become constructors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, get_args

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from resnet_lab.core.choices import InitGain
from resnet_lab.core.errors import PluginError, ResNetLabError, SpecError
from resnet_lab.core.records import Record
from resnet_lab.core.system_memory import total_memory
from resnet_lab.network import zoo
from resnet_lab.network.initialisation import RELU_GAIN, gain, initialise, last_norm_weights
from resnet_lab.network.kinds import Place, placed
from resnet_lab.network.model import ResNet
from resnet_lab.network.parts import make_dropout, make_pool, make_stage, make_stem
from resnet_lab.network.plugins import default_registry
from resnet_lab.network.registry import OWN, Owner, Registry
from resnet_lab.network.spec import ModelSpec, chosen


@dataclass
class Built:
    """A network with remarks about it."""

    model: ResNet
    notes: list[str] = field(default_factory=list)


def build(
    model: str | ModelSpec = "resnet50",
    *,
    seed: int = 0,
    zero_init_residual: bool = False,
    init_gain: InitGain = "activation",
    registry: Registry | None = None,
    **changes: Any,
) -> ResNet:
    """Build a network: `build("resnet50", act="gelu", conv="depthwise", attn="cbam", num_classes=50, seed=0)`.

    Args:
        model: a name of the zoo, or a whole spec.
        seed: of the initial weights; each depends on the seed and its parameter's name alone.
        zero_init_residual: start each residual branch at zero, by the weight of its last norm.
        init_gain: scale initial convolution weights by the gain of their activation (arXiv:1502.01852), or all by
            that of ReLU, so that networks with other activations begin with the same bits.
        registry: the components to choose from; by default the program's own and those of installed plugins.
        changes: what `ModelSpec.modified` takes.

    Returns:
        A network in training mode, on the CPU in float32: (N, in_channels, H, W) to logits (N, num_classes).

    Raises:
        SpecError: an unknown network or component, or an impossible combination.
        PluginError: a component that is needed is claimed by two plugins.
    """
    spec = resolve(model, **changes)
    return assemble(spec, registry, seed=seed, zero_init_residual=zero_init_residual, init_gain=init_gain).model


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
    init_gain: InitGain = "activation",
    device: str | None = None,
) -> Built:
    """Build a spec, with notes on what was added or left out; raises like `build`.

    On the device `meta` nothing is allocated or initialised: for counting. Elsewhere a network whose tensors and one
    image do not fit the machine's memory is refused before any of it is allocated.
    """
    registry = registry or default_registry()
    if not 0 <= seed < 2**63:
        raise SpecError(f"seed {seed}: a seed is from 0 to 2^63 - 1; give another")
    if init_gain not in get_args(InitGain):
        raise SpecError(f"init_gain {init_gain!r} must be one of {', '.join(get_args(InitGain))}")
    if device != "meta":
        _require_memory(spec, registry)
    with faults_of_plugins(spec, registry, "built"):
        return _assembled(spec, registry, seed, zero_init_residual, init_gain, device)


def _require_memory(spec: ModelSpec, registry: Registry) -> None:
    """Raise `SpecError` where the network is larger than the memory there is."""
    try:
        tensors = _tensor_bytes(spec, registry)
    except ResNetLabError:
        raise
    except Exception:
        if not plugins_needed(spec, registry):
            raise
        return  # a part of a plugin that cannot be made without values, or not at all, as building it tells
    needed = tensors + 4 * spec.in_channels * spec.input_size**2
    if needed > (there := total_memory()):
        raise SpecError(
            f"{spec.name}: its tensors and one image of {spec.input_size} x {spec.input_size} pixels take "
            f"{needed / 2**30:,.1f} GiB, and this machine has {there / 2**30:,.1f}; take fewer channels, "
            "blocks, classes or pixels"
        )


@lru_cache(maxsize=256)
def _tensor_bytes(spec: ModelSpec, registry: Registry) -> int:
    """Bytes of a network's tensors, counted on the meta device; all blocks of a stage from its second on are alike."""
    stages = tuple(stage.model_copy(update={"depth": min(stage.depth, 2)}) for stage in spec.stages)
    model = _assembled(spec.model_copy(update={"stages": stages}), registry, 0, False, "activation", "meta").model

    def size(module: nn.Module) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict(keep_vars=True).values())

    repeated = (
        (stage.depth - 2) * size(model.get_submodule(f"{name}.1"))
        for name, stage in zip(model.stage_names, spec.stages, strict=True)
        if stage.depth > 2
    )
    return size(model) + sum(repeated)


def _assembled(
    spec: ModelSpec,
    registry: Registry,
    seed: int,
    zero_init_residual: bool,
    init_gain: InitGain,
    device: str | None,
) -> Built:
    notes: dict[str, None] = {}
    with torch.random.fork_rng(devices=[]), torch.device(device or "cpu"):
        torch.default_generator.manual_seed(seed)  # for a plugin's parameters that no `reset_parameters` sets
        stages, in_channels, dilation = [], spec.stem.channels, 1
        drop_paths = _drop_paths(spec)
        for number, stage in enumerate(spec.stages, 1):
            made = make_stage(
                stage, in_channels, registry, f"stage {number}", notes,
                drop_paths=[next(drop_paths) for _ in range(stage.depth)], dilation_before=dilation,
            )  # fmt: skip
            stages.append(made)
            in_channels, dilation = stage.out_channels, stage.dilation
        stem = make_stem(spec, registry)
        model = ResNet(
            conv1=stem.conv1,
            bn1=stem.bn1,
            act1=stem.act1,
            maxpool=stem.maxpool,
            stages=stages,
            avgpool=(pool := make_pool(spec.head, in_channels, registry)),
            dropout=make_dropout(spec.head.dropout),
            fc=nn.Linear(getattr(pool, "out_channels", in_channels), spec.head.num_classes),
        )
    _refuse_unstorable(model, spec)
    if device != "meta":
        acts = {"conv1": spec.stem.act} | dict(
            zip(model.stage_names, (stage.block.act for stage in spec.stages), strict=True)
        )
        gains = {
            name: RELU_GAIN if init_gain == "fixed" else gain(registry.bind("activation", act, name))
            for name, act in acts.items()
        }
        initialise(model, seed, gains, zero_init_residual=zero_init_residual)
    for name, stage in zip(model.stage_names, spec.stages, strict=True) if zero_init_residual else ():
        if not last_norm_weights(model.get_submodule(name)):
            notes[f"zero_init_residual has no effect on {name}: its {stage.block.kind} blocks end in no norm"] = None
    return Built(model, list(notes))


def _drop_paths(spec: ModelSpec) -> Iterator[float]:
    """Probability of stochastic depth of each block, linear from 0 at the first to the spec's at the last."""
    blocks = sum(stage.depth for stage in spec.stages)
    return (spec.drop_path * index / max(1, blocks - 1) for index in range(blocks))


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
    records: list[tuple[Place, Record]] = [("stem", spec.stem), ("head", spec.head)]
    records += [("block", stage.block) for stage in spec.stages]
    return {
        (kind.name, component.name)
        for place, record in records
        for kind in placed(place)
        if (component := chosen(record, kind.name)) is not None
    }


def _owners(spec: ModelSpec, registry: Registry) -> list[Owner]:
    owners = {registry.entries[key].owner for key in components_of(spec)}
    return sorted(owners - {OWN}, key=str)
