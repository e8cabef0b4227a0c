"""The papers' networks as rows: name, source, expected counts, architecture.

Counts are for the row's own classes and input size. MACs are multiply-adds of convolutions and linear layers at
batch 1; FLOPs = 2 x MACs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_lab.core.errors import SpecError, nearest
from resnet_lab.core.records import SMALL, Malformed, parse_json, parse_toml, read_bytes, repr_of
from resnet_lab.network.spec import (
    CHANGES,
    BlockSpec,
    Component,
    HeadSpec,
    ModelSpec,
    StageSpec,
    StemConv,
    StemSpec,
)

HE = "He et al. 2015, arXiv:1512.03385"
WIDE = "Zagoruyko and Komodakis 2016, arXiv:1605.07146"
RESNEXT = "Xie et al. 2016, arXiv:1611.05431"
RESNET_D = "He et al. 2018, arXiv:1812.01187"


@dataclass(frozen=True)
class Row:
    """One network of the zoo, with where it was published and what it must count to."""

    spec: ModelSpec
    source: str
    parameters: int
    macs: int

    @property
    def name(self) -> str:
        return self.spec.name


PLAIN_STEM = StemSpec(convs=(StemConv(out_channels=64, kernel_size=7, stride=2),))
DEEP_STEM = StemSpec(
    convs=(
        StemConv(out_channels=32, kernel_size=3, stride=2),
        StemConv(out_channels=32, kernel_size=3, stride=1),
        StemConv(out_channels=64, kernel_size=3, stride=1),
    )
)
CIFAR_STEM = StemSpec(convs=(StemConv(out_channels=16, kernel_size=3, stride=1),), max_pool=False)

TIERED_STEM = StemSpec(
    convs=(
        StemConv(out_channels=24, kernel_size=3, stride=2),
        StemConv(out_channels=32, kernel_size=3, stride=1),
        StemConv(out_channels=64, kernel_size=3, stride=1),
    )
)

DEPTHS = {
    "18": ("basic", (2, 2, 2, 2)),
    "26": ("bottleneck", (2, 2, 2, 2)),
    "34": ("basic", (3, 4, 6, 3)),
    "50": ("bottleneck", (3, 4, 6, 3)),
    "101": ("bottleneck", (3, 4, 23, 3)),
    "152": ("bottleneck", (3, 8, 36, 3)),
}


def _imagenet(
    name: str,
    depth: str,
    *,
    width: int = 64,
    stem: StemSpec = PLAIN_STEM,
    shortcut: str = "projection",
    **block_parameters: int | str,
) -> ModelSpec:
    """A four-stage network; `width` is that of the first stage's 3x3 convolutions and doubles with each stage."""
    kind, depths = DEPTHS[depth]
    block = BlockSpec.model_validate(
        {"kind": Component(name=kind, parameters=tuple(block_parameters.items())), "shortcut": shortcut}
    )
    expansion = 4 if kind == "bottleneck" else 1
    stages = tuple(
        StageSpec(
            depth=blocks,
            width=width << index,
            out_channels=64 * expansion << index,
            stride=1 if index == 0 else 2,
            block=block,
        )
        for index, blocks in enumerate(depths)
    )
    return ModelSpec(name=name, stem=stem, stages=stages, head=HeadSpec(num_classes=1000))


def _cifar(name: str, depth: int, shortcut: str) -> ModelSpec:
    """Section 4.2: 6n+2 layers, three stages of n basic blocks with 16, 32 and 64 channels, 32x32 input."""
    block = BlockSpec.model_validate({"kind": "basic", "shortcut": shortcut})
    stages = tuple(
        StageSpec(depth=(depth - 2) // 6, width=width, out_channels=width, stride=stride, block=block)
        for width, stride in ((16, 1), (32, 2), (64, 2))
    )
    return ModelSpec(name=name, input_size=32, stem=CIFAR_STEM, stages=stages, head=HeadSpec(num_classes=10))


_TABLE_1 = f"{HE}, table 1"
_V15 = f"{_TABLE_1}, with the stride in the 3x3 as torchvision has it"
_V1 = f"{_TABLE_1}, stride in the first 1x1"
_D = f"{RESNET_D}, figure 2: deep stem, pooled shortcut"
_T = f"{_D}, of which the first convolution has 24 channels: timm's"
_OPTION_A = f"{HE}, section 4.2, option A"
_OPTION_B = f"{HE}, section 4.2, option B"

# fmt: off
ROWS = (
    Row(_imagenet("resnet18", "18"), _V15, 11_689_512, 1_814_073_344),
    Row(_imagenet("resnet34", "34"), _V15, 21_797_672, 3_663_761_408),
    Row(_imagenet("resnet50", "50"), _V15, 25_557_032, 4_089_184_256),
    Row(_imagenet("resnet101", "101"), _V15, 44_549_160, 7_801_405_440),
    Row(_imagenet("resnet152", "152"), _V15, 60_192_808, 11_513_626_624),
    Row(_imagenet("resnet18_v1", "18"), _V1, 11_689_512, 1_814_073_344),
    Row(_imagenet("resnet34_v1", "34"), _V1, 21_797_672, 3_663_761_408),
    Row(_imagenet("resnet50_v1", "50", stride_on="conv1"), _V1, 25_557_032, 3_857_973_248),
    Row(_imagenet("resnet101_v1", "101", stride_on="conv1"), _V1, 44_549_160, 7_570_194_432),
    Row(_imagenet("resnet152_v1", "152", stride_on="conv1"), _V1, 60_192_808, 11_282_415_616),
    Row(_imagenet("wide_resnet50_2", "50", width=128), WIDE, 68_883_240, 11_398_021_120),
    Row(_imagenet("wide_resnet101_2", "101", width=128), WIDE, 126_886_696, 22_753_050_624),
    Row(_imagenet("resnext50_32x4d", "50", width=128, groups=32), RESNEXT, 25_028_904, 4_230_479_872),
    Row(_imagenet("resnext101_32x8d", "101", width=256, groups=32), RESNEXT, 88_791_336, 16_414_015_488),
    Row(_imagenet("resnext101_64x4d", "101", width=256, groups=64), RESNEXT, 83_455_272, 15_460_270_080),
    Row(_imagenet("resnet18d", "18", stem=DEEP_STEM, shortcut="pooled_projection"), _D, 11_708_744, 2_053_713_920),
    Row(_imagenet("resnet34d", "34", stem=DEEP_STEM, shortcut="pooled_projection"), _D, 21_816_904, 3_903_401_984),
    Row(_imagenet("resnet50d", "50", stem=DEEP_STEM, shortcut="pooled_projection"), _D, 25_576_264, 4_328_824_832),
    Row(_imagenet("resnet101d", "101", stem=DEEP_STEM, shortcut="pooled_projection"), _D, 44_568_392, 8_041_046_016),
    Row(_imagenet("resnet152d", "152", stem=DEEP_STEM, shortcut="pooled_projection"), _D, 60_212_040, 11_753_267_200),
    Row(_imagenet("resnet26t", "26", stem=TIERED_STEM, shortcut="pooled_projection"), _T, 16_011_872, 2_550_286_336),
    Row(_imagenet("resnet50t", "50", stem=TIERED_STEM, shortcut="pooled_projection"), _T, 25_573_728, 4_297_213_952),
    Row(_cifar("resnet20", 20, "zero_pad"), _OPTION_A, 269_722, 40_551_040),
    Row(_cifar("resnet32", 32, "zero_pad"), _OPTION_A, 464_154, 68_862_592),
    Row(_cifar("resnet44", 44, "zero_pad"), _OPTION_A, 658_586, 97_174_144),
    Row(_cifar("resnet56", 56, "zero_pad"), _OPTION_A, 853_018, 125_485_696),
    Row(_cifar("resnet110", 110, "zero_pad"), _OPTION_A, 1_727_962, 252_887_680),
    Row(_cifar("resnet20_b", 20, "projection"), _OPTION_B, 272_474, 40_813_184),
    Row(_cifar("resnet32_b", 32, "projection"), _OPTION_B, 466_906, 69_124_736),
    Row(_cifar("resnet44_b", 44, "projection"), _OPTION_B, 661_338, 97_436_288),
    Row(_cifar("resnet56_b", 56, "projection"), _OPTION_B, 855_770, 125_747_840),
    Row(_cifar("resnet110_b", 110, "projection"), _OPTION_B, 1_730_714, 253_149_824),
)
# fmt: on

_BY_NAME = {row.name: row for row in ROWS}


def names() -> tuple[str, ...]:
    """Names of all networks, in the order of the table."""
    return tuple(_BY_NAME)


def row(name: str) -> Row:
    """The row of a network.

    Raises:
        SpecError: no such network; the nearest names are offered.
    """
    if name not in _BY_NAME:
        raise SpecError(f"unknown network {repr_of(name)}; {nearest(name, _BY_NAME)}")
    return _BY_NAME[name]


def get(name: str) -> ModelSpec:
    """The architecture of a network; raises like `row`."""
    return row(name).spec


def unmodified(spec: ModelSpec) -> ModelSpec | None:
    """The zoo's network of the same name with this one's classes and input, or None where the name is not its."""
    if spec.name not in _BY_NAME:
        return None
    return get(spec.name).modified(
        num_classes=spec.head.num_classes, in_channels=spec.in_channels, input_size=spec.input_size
    )


def from_choices(choices: dict[str, Any], where: str) -> ModelSpec:
    """A network in short form: `{"model": "resnet50", "act": "gelu", "attn": "cbam@3,4"}`, as in TOML and on a screen.

    Raises:
        SpecError: an unknown key or network, or a change that `ModelSpec.modified` refuses.
    """
    changes = dict(choices)
    base = changes.pop("model", "resnet50")
    for key in changes:
        if key not in CHANGES:
            raise SpecError(f"{where}: unknown key {repr_of(key)}; {nearest(key, ('model', *CHANGES))}")
    if not isinstance(base, str):
        raise SpecError(f"{where}: model must be a text, got {repr_of(base)}")
    try:
        return get(base).modified(**changes)
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from None


def read(path: str | Path) -> ModelSpec:
    """A network from a .json or .toml file: a whole spec as `ModelSpec.to_json` writes it, or a brief one.

    Raises:
        SpecError: no such file, not JSON or TOML, or what `ModelSpec.from_dict` and `from_choices` refuse.
    """
    path = Path(path)
    content = read_bytes(path, SMALL, SpecError)
    try:
        data: Any = parse_toml(content) if path.suffix == ".toml" else parse_json(content)
    except Malformed as error:
        raise SpecError(f"{path}: {error}") from None
    if isinstance(data, dict) and not {"format", "stages", "stem"} & data.keys():
        return from_choices(data, str(path))
    return ModelSpec.from_dict(data, str(path))
