"""Maps of the input against formulas, loops by hand and Captum called directly."""

from copy import deepcopy

import pytest
import torch
from captum import attr
from torch import Tensor, nn

from resnet_lab.core.errors import ConfigError
from resnet_lab.device import choose
from resnet_lab.evaluation.explanation import EXPLAINABLE, IntegratedGradients, Maps, Occlusion
from tests.evaluation.explanation.networks import images, network, tiny

CPU = choose("cpu", "fp32", "off")
CLASSES = torch.tensor([0, 3, 2])
NEAR = {"rtol": 1e-3, "atol": 1e-3}
BOTH = pytest.mark.parametrize("kind", [Occlusion, IntegratedGradients])


class Pixel(nn.Module):
    """Pooling that keeps one pixel."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, 4:5, 9:10]


def shares(evidence: Tensor) -> Tensor:
    positive = evidence.clamp(min=0)
    return positive / positive.amax((1, 2), keepdim=True)


def test_occlusion_of_a_network_that_looks_at_one_pixel() -> None:
    """Windows of 2 x 2, one pixel apart: of those that cover a neighbour of the pixel, half cover the pixel too."""
    x = torch.rand(2, 2, 14, 14) + 0.5
    model = tiny([[1, 1], [-1, -1]])
    model.avgpool = Pixel()
    occlusion = Occlusion(model, CPU)
    expected = torch.zeros(14, 14)
    expected[3:6, 8:11] = torch.tensor([[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]])
    found = occlusion.run(x).maps(torch.tensor([0, 1]))
    torch.testing.assert_close(found[0], expected)
    assert not found[1].any()  # without the pixel the second class's logit rises
    assert (occlusion.layer, occlusion.positions) == ("input", (13, 13))


def test_integrated_gradients_of_a_linear_network() -> None:
    """The evidence of a pixel is its value times the weight, whatever the way from the baseline."""
    x = torch.randn(3, 2, 6, 5, generator=torch.Generator().manual_seed(0))
    weight = [[1.0, -1], [-1, 0], [0.5, 2]]
    maps = IntegratedGradients(tiny(weight), CPU)
    expected = torch.einsum("nchw,nc->nhw", x, torch.tensor(weight))
    torch.testing.assert_close(maps.run(x).maps(torch.tensor([0, 1, 2])), shares(expected), rtol=1e-5, atol=1e-6)
    assert maps.positions == (6, 5)


def test_integrated_gradients_are_averaged_over_cells() -> None:
    """Two pixels wide and three high at 96 x 64, so that what cancels within one is no evidence."""
    x = torch.zeros(1, 2, 96, 64)
    x[0, 0, 30:33, 10:12] = torch.tensor([[1.0, 2], [3, 4], [5, 3]])
    x[0, 0, 60, 40:42] = torch.tensor([9.0, -9])
    maps = IntegratedGradients(tiny([[1, 1]]), CPU)
    coarse = torch.zeros(1, 1, 32, 32)
    coarse[0, 0, 10, 5] = 3
    expected = nn.functional.interpolate(coarse, (96, 64), mode="bilinear")[:, 0]
    torch.testing.assert_close(maps.run(x).maps(torch.tensor([0])), expected / expected.max())
    assert maps.positions == (32, 32)


def test_integrated_gradients_are_complete() -> None:
    """They sum to the difference of the logits of image and baseline (arXiv:1703.01365, proposition 1)."""
    model, x = network("resnet20", act="gelu"), images(3, 16)
    with torch.no_grad():
        difference = (model(x) - model(torch.zeros_like(x)))[torch.arange(3), CLASSES]
    evidence = IntegratedGradients(model, CPU).run(x)._attribute(CLASSES)
    torch.testing.assert_close(evidence.sum((1, 2, 3)), difference, rtol=0.01, atol=0.01)


def test_occlusion_by_a_loop() -> None:
    """Windows of 3 pixels, 2 apart, at 16 pixels; the last of a row reaches over the edge."""
    model, x = network("resnet20"), images(3, 16)
    total, number = torch.zeros(3, 16, 16), torch.zeros(16, 16)
    with torch.no_grad():
        whole = model(x)[torch.arange(3), CLASSES]
        for top in range(0, 15, 2):
            for left in range(0, 15, 2):
                covered = x.clone()
                covered[:, :, top : top + 3, left : left + 3] = 0
                total[:, top : top + 3, left : left + 3] += (whole - model(covered)[torch.arange(3), CLASSES])[
                    :, None, None
                ]
                number[top : top + 3, left : left + 3] += 1
    occlusion = Occlusion(model, CPU)
    torch.testing.assert_close(occlusion.run(x).maps(CLASSES), shares(total / number), **NEAR)
    assert occlusion.positions == (8, 8)


def test_integrated_gradients_by_captum() -> None:
    """Called by itself, for each image alone, with a sum of many rectangles."""
    model, x = network("resnet20", act="gelu"), images(3, 16)
    captum = attr.IntegratedGradients(model)
    evidence = [
        captum.attribute(x[n : n + 1], 0.0, int(CLASSES[n]), n_steps=200, method="riemann_middle")[0].sum(0)
        for n in range(3)
    ]
    found = IntegratedGradients(model, CPU).run(x).maps(CLASSES)
    torch.testing.assert_close(found, shares(torch.stack(evidence).detach()), rtol=0.02, atol=0.02)


@BOTH
def test_an_image_s_map_does_not_depend_on_its_batch(kind: type[Maps], monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = network("resnet20"), images(3, 16)
    maps = kind(model, CPU)
    seen = maps.run(x)
    with torch.no_grad():
        torch.testing.assert_close(seen.logits, model(x), **NEAR)
    largest: list[int] = []
    maps._network.register_forward_pre_hook(lambda _, inputs: largest.append(len(inputs[0])))
    monkeypatch.setattr("resnet_lab.evaluation.explanation.input_maps.PIXELS", 2 * 16**2)
    torch.testing.assert_close(maps.run(x).maps(CLASSES), seen.maps(CLASSES), **NEAR)
    assert max(largest) == 2


@BOTH
def test_the_network_is_unchanged(kind: type[Maps]) -> None:
    model = deepcopy(network("resnet20")).train()
    state, x = deepcopy(model.state_dict()), images(3, 16)
    plain = x.clone()
    expected = kind(network("resnet20"), CPU).run(x).maps(CLASSES)
    maps = kind(model, CPU)
    with torch.inference_mode():
        torch.testing.assert_close(maps.run(x.clone()).maps(CLASSES), expected)
    assert all(module.training for module in model.modules())
    assert all(each.requires_grad and each.grad is None for each in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(x, plain)
    assert not x.requires_grad


@BOTH
def test_half_precision_is_not_used(kind: type[Maps]) -> None:
    model, x = network("resnet20"), images(3, 16)
    found = kind(model, choose("cpu", "bf16", "off")).run(x).maps(CLASSES)
    torch.testing.assert_close(found, kind(model, CPU).run(x).maps(CLASSES), **NEAR)


@pytest.mark.parametrize("method", ["occlusion", "integrated-gradients"])
def test_a_layer_is_refused(method: str) -> None:
    with pytest.raises(ConfigError) as failure:
        EXPLAINABLE[method](network("resnet20"), CPU, "layer3")
    assert str(failure.value) == (
        f"layer 'layer3': maps by {method} are of the input, not of a layer; leave the layer out, or use the method "
        "grad-cam or hires-cam"
    )


@pytest.mark.parametrize("method", EXPLAINABLE)
def test_classes_that_are_not_the_network_s(method: str) -> None:
    with pytest.raises(ConfigError) as failure:
        EXPLAINABLE[method](network("resnet20"), CPU).run(images(2, 16)).maps(torch.tensor([0, 5]))
    assert str(failure.value) == "classes of 2 images are 2 numbers from 0 to 4, got [0, 5]"
