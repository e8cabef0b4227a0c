"""Means of feature maps, and the memory layout of gradients in whole networks."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, hessian, jvp, vmap

from resnet_lab.network.builder import build
from resnet_lab.network.kinds import KINDS
from resnet_lab.network.model import BasicBlock, Bottleneck
from resnet_lab.network.plugins import load
from resnet_lab.network.pooling import (
    channel_max,
    channel_mean,
    column_mean,
    is_channels_last,
    pixel_max,
    pixel_mean,
    row_mean,
)
from resnet_lab.network.zoo import get

LAYOUTS = [torch.channels_last, torch.contiguous_format]
REDUCTIONS = [
    (pixel_mean, torch.mean, (2, 3)),
    (channel_mean, torch.mean, (1,)),
    (pixel_max, torch.amax, (2, 3)),
    (channel_max, torch.amax, (1,)),
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("reduce", "torchs", "dims"), REDUCTIONS)
def test_torchs_values_and_gradients_in_the_layout_of_the_map(
    reduce: Callable[[Tensor], Tensor],
    torchs: Callable[..., Tensor],
    dims: tuple[int, ...],
    layout: torch.memory_format,
    dtype: torch.dtype,
) -> None:
    draw = torch.Generator().manual_seed(0)
    for shape in ((4, 8, 7, 5), (4, 1, 7, 5), (1, 8, 7, 5), (4, 8, 1, 1), (2, 3, 40, 30)):
        for ties in (False, True):
            x = torch.randn(shape, dtype=dtype, generator=draw)
            x = (x.relu().round() if ties else x).contiguous(memory_format=layout).requires_grad_()
            reduced, expected = reduce(x), torchs(x, dims, keepdim=True)
            assert torch.equal(reduced, expected)
            weights = torch.randn(expected.shape, dtype=dtype, generator=draw)
            (gradient,), (its,) = (torch.autograd.grad((each * weights).sum(), x) for each in (reduced, expected))
            assert torch.equal(gradient, its)
            assert gradient.is_contiguous(memory_format=layout)
            with torch.no_grad():
                assert torch.equal(reduce(x), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("reduce", "dim"), [(row_mean, 3), (column_mean, 2)])
def test_means_of_rows_and_columns(reduce: Callable[[Tensor], Tensor], dim: int, layout: torch.memory_format) -> None:
    """The gradient of a channels-last map is such, whatever that of the means is."""
    draw = torch.Generator().manual_seed(0)
    for shape in ((4, 8, 7, 5), (4, 1, 7, 5), (1, 8, 7, 5), (4, 8, 1, 1), (2, 3, 40, 30)):
        x = torch.randn(shape, generator=draw).contiguous(memory_format=layout).requires_grad_()
        reduced, expected = reduce(x), x.mean(dim, keepdim=True)
        torch.testing.assert_close(reduced, expected)
        for gradients in LAYOUTS:
            weights = torch.randn(expected.shape, generator=draw).contiguous(memory_format=gradients)
            (gradient,) = torch.autograd.grad((reduced * weights).sum(), x, retain_graph=True)
            torch.testing.assert_close(gradient, (weights / shape[dim]).expand(shape))
            assert layout is torch.contiguous_format or gradient.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("reduce", [pixel_max, channel_max])
def test_a_maximum_over_a_nan_is_nan(reduce: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
    x = torch.randn(2, 3, 4, 5, dtype=dtype).contiguous(memory_format=torch.channels_last)
    x[0, 1, 2, 3] = torch.nan
    assert reduce(x).isnan().sum() == 1


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")  # torch.func's own use
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("reduce", "torchs", "dims"), REDUCTIONS)
def test_further_derivatives_are_torchs(
    reduce: Callable[[Tensor], Tensor],
    torchs: Callable[..., Tensor],
    dims: tuple[int, ...],
    layout: torch.memory_format,
) -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).round()
    x = x.contiguous(memory_format=layout).requires_grad_()

    def second(of: Callable[[Tensor], Tensor]) -> Tensor:
        (gradient,) = torch.autograd.grad((of(x) ** 2 * x**2).sum(), x, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), x)[0]

    def by_image(of: Callable[[Tensor], Tensor]) -> Tensor:
        return vmap(grad(lambda image: of(image[None]).square().sum()))(x.detach())

    def plain(x: Tensor) -> Tensor:
        return torchs(x, dims, keepdim=True)

    def curved(of: Callable[[Tensor], Tensor]) -> Tensor:
        return hessian(lambda x: (of(x) ** 3).sum())(x.detach())

    for derivative in (second, by_image, curved):
        torch.testing.assert_close(derivative(reduce), derivative(plain))
    tangent = torch.randn_like(x)
    torch.testing.assert_close(jvp(reduce, (x.detach(),), (tangent,)), jvp(plain, (x.detach(),), (tangent,)))


def test_a_maximum_in_compiled_code_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2, 3, 4, 5, requires_grad=True)
    assert "Amax" not in str(pixel_max(x).grad_fn)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert "Amax" in str(pixel_max(x).grad_fn)


def test_torchs_own_mean_changes_the_layout() -> None:
    """The reason for ours; where this fails, they can go."""
    x = torch.randn(4, 8, 7, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    for dims in ((2, 3), (1,)):
        (gradient,) = torch.autograd.grad(x.mean(dims).sin().sum(), x)
        assert not is_channels_last(gradient)


OWN = load(())
CHOICES = [(kind.slot, name) for kind in KINDS.values() if kind.places for name in OWN.names(kind.name)]
SPELLED = {"group": "group(groups=4)"}


@pytest.mark.parametrize("network", ["resnet20", "resnet18d"])
@pytest.mark.parametrize(("slot", "name"), CHOICES)
def test_gradients_of_blocks_keep_the_layout(slot: str, name: str, network: str) -> None:
    spec = get(network).modified(**{"act": "gelu", slot: SPELLED.get(name, name)}, input_size=32, num_classes=3)
    model = build(spec, registry=OWN)
    model = model.to(memory_format=torch.channels_last).train()
    layouts = []

    def note(module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        if min(output.shape[2:]) > 1:  # those of means of rows and columns are small
            output.register_hook(lambda gradient: layouts.append((is_channels_last(output), gradient.stride(1) == 1)))

    for module in model.modules():
        if isinstance(module, BasicBlock | Bottleneck | nn.Conv2d):
            module.register_forward_hook(note)
    x = torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    model(x).square().sum().backward()
    assert len(layouts) > 15
    assert {gradient for output, gradient in layouts if output} == {True}
