"""Downsampling against timm's, and where it stands in a block."""

import pytest
import torch
from timm.layers import BlurPool2d
from timm.models import resnet
from torch import nn

from resnet_lab.core.errors import SpecError
from resnet_lab.network.builder import build
from resnet_lab.network.plugins import load
from resnet_lab.network.spec import Component

BUILT_IN = load(only=())


def made(text: str, channels: int, stride: int) -> nn.Module:
    return BUILT_IN.bind("downsample", Component.parse(text), "here")(channels, stride)


@pytest.mark.parametrize(("padding", "mode"), [("zeros", "constant"), ("reflect", "reflect")])
@pytest.mark.parametrize("size", [3, 5])
def test_blur_is_timm_s(size: int, padding: str, mode: str) -> None:
    x = torch.randn(2, 4, 9, 6, generator=torch.Generator().manual_seed(0))
    theirs = BlurPool2d(4, size, 2, pad_mode=mode)
    text = f"(size={size}, padding={padding})"
    torch.testing.assert_close(made(f"blur{text}", 4, 2)(x), theirs(x))
    largest = nn.functional.max_pool2d(x, 3, stride=1, padding=1)
    torch.testing.assert_close(made(f"max_blur{text}", 4, 2)(x), theirs(largest))


@pytest.mark.parametrize("side", [1, 2])
def test_a_map_too_small_to_be_mirrored_is_refused(side: int) -> None:
    with pytest.raises(SpecError) as failure:
        made("blur(size=5, padding=reflect)", 4, 2)(torch.zeros(1, 4, side, 4))
    assert str(failure.value) == (
        f"a map of {side} x 4 pixels is too small to be mirrored by 2 for a blur of size 5; give larger images, or "
        "padding=zeros"
    )


def test_what_is_kept() -> None:
    x = torch.arange(15.0).view(1, 1, 3, 5)
    assert made("strided", 1, 2)(x).tolist() == [[[[0, 2, 4], [10, 12, 14]]]]
    assert made("average", 1, 2)(x).tolist() == [[[[3, 5, 6.5], [10.5, 12.5, 14]]]]


class Blur(BlurPool2d):
    """timm's with zeros outside."""

    def __init__(self, channels, stride):
        super().__init__(channels, 3, stride, pad_mode="constant")


@pytest.mark.parametrize(("name", "theirs"), [("resnet18", resnet.BasicBlock), ("resnet50", resnet.Bottleneck)])
def test_it_is_placed_as_in_timm(name: str, theirs: type[nn.Module]) -> None:
    """It follows norm and activation of the convolution that would have had the stride."""
    ours = build(name, downsample="blur").get_submodule("layer2.0").eval()
    in_channels, width = ours.conv1.in_channels, ours.conv1.out_channels
    block = theirs(in_channels, width, stride=2, downsample=ours.downsample, aa_layer=Blur).eval()
    block.load_state_dict(ours.state_dict())
    x = torch.randn(2, in_channels, 7, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x), block(x))


def test_a_stride_in_the_first_1x1_is_taken_over_too() -> None:
    block = build("resnet50_v1", downsample="average").get_submodule("layer2.0").eval()
    x = torch.randn(2, 256, 7, 6, generator=torch.Generator().manual_seed(0))
    seen = []
    block.aa.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    out = block(x)
    torch.testing.assert_close(seen[0][0], torch.relu(block.bn1(block.conv1(x))))
    assert block.conv1.stride == block.conv2.stride == (1, 1)
    assert seen[0][1].shape[2:] == out.shape[2:] == (4, 3)


def test_a_network_without_one_has_no_trace_of_it() -> None:
    plain, chosen = build("resnet20"), build("resnet20", downsample="strided")
    assert list(dict(plain.named_modules())) == list(dict(chosen.named_modules()))
    blurred = build("resnet20", downsample="blur@3")
    assert [name for name, module in blurred.named_modules() if name.endswith(".aa")] == ["layer3.0.aa"]
    assert blurred.state_dict().keys() == plain.state_dict().keys()


def test_refused() -> None:
    for text, message in (
        ("blur(size=4)", "stage 2: downsample blur(size=4): the size must be 3, 5 or 7"),
        ("max_blur(size=4)", "stage 2: downsample max_blur(size=4): the size must be 3, 5 or 7"),
        ("blur(size=9)", "stage 2: downsample blur(size=9): the size must be 3, 5 or 7"),
    ):
        with pytest.raises(SpecError) as failure:
            build("resnet18", downsample=text)
        assert str(failure.value) == message
