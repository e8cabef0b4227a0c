"""The same networks as torchvision and timm make them, where these can."""

from collections.abc import Callable
from typing import Any

from torch import nn

from resnet_lab.core.errors import ConfigError
from resnet_lab.network import zoo
from resnet_lab.network.kinds import placed
from resnet_lab.network.spec import BlockSpec, ModelSpec, chosen

TIMM_ATTENTIONS = {"none": None, "se": "se", "cbam": "cbam", "eca": "eca"}
TIMM_ACTIVATIONS = ("relu", "gelu", "silu", "elu", "mish", "hardswish")
NAMES = ("torchvision", "timm")


class InexpressibleError(Exception):
    """A network that a peer cannot make; the text has the reason."""


def peer(maker: str, spec: ModelSpec) -> nn.Module:
    """The network as a peer makes it, with initial weights of its own.

    Raises:
        InexpressibleError: the peer has no such network.
        ConfigError: no such peer, or timm is not installed.
    """
    makers: dict[str, Callable[[ModelSpec], nn.Module]] = {"torchvision": _torchvision, "timm": _timm}
    if maker not in makers:
        raise ConfigError(f"unknown peer {maker!r}; peers are {', '.join(NAMES)}")
    return makers[maker](spec)


def _torchvision(spec: ModelSpec) -> nn.Module:
    import torchvision

    base = _base(spec)
    if base is None or not hasattr(torchvision.models, base.name) or spec.in_channels != 3:
        raise InexpressibleError("torchvision has no such network")
    if changed := _changes(spec, base):
        raise InexpressibleError(f"torchvision cannot change {', '.join(changed)}")
    model: nn.Module = getattr(torchvision.models, base.name)(weights=None, num_classes=spec.head.num_classes)
    return model


def _timm(spec: ModelSpec) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise ConfigError('the peer timm is not installed: pip install "resnet-lab[bench]"') from None
    base = _base(spec)
    if base is None or base.name not in timm.list_models():
        raise InexpressibleError("timm has no such network")
    block = spec.stages[0].block
    differing = set(_changes(spec, base)) - {"act", "attn"}
    if any(stage.block.act != block.act or stage.block.attn != block.attn for stage in spec.stages):
        differing.add("single stages")
    if block.act.name not in TIMM_ACTIVATIONS or block.act.parameters or spec.stem.act != block.act:
        differing.add(f"act to {block.act}")
    if block.attn.name not in TIMM_ATTENTIONS or block.attn.parameters:
        differing.add(f"attn to {block.attn}")
    if differing:
        raise InexpressibleError(f"timm cannot change {', '.join(sorted(differing))}")
    options: dict[str, Any] = {"act_layer": block.act.name}
    if attn := TIMM_ATTENTIONS[block.attn.name]:
        options["block_args"] = {"attn_layer": attn}
    model: nn.Module = timm.create_model(
        base.name, num_classes=spec.head.num_classes, in_chans=spec.in_channels, **options
    )
    return model


def _base(spec: ModelSpec) -> ModelSpec | None:
    """The zoo's network that `spec` is a change of, with its classes and input."""
    base = zoo.unmodified(spec)
    if base is None:
        return None
    return base.modified(num_classes=spec.head.num_classes, in_channels=spec.in_channels, input_size=spec.input_size)


def _changes(spec: ModelSpec, base: ModelSpec) -> list[str]:
    """Differences between the network and `base`."""
    found = []
    for slot in BlockSpec.model_fields:
        ours = [getattr(stage.block, slot) for stage in spec.stages]
        theirs = [getattr(stage.block, slot) for stage in base.stages]
        if ours != theirs:
            found.append(slot)
    if spec.stem.model_copy(update={"act": base.stem.act}) != base.stem:
        found.append("stem")
    if spec.stem.act != base.stem.act and "act" not in found:
        found.append("act")
    found += [kind.slot for kind in placed("head") if chosen(spec.head, kind.name) != chosen(base.head, kind.name)]
    if spec.head.dropout != base.head.dropout:
        found.append("head dropout")
    return found
