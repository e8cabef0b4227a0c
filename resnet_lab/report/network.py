"""What a network is made of, stage by stage, in words."""

from resnet_lab.network.spec import ModelSpec


def made_of(spec: ModelSpec) -> list[str]:
    """A text for the stem, each stage and the head: `2 x basic, dense 3x3, batch, relu`."""
    return [_stem(spec), *(_stage(spec, index) for index in range(len(spec.stages))), _head(spec)]


def _stem(spec: ModelSpec) -> str:
    convs = ", ".join(f"{conv.kernel_size}x{conv.kernel_size}/{conv.stride}" for conv in spec.stem.convs)
    return f"{convs} conv, {spec.stem.norm}, {spec.stem.act}" + (", 3x3/2 max pool" if spec.stem.max_pool else "")


def _stage(spec: ModelSpec, index: int) -> str:
    stage = spec.stages[index]
    block = stage.block
    parts = [f"{stage.depth} x {block.kind}", f"{block.conv} 3x3", str(block.norm), str(block.act)]
    if block.attn.name != "none":
        parts.append(str(block.attn))
    if block.dropout:
        parts.append(f"dropout {block.dropout:g}")
    return ", ".join(parts)


def _head(spec: ModelSpec) -> str:
    return "average pool" + (f", dropout {spec.head.dropout:g}" if spec.head.dropout else "") + ", linear"
