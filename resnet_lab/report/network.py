"""Description of a network, stage by stage, in words."""

from resnet_lab.network.kinds import placed
from resnet_lab.network.spec import ModelSpec, chosen, default, of_stem_alone

_NAMED = ("block", "conv", "norm", "act", "shortcut")
"""Slots of which a stage's text has more than the choice, or nothing; of others it has what is not the default."""


def made_of(spec: ModelSpec) -> list[str]:
    """A text for the stem, each stage and the head: `2 x basic, dense 3x3, batch, relu`."""
    return [_stem(spec), *(_stage(spec, index) for index in range(len(spec.stages))), _head(spec)]


def _stem(spec: ModelSpec) -> str:
    if spec.stem.kind is not None:
        return ", ".join(map(str, [spec.stem.kind, *(component for _, component in of_stem_alone(spec))]))
    convs = ", ".join(f"{conv.kernel_size}x{conv.kernel_size}/{conv.stride}" for conv in spec.stem.convs)
    return f"{convs} conv, {spec.stem.norm}, {spec.stem.act}" + (", 3x3/2 max pool" if spec.stem.max_pool else "")


def _stage(spec: ModelSpec, index: int) -> str:
    stage = spec.stages[index]
    block = stage.block
    parts = [f"{stage.depth} x {block.kind}", f"{block.conv} 3x3", str(block.norm), str(block.act)]
    parts += [
        str(component)
        for kind in placed("block")
        if kind.slot not in _NAMED and (component := chosen(block, kind.name)) != default(kind.name)
    ]
    if stage.dilation > 1:
        parts.append(f"dilation {stage.dilation}")
    if block.dropout:
        parts.append(f"dropout {block.dropout:g}")
    return ", ".join(parts)


def _head(spec: ModelSpec) -> str:
    parts = [f"{chosen(spec.head, 'pool')} pool"]
    if spec.head.dropout:
        parts.append(f"dropout {spec.head.dropout:g}")
    if spec.drop_path:
        parts.insert(0, f"stochastic depth to {spec.drop_path:g}")
    return ", ".join([*parts, "linear"])
