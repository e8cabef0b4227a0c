import pytest

from resnet_lab.network import zoo
from resnet_lab.network.cost import measure, small_maps
from resnet_lab.network.spec import ModelSpec
from tests.references.counts import count

TINY = ModelSpec.model_validate(
    {
        "name": "tiny",
        "input_size": 8,
        "stem": {"convs": [{"out_channels": 2, "kernel_size": 3, "stride": 2}]},
        "stages": [{"depth": 1, "width": 2, "out_channels": 4, "stride": 2, "block": {"kind": "basic"}}],
        "head": {"num_classes": 5},
    }
)


def test_a_network_counted_by_hand() -> None:
    """8x8 -> stem 4x4 -> pool 2x2 -> stage 1x1."""
    cost = measure(TINY)
    assert [(row.name, row.shape, row.parameters, row.macs) for row in cost.stages] == [
        ("stem", (2, 2, 2), 3 * 9 * 2 + 4, 3 * 9 * 2 * 16),
        ("layer1", (4, 1, 1), (2 * 9 * 2 + 4) + (2 * 9 * 4 + 8) + (2 * 4 + 8), 2 * 9 * 2 + 2 * 9 * 4 + 2 * 4),
        ("head", (5,), 4 * 5 + 5, 4 * 5),
    ]
    assert (cost.parameters, cost.macs) == count(TINY)


CHANGES = {
    "se": lambda c, s: (2 * c * (c // 16) + c + c // 16, 2 * c * (c // 16)),
    "cbam": lambda c, s: (2 * c * (c // 16) + 98, 4 * c * (c // 16) + 98 * s * s),
    "cbam(norm=true)": lambda c, s: (2 * c * (c // 16) + 100, 4 * c * (c // 16) + 98 * s * s),
    "eca(kernel_size=5)": lambda c, s: (5, 5 * c),
}


@pytest.mark.parametrize("attn", CHANGES)
def test_what_an_attention_adds(attn: str) -> None:
    """ResNet-50's blocks end in C = 256 to 2048 channels at S = 56 to 7 pixels; formulas from the papers."""
    plain, gated = measure(zoo.get("resnet50")), measure(zoo.get("resnet50").modified(attn=attn))
    added = [CHANGES[attn](256 << i, 56 >> i) for i, depth in enumerate((3, 4, 6, 3)) for _ in range(depth)]
    assert gated.parameters - plain.parameters == sum(parameters for parameters, _ in added)
    assert gated.macs - plain.macs == sum(macs for _, macs in added)


@pytest.mark.parametrize(("conv", "pointwise"), [("depthwise", 0), ("separable", 1)])
def test_what_a_depthwise_convolution_saves(conv: str, pointwise: int) -> None:
    """A 3x3 of width W at S pixels: 9 W^2 weights become 9 W, and W^2 for the 1x1 of the separable one."""
    plain, light = measure(zoo.get("resnet50")), measure(zoo.get("resnet50").modified(conv=conv))
    weights = [(64 << i, 56 >> i) for i, depth in enumerate((3, 4, 6, 3)) for _ in range(depth)]
    saved = [(9 * w * w - 9 * w - pointwise * w * w, s * s) for w, s in weights]
    assert plain.parameters - light.parameters == sum(number for number, _ in saved)
    assert plain.macs - light.macs == sum(number * area for number, area in saved)


def test_activations_cost_no_multiply_add_but_are_named() -> None:
    plain, changed = measure(zoo.get("resnet18")), measure(zoo.get("resnet18").modified(act="gelu"))
    assert (plain.macs, plain.parameters) == (changed.macs, changed.parameters)
    assert set(changed.uncounted) - set(plain.uncounted) == {"gelu"}


@pytest.mark.parametrize(
    ("name", "size", "oversized"),
    [
        ("resnet18", 16, ("2 over 1 x 1",)),
        ("resnet18", 17, ()),
        ("resnet20", 2, ("2 over 1 x 1",)),
        ("resnet20", 3, ()),
    ],
)
def test_strides_larger_than_their_map(name: str, size: int, oversized: tuple[str, ...]) -> None:
    """Before their last stride, ResNet-18 has divided by 16 and ResNet-20 by 2; odd sizes are rounded up."""
    assert measure(zoo.get(name).modified(input_size=size)).oversized_strides == oversized


def test_rows_sum_to_the_whole_and_notes_come_along() -> None:
    cost = measure(zoo.get("resnet18").modified(conv="depthwise", attn="cbam", norm="layer"))
    assert sum(row.parameters for row in cost.stages) == cost.parameters
    assert sum(row.macs for row in cost.stages) == cost.macs
    assert len(cost.notes) == 1


@pytest.mark.parametrize(
    ("name", "size", "maps"),
    [
        ("resnet18", 32, ("8 x 8", "8 x 8, 4 x 4, 2 x 2, 1 x 1")),
        ("resnet50", 28, ("7 x 7", "7 x 7, 4 x 4, 2 x 2, 1 x 1")),
        ("resnet50d", 64, ("16 x 16", "16 x 16, 8 x 8, 4 x 4, 2 x 2")),
    ],
)
def test_a_stem_for_large_images_is_remarked_on(name: str, size: int, maps: tuple[str, str]) -> None:
    """He et al. 2015, table 1: the stem and the stages from the second on halve the resolution, rounding up."""
    spec = zoo.get(name).modified(input_size=size)
    assert small_maps(spec, measure(spec)) == (
        f"the stem reduces {size} x {size} pixels to {maps[0]}, and the maps of the stages are {maps[1]}; for images "
        "this small give --stem cifar, which keeps all pixels at 16 times the MACs per stage, or a larger --size",
    )
    remedied = spec.modified(stem="cifar")
    assert small_maps(remedied, measure(remedied)) == ()


def test_without_the_reduction_a_stage_has_sixteen_times_the_work() -> None:
    spec = zoo.get("resnet50d").modified(input_size=64)
    stages = zip(measure(spec).stages[1:-1], measure(spec.modified(stem="cifar")).stages[1:-1], strict=True)
    assert all(after.macs == 16 * before.macs for before, after in stages)


@pytest.mark.parametrize(("name", "size"), [("resnet18", 96), ("resnet20", 8), ("resnet50", 224)])
def test_other_stems_are_not(name: str, size: int) -> None:
    spec = zoo.get(name).modified(input_size=size)
    assert small_maps(spec, measure(spec)) == ()
