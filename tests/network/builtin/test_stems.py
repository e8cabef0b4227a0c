"""Stems: those that are lists of convolutions against the zoo's, and patches by hand."""

import numpy as np
import pytest
import torch
from timm.layers import BlurPool2d
from timm.layers.space_to_depth import SpaceToDepth
from timm.models.resnet import BasicBlock, ResNet
from torch import nn

from resnet_lab.core.errors import SpecError
from resnet_lab.network import zoo
from resnet_lab.network.builder import build
from resnet_lab.network.plugins import load
from resnet_lab.network.spec import Component, ModelSpec


def test_stems_of_the_papers_are_lists_of_convolutions() -> None:
    """However they were chosen; `deep` is ResNet-D's, which the zoo has from the paper's figure 2b."""
    plain, deep, cifar = (zoo.get(name) for name in ("resnet50", "resnet50d", "resnet56"))
    assert plain.modified(stem="deep").stem == deep.stem
    assert deep.modified(stem="plain").stem == plain.stem
    assert plain.modified(stem="plain") == plain
    assert cifar.modified(stem="cifar") == cifar
    assert plain.modified(stem="deep", shortcut="pooled_projection").hash == deep.hash
    assert plain.modified(stem="patchify").modified(stem="deep").stem == deep.stem


def test_a_stem_of_another_kind_is_kept_by_name() -> None:
    spec = zoo.get("resnet50d").modified(stem="patchify(size=2)", act="gelu@stem")
    assert spec.stem.model_dump(mode="json") == {
        "convs": [], "max_pool": True, "act": "gelu", "norm": "batch", "kind": "patchify(size=2)", "out_channels": 64,
    }  # fmt: skip
    assert ModelSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    "stem",
    [{"convs": []}, {"out_channels": 8}, {"kind": "patchify"}, {"convs": [], "kind": None, "out_channels": 3}],
)
def test_a_stem_is_either_a_list_or_a_component(stem: dict) -> None:
    data = zoo.get("resnet18").model_dump(mode="json") | {"stem": stem}
    with pytest.raises(SpecError) as failure:
        ModelSpec.from_dict(data)
    assert str(failure.value).startswith("spec: stem: a stem has either convs, or a kind and out_channels, got ")


@pytest.mark.parametrize(
    ("stem", "message"),
    [
        ({"kind": "deep", "out_channels": 0}, "stem: a stem has either convs, or a kind and out_channels, got "),
        ({"kind": "deep", "out_channels": -5}, "stem.out_channels: input should be greater than or equal to 1, got -5"),
        ({"kind": "deep", "out_channels": True}, "stem.out_channels: input should be a valid integer, got True"),
        ({"kind": "deep", "convs": "x"}, "stem: a stem has either convs, or a kind and out_channels, got "),
        ({"kind": 3, "out_channels": 8}, "stem.kind: "),
        ({"kind": "deep(", "out_channels": 8}, "component 'deep(' is not of the form"),
    ],
)
def test_invalid_stems_in_a_file_are_refused(stem: dict, message: str) -> None:
    data = zoo.get("resnet18").model_dump(mode="json") | {"stem": stem}
    with pytest.raises(SpecError) as failure:
        ModelSpec.from_dict(data)
    assert str(failure.value).removeprefix("spec: ").startswith(message)


def test_pools_of_a_stem_against_timm_s() -> None:
    """`timm.models.resnet.ResNet` with `aa_layer`, `replace_stem_pool` and a tiered stem, on the same weights."""
    for pool, arguments in (
        ("max_blur", {"aa_layer": BlurPool2d}),
        ("average", {"aa_layer": nn.AvgPool2d}),
        ("conv", {"replace_stem_pool": True}),
    ):
        network = build("resnet18", stem=f"deep_tiered(pool={pool})").eval()
        theirs = ResNet(BasicBlock, (1, 1, 1, 1), 5, stem_type="deep_tiered", stem_width=32, **arguments).eval()
        own = {key: value for key, value in network.state_dict().items() if key.startswith(("conv1", "bn1", "maxpool"))}
        assert set(theirs.load_state_dict(own, strict=False).unexpected_keys) == set()
        x = torch.randn(2, 3, 20, 28)
        expected = theirs.maxpool(theirs.act1(theirs.bn1(theirs.conv1(x))))
        torch.testing.assert_close(network.maxpool(network.act1(network.bn1(network.conv1(x)))), expected)


def test_the_last_convolution_may_have_the_stride_of_the_pool() -> None:
    """As in timm's gcresnet50t, which is compared as a whole in test_timm_networks."""
    network = build("resnet18", stem="plain(pool=stride)")
    assert network.conv1.stride == (4, 4)
    assert network.maxpool(torch.ones(1, 64, 8, 8)).shape == (1, 64, 8, 8)


def test_space_to_depth_is_timm_s() -> None:
    """On sides that 4 divides; on others it is that of the image with zeros on the right and below."""
    network = build("resnet18", stem="space_to_depth").eval()
    stem = network.conv1
    x = torch.randn(2, 3, 8, 12)
    expected = stem.act(stem.norm(stem.conv(SpaceToDepth()(x))))
    torch.testing.assert_close(network.maxpool(network.act1(network.bn1(stem(x)))), expected)
    torch.testing.assert_close(stem(x[:, :, :7, :9]), stem(nn.functional.pad(x[:, :, :7, :9], (0, 3, 0, 1))))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patchify(size=0)", "stem: stem patchify(size=0): the size must be at least 1"),
        ("deep(size=2)", "stem: stem deep has no parameter 'size'; known: pool"),
        ("patch", "stem: unknown stem 'patch'; did you mean 'patchify'?"),
        ("patchify@2", "patchify: resnet18 has no such part in stage 2; it can go to stem"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError) as failure:
        build("resnet18", stem=text)
    assert str(failure.value) == message


def test_a_choice_for_the_stem_alone_has_a_place_in_it() -> None:
    """One for the whole network reaches a stem without a place for it too, and is no error there."""
    with pytest.raises(SpecError) as failure:
        build("resnet18", stem="patchify", act="gelu@stem")
    assert str(failure.value) == (
        "stem: stem patchify has no activation, so gelu cannot go there; leave it at relu, or name stages with gelu@..."
    )
    build("resnet18", stem="patchify", act="gelu", norm="group(groups=4)@stem")


def test_patches_by_hand() -> None:
    """5x6 pixels in patches of 4: zeros on the right and below. Batch norm at its start divides by sqrt(1 + 1e-5)."""
    torch.manual_seed(0)
    network = build("resnet18", stem="patchify", norm="batch(eps=1e-5)").double().eval()
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    padded = np.zeros((2, 3, 8, 8))
    padded[:, :, :5, :6] = x.numpy()
    weight = network.conv1.conv.weight.detach().numpy()
    expected = np.zeros((2, 64, 2, 2))
    for row, column in np.ndindex(2, 2):
        patch = padded[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        expected[:, :, row, column] = np.einsum("nchw,ochw->no", patch, weight) / np.sqrt(1 + 1e-5)
    out = network.maxpool(network.act1(network.bn1(network.conv1(x))))
    np.testing.assert_allclose(out.detach().numpy(), expected, atol=1e-12)


def test_as_components_they_are_what_networks_have() -> None:
    """`plain` from the registry, as the conformance kit makes it, is the stem of ResNet-18."""
    from functools import partial

    from resnet_lab.network.model import StemParts

    def convolution(in_channels, out_channels, kernel_size, stride=1, *, padding=None):
        return nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False)

    parts = StemParts(conv=convolution, norm=nn.BatchNorm2d, act=partial(nn.ReLU, inplace=True))
    for name, row in (
        ("plain", "resnet18"),
        ("deep", "resnet18d"),
        ("deep_tiered", "resnet50t"),
        ("cifar", "resnet20"),
    ):
        network = build(row).eval()
        stem = load(only=()).bind("stem", Component(name=name), "here")(3, zoo.get(row).stem.channels, parts).eval()
        stem.load_state_dict({key: value for key, value in network.state_dict().items() if key[:5] in ("conv1", "bn1.w",
                              "bn1.b", "bn1.r", "bn1.n")})  # fmt: skip
        x = torch.randn(2, 3, 16, 16)
        torch.testing.assert_close(stem(x), network.maxpool(network.act1(network.bn1(network.conv1(x)))))
