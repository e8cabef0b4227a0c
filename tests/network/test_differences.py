import pytest

from resnet_lab.network import zoo
from resnet_lab.network.differences import differences
from tests.export.conftest import tiny

RESNET50 = zoo.get("resnet50")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"num_classes": 4, "input_size": 96, "name": "mine"}, []),
        ({"act": "gelu"}, ["activation gelu for relu in the stem", "activation gelu for relu in stages 1 to 4"]),
        ({"act": "silu@2"}, ["activation silu for relu in stage 2"]),
        (
            {"attn": ["cbam(reduction=8)@1,3,4", "se@2"]},
            ["attention cbam(reduction=8) for none in stages 1, 3 to 4", "attention se for none in stage 2"],
        ),
        ({"conv": "depthwise"}, ["3x3 convolution depthwise for dense in stages 1 to 4"]),
        ({"norm": "group@stem"}, ["norm group for batch in the stem"]),
        (
            {"stem": "patchify", "downsample": "blur@3", "pool": "gem"},
            [
                "stem of patchify to 64 channels for 7x7/2 to 64 channels",
                "downsampling blur for strided in stage 3",
                "pool before the classifier gem for average",
            ],
        ),
        ({"shortcut": "zero_pad"}, ["shortcut zero_pad for projection in stages 1 to 4"]),
        ({"in_channels": 1}, ["input channels 1 for 3"]),
        ({"block": "bottleneck(groups=2)@4"}, ["block bottleneck(groups=2) for bottleneck in stage 4"]),
        (
            {"dropout": 0.1, "head_dropout": 0.5},
            ["dropout 0.1 for 0.0 in stages 1 to 4", "dropout 0.5 for 0 before the classifier"],
        ),
        (
            {"drop_path": 0.1, "dilate": [4]},
            ["stride 1 for 2 in stage 4", "dilation 2 for 1 in stage 4", "stochastic depth 0.1 for 0"],
        ),
    ],
)
def test_in_words(changes: dict[str, object], words: list[str]) -> None:
    assert differences(RESNET50.modified(**changes), RESNET50) == words


def test_dropout_need_not_count() -> None:
    assert differences(RESNET50.modified(dropout=0.1, head_dropout=0.5), RESNET50, dropout=False) == []


def test_stems() -> None:
    assert differences(zoo.get("resnet50d"), RESNET50) == [
        "stem of 3x3/2 to 32 channels, 3x3/1 to 32 channels, 3x3/1 to 64 channels for 7x7/2 to 64 channels",
        "shortcut pooled_projection for projection in stages 1 to 4",
    ]


def test_shapes_of_stages() -> None:
    assert differences(tiny(), zoo.get("resnet20")) == ["2 stages for 3", "depth 1 for 3 in stages 1 to 2"]
    assert differences(zoo.get("wide_resnet50_2"), RESNET50) == [
        "width 128 for 64 in stage 1",
        "width 256 for 128 in stage 2",
        "width 512 for 256 in stage 3",
        "width 1024 for 512 in stage 4",
    ]
    assert differences(tiny(), zoo.get("resnet18"))[:3] == [
        "stem of 3x3/1 to 16 channels for 7x7/2 to 64 channels",
        "no max pool after the stem",
        "2 stages for 4",
    ]
