"""Differences between two networks, in words."""

from collections.abc import Callable
from itertools import groupby

from resnet_lab.network.kinds import placed
from resnet_lab.network.spec import ModelSpec, StageSpec, StemSpec, chosen

_PARTS: tuple[tuple[str, Callable[[StageSpec], object]], ...] = (
    *((kind.words, lambda stage, kind=kind: chosen(stage.block, kind.name)) for kind in placed("block")),
    ("dropout", lambda stage: stage.block.dropout),
    ("depth", lambda stage: stage.depth),
    ("width", lambda stage: stage.width),
    ("output channels", lambda stage: stage.out_channels),
    ("stride", lambda stage: stage.stride),
    ("dilation", lambda stage: stage.dilation),
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
    for kind in placed("head"):
        own, other = chosen(spec.head, kind.name), chosen(base.head, kind.name)
        if own != other:
            found.append(f"{kind.words} {own} for {other}")
    if dropout and spec.drop_path != base.drop_path:
        found.append(f"stochastic depth {spec.drop_path:g} for {base.drop_path:g}")
    if dropout and spec.head.dropout != base.head.dropout:
        found.append(f"dropout {spec.head.dropout:g} for {base.head.dropout:g} before the classifier")
    return found


def _of_stem(stem: StemSpec, base: StemSpec) -> list[str]:
    found = []
    if (stem.kind, stem.convs, stem.out_channels) != (base.kind, base.convs, base.out_channels):
        found.append(f"stem of {_what(stem)} for {_what(base)}")
    if stem.max_pool != base.max_pool and stem.kind is None:
        found.append("max pool after the stem" if stem.max_pool else "no max pool after the stem")
    for kind in placed("stem"):
        own, other = chosen(stem, kind.name), chosen(base, kind.name)
        if own != other and kind.name != "stem":
            found.append(f"{kind.words} {own} for {other} in the stem")
    return found


def _what(stem: StemSpec) -> str:
    if stem.kind is not None:
        return f"{stem.kind} to {stem.out_channels} channels"
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
