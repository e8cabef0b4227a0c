"""What tells a network from another one, in words."""

from collections.abc import Callable
from itertools import groupby

from resnet_lab.network.spec import ModelSpec, StageSpec, StemSpec

_PARTS: tuple[tuple[str, Callable[[StageSpec], object]], ...] = (
    ("block", lambda stage: stage.block.kind),
    ("3x3 convolution", lambda stage: stage.block.conv),
    ("activation", lambda stage: stage.block.act),
    ("norm", lambda stage: stage.block.norm),
    ("attention", lambda stage: stage.block.attn),
    ("shortcut", lambda stage: stage.block.shortcut),
    ("dropout", lambda stage: stage.block.dropout),
    ("depth", lambda stage: stage.depth),
    ("width", lambda stage: stage.width),
    ("output channels", lambda stage: stage.out_channels),
    ("stride", lambda stage: stage.stride),
)


def differences(spec: ModelSpec, base: ModelSpec, *, dropout: bool = True) -> list[str]:
    """Each part of `spec` that is another in `base`: `activation gelu for relu in stages 1 to 4`.

    Name, classes and input size are not parts.

    Args:
        dropout: whether it counts; in evaluation mode it does nothing.
    """
    found = _of_stem(spec.stem, base.stem)
    if spec.in_channels != base.in_channels:
        found.insert(0, f"input channels {spec.in_channels} for {base.in_channels}")
    if len(spec.stages) != len(base.stages):
        found.append(f"{len(spec.stages)} stages for {len(base.stages)}")
    for part, value in _PARTS:
        if part != "dropout" or dropout:
            found += _of_part(part, [value(stage) for stage in spec.stages], [value(stage) for stage in base.stages])
    if dropout and spec.head.dropout != base.head.dropout:
        found.append(f"dropout {spec.head.dropout:g} for {base.head.dropout:g} before the classifier")
    return found


def _of_stem(stem: StemSpec, base: StemSpec) -> list[str]:
    found = []
    if stem.convs != base.convs:
        found.append(f"stem of {_convolutions(stem)} for {_convolutions(base)}")
    if stem.max_pool != base.max_pool:
        found.append("max pool after the stem" if stem.max_pool else "no max pool after the stem")
    for part, own, other in (("activation", stem.act, base.act), ("norm", stem.norm, base.norm)):
        if own != other:
            found.append(f"{part} {own} for {other} in the stem")
    return found


def _convolutions(stem: StemSpec) -> str:
    return ", ".join(
        f"{conv.kernel_size}x{conv.kernel_size}/{conv.stride} to {conv.out_channels} channels" for conv in stem.convs
    )


def _of_part(part: str, own: list[object], base: list[object]) -> list[str]:
    """Stages with the same change are named together."""
    changes: dict[str, list[int]] = {}
    for number, (here, there) in enumerate(zip(own, base, strict=False), 1):
        if here != there:
            changes.setdefault(f"{part} {here} for {there}", []).append(number)
    return [f"{change} in {_stages(numbers)}" for change, numbers in changes.items()]


def _stages(numbers: list[int]) -> str:
    """`stage 3`, `stages 1 to 4`, `stages 1, 3 to 4`."""
    runs = [[number for _, number in run] for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])]
    text = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)
    return f"{'stage' if len(numbers) == 1 else 'stages'} {text}"
