"""Compatibility of networks' weights: which change of components keeps them."""

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

from torch import Tensor

from resnet_lab.network import zoo
from resnet_lab.network.spec import ModelSpec

_IN_BLOCK = re.compile(r"layer(\d{1,4})\.(\d{1,4})\.(?:conv(\d)\b)?")


class Anatomy(NamedTuple):
    """A network's blocks, stage by stage.

    Attributes:
        blocks: `basic` or `bottleneck`, empty where it is neither.
        widths: channels inside the residual branch, 0 where not known.
        groups: of the 3x3 convolutions of the first stage.
    """

    blocks: tuple[str, ...]
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    groups: int

    def __str__(self) -> str:
        if not self.depths:
            return "no residual blocks"
        kind = f"{self.blocks[0]} blocks" if self.blocks[0] else "blocks"
        width = f" of width {self.widths[0]}" if self.widths[0] else ""
        rows = [row for row in zoo.ROWS if anatomy(row.spec)[:3] == self[:3]]
        rows.sort(key=lambda row: anatomy(row.spec).groups != self.groups)
        return f"{'+'.join(map(str, self.depths))} {kind}{width}" + (f" ({rows[0].name})" if rows else "")

    def is_compatible(self, other: "Anatomy") -> bool:
        """Whether one's weights can be meant for the other.

        Another depth or block is a mistake, and so is another width in every stage: what fits then, fits by accident.
        One stage more or fewer, or another width in some stages, is a change: no published networks differ so.
        """
        blocks = zip(self.blocks, other.blocks, strict=False)
        depths = zip(self.depths, other.depths, strict=False)
        widths = list(zip(self.widths, other.widths, strict=False))
        return (
            all(one == another or not (one and another) for one, another in blocks)
            and all(one == another for one, another in depths)
            and (not widths or any(one == another or not (one and another) for one, another in widths))
        )


def anatomy(spec: ModelSpec) -> Anatomy:
    """Anatomy of the network that `spec` describes."""
    kinds = [stage.block.kind for stage in spec.stages]
    return Anatomy(
        blocks=tuple(kind.name if kind.name in ("basic", "bottleneck") else "" for kind in kinds),
        depths=tuple(stage.depth for stage in spec.stages),
        widths=tuple(stage.width for stage in spec.stages),
        groups=int(dict(kinds[0].parameters).get("groups", 1)),
    )


def anatomy_of(tensors: Mapping[str, Tensor]) -> Anatomy:
    """Anatomy of the network of a state dict with torchvision's names; without stages where it has other names."""
    depths: dict[int, int] = {}
    widths: dict[int, int] = {}
    convs: dict[int, set[str]] = {}
    for name, tensor in sorted(tensors.items(), key=lambda item: item[0]):
        if not (match := _IN_BLOCK.match(name)):
            continue
        stage, block, conv = int(match[1]), int(match[2]), match[3]
        depths[stage] = max(depths.get(stage, 0), block + 1)
        convs.setdefault(stage, set()).add(conv)
        if conv == "1" and tensor.ndim == 4:
            widths[stage] = tensor.shape[0]  # where two convolutions stand for one, the last decides
    middle = tensors.get("layer1.0.conv2.weight")
    grouped = middle is not None and middle.ndim == 4 and middle.shape[0] == widths.get(1)
    return Anatomy(
        blocks=tuple(
            "bottleneck" if "3" in convs[stage] else "basic" if "2" in convs[stage] else "" for stage in sorted(depths)
        ),
        depths=tuple(depths[stage] for stage in sorted(depths)),
        widths=tuple(widths.get(stage, 0) for stage in sorted(depths)),
        groups=middle.shape[0] // middle.shape[1] if middle is not None and grouped else 1,
    )


def relatives(spec: ModelSpec, names: Collection[str]) -> list[str]:
    """Networks among the zoo's `names` that have the blocks, depths and channels of `spec`, the nearest first.

    Stem, shortcut and components do not count: they are what one changes. Of networks that differ in groups alone,
    those with the groups of `spec` come first, then the one with its name.
    """

    def channels(of: ModelSpec) -> list[int]:
        return [stage.out_channels for stage in of.stages]

    own = anatomy(spec)
    alike = [
        row.spec
        for row in zoo.ROWS
        if row.name in names and anatomy(row.spec)[:3] == own[:3] and channels(row.spec) == channels(spec)
    ]
    alike.sort(key=lambda each: (anatomy(each).groups != own.groups, each.name != spec.name))
    return [each.name for each in alike]
