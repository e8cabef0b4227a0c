from resnet_lab.network import cost, zoo
from resnet_lab.report.network import made_of


def test_each_row_of_the_cost_has_its_words() -> None:
    spec = zoo.get("resnet50").modified(attn="se(reduction=8)@4", act="gelu@4", dropout=0.1, head_dropout=0.25)
    assert made_of(spec) == [
        "7x7/2 conv, batch, relu, 3x3/2 max pool",
        "3 x bottleneck, dense 3x3, batch, relu, dropout 0.1",
        "4 x bottleneck, dense 3x3, batch, relu, dropout 0.1",
        "6 x bottleneck, dense 3x3, batch, relu, dropout 0.1",
        "3 x bottleneck, dense 3x3, batch, gelu, se(reduction=8), dropout 0.1",
        "average pool, dropout 0.25, linear",
    ]
    assert len(made_of(spec)) == len(cost.measure(spec).stages)


def test_kinds_that_are_not_the_default_are_named() -> None:
    spec = zoo.get("resnet18").modified(stem="patchify(size=2)", downsample="blur@4", pool="gem", shortcut="zero_pad")
    words = made_of(spec)
    assert words[0] == "patchify(size=2)"
    assert words[3:] == [
        "2 x basic, dense 3x3, batch, relu", "2 x basic, dense 3x3, batch, relu, blur", "gem pool, linear",
    ]  # fmt: skip


def test_dilation_and_stochastic_depth_are_named() -> None:
    words = made_of(zoo.get("resnet18").modified(dilate=[4], drop_path=0.1))
    assert words[-2:] == [
        "2 x basic, dense 3x3, batch, relu, dilation 2",
        "stochastic depth to 0.1, average pool, linear",
    ]


def test_of_a_stem_by_name_what_was_chosen_for_it_alone_is_named() -> None:
    """It may have no activation, as `patchify` has none, and one that it cannot use is refused."""
    spec = zoo.get("resnet18").modified(stem="patchify(size=2)", act="gelu", norm="group(groups=4)@stem")
    assert made_of(spec)[0] == "patchify(size=2), group(groups=4)"
