"""Maps against pytorch-grad-cam's, and against the formula in float64."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM as Theirs
from pytorch_grad_cam import HiResCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from resnet_lab.core.choices import LayerMethod
from resnet_lab.core.errors import ConfigError
from resnet_lab.device import choose
from resnet_lab.evaluation.explanation import GradCAM, grad_cam
from tests.evaluation.explanation.networks import by_hand, images, network, tiny, without_overwriting

CPU = choose("cpu", "fp32", "off")
CLASSES = torch.tensor([0, 3, 2])
NEAR = {"rtol": 1e-3, "atol": 1e-3}


def correlations(maps: Tensor, others: Tensor) -> list[float]:
    """Correlations of the maps that are not 0 everywhere, which must be the same ones."""
    pairs = [(one.ravel(), other.ravel()) for one, other in zip(maps, others, strict=True) if one.any() or other.any()]
    assert len(pairs) >= 2
    assert all(one.any() and other.any() for one, other in pairs)
    return [float(np.corrcoef(one, other)[0, 1]) for one, other in pairs]


def test_by_hand_on_integers() -> None:
    """dy_c/dA_k = w_ck / 4 everywhere; so the maps are relu(A_0 - A_1), relu(-A_0) and relu(A_1), by their maxima."""
    x = torch.tensor([[[1.0, 2], [3, 4]], [[4, 0], [0, 0]]]).expand(3, 2, 2, 2)
    found = grad_cam(tiny([[1, -1], [-1, 0], [0, 1]]), x, torch.tensor([0, 1, 2]))
    expected = torch.tensor([[[0, 0.5], [0.75, 1]], [[0, 0], [0, 0]], [[1, 0], [0, 0]]])
    torch.testing.assert_close(found, expected)


class Row(nn.Module):
    """Pooling that keeps the first row, so that gradients differ between positions."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :1].mean((2, 3), keepdim=True)


def test_hires_cam_by_hand() -> None:
    """dy/dA_0 is 1/2 and dy/dA_1 -1/2 in the first row, 0 in the second: relu(A_0 - A_1) of the first row alone."""
    x = torch.tensor([[[[1.0, 2], [3, 4]], [[0, 0], [0, 0]]]])
    model = tiny([[1, -1]])
    model.avgpool = Row()
    classes = torch.tensor([0])
    torch.testing.assert_close(grad_cam(model, x, classes, method="hires-cam"), torch.tensor([[[0.5, 1], [0, 0]]]))
    torch.testing.assert_close(grad_cam(model, x, classes), torch.tensor([[[0.25, 0.5], [0.75, 1]]]))


@pytest.mark.parametrize(("method", "implementation"), [("grad-cam", Theirs), ("hires-cam", HiResCAM)])
@pytest.mark.parametrize("layer", [None, "layer3", "layer2.1.conv1", "layer4.1.bn2"])
@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("resnet18", {}),
        ("resnet50", {}),
        ("resnet18", {"act": "gelu", "attn": "cbam"}),
        ("resnet50", {"act": "silu", "conv": "depthwise", "attn": "se", "norm": "group", "shortcut": "zero_pad"}),
    ],
    ids=["resnet18", "resnet50", "gelu and cbam", "much changed"],
)
def test_equals_pytorch_grad_cam(
    name: str, choices: dict[str, str], layer: str | None, method: LayerMethod, implementation: type[Theirs]
) -> None:
    model, x, classes = network(name, **choices), images(4, 64), torch.tensor([0, 1, 2, 4])
    found = grad_cam(model, x, classes, layer, method=method)
    copied = without_overwriting(model)
    with implementation(copied, [copied.get_submodule(layer or "layer4")]) as theirs:
        maps = theirs(x, [ClassifierOutputTarget(k) for k in classes.tolist()])
    assert found.shape == (4, 64, 64)
    assert found.dtype == torch.float32
    assert min(correlations(found, torch.from_numpy(maps))) > 0.999


@pytest.mark.slow
@pytest.mark.parametrize("choices", [{}, {"attn": "cbam", "act": "gelu"}, {"norm": "none"}], ids=str)
def test_every_layer_equals_the_formula(choices: dict[str, str]) -> None:
    """Layers before in-place ReLUs and additions, which overwrite their outputs, are included."""
    model, x = network("resnet20", **choices), images(1, 16)
    classes = model(x).argmax(1)
    names = [name for name, _ in model.named_modules() if name.startswith(("conv1", "bn1", "act1", "layer3.0", "max"))]
    maps = {name: grad_cam(model, x, classes, name) for name in (*names, "layer2", "layer3", "avgpool")}
    assert sum(bool(found.any()) for found in maps.values()) > 12
    for name, found in maps.items():
        torch.testing.assert_close(found, by_hand(model, x, classes, name), **NEAR, msg=name)


class Overwriting(nn.Module):
    """A block such as a plugin may bring: it hands its input on, and overwrites it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Identity()
        self.act = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(2, 2, 1, bias=False)
        self.conv.weight.data = torch.tensor([[1.0, 2], [-1, 3]])[..., None, None]

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.act(self.norm(x))) + x.relu()


@pytest.mark.parametrize("layer", ["layer1.0.norm", "layer1.0.act", "layer1.0.conv", "layer1.0", "layer1", "maxpool"])
def test_a_block_that_overwrites_its_input(layer: str) -> None:
    model, x = tiny([[1, -0.5], [0.3, 2]], Overwriting(), Overwriting()), images(2, 6)[:, :2]
    model.conv1 = nn.Conv2d(2, 2, 3, padding=1)
    seen = GradCAM(model, CPU, layer).run(x)
    for classes in (torch.tensor([0, 1]), torch.tensor([1, 1]), torch.tensor([0, 1])):
        kept = by_hand(model, x, classes, layer)
        torch.testing.assert_close(seen.maps(classes), kept, rtol=1e-4, atol=1e-5)


def test_the_network_is_unchanged() -> None:
    model = deepcopy(network("resnet18", dropout=0.5, head_dropout=0.5)).train()
    model.layer1.requires_grad_(False)
    model.layer2.eval()
    model.fc.bias.grad = torch.ones(5)
    calls: list[int] = []
    handle = model.layer4.register_forward_hook(lambda *_: calls.append(1))
    state = deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    grads = [parameter.requires_grad for parameter in model.parameters()]
    x = images(3, 32)
    plain = x.clone()
    for layer in ("layer4", "layer3.1.conv1"):
        torch.testing.assert_close(grad_cam(model, x, CLASSES, layer), by_hand(model, x, CLASSES, layer), **NEAR)
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == grads
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [parameter for parameter in model.parameters() if parameter.grad is not None] == [model.fc.bias]
    assert torch.equal(model.fc.bias.grad, torch.ones(5))
    assert sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()) == 1
    handle.remove()
    assert torch.equal(x, plain)
    assert not x.requires_grad


@pytest.mark.parametrize("layer", [None, "layer2.0.conv2"])
def test_a_frozen_network_and_inference_mode(layer: str | None) -> None:
    model, x = network("resnet18"), images(3, 32)
    expected = grad_cam(model, x, CLASSES, layer)
    frozen = deepcopy(model).requires_grad_(False)
    with torch.no_grad():
        torch.testing.assert_close(grad_cam(frozen, x, CLASSES, layer), expected)
    cam = GradCAM(frozen, CPU, layer)
    with torch.inference_mode():
        torch.testing.assert_close(cam.run(x).maps(CLASSES), expected)


@pytest.mark.parametrize("layer", [None, "layer3.0"])
def test_an_image_s_map_does_not_depend_on_its_batch(layer: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, classes = network("resnet20"), images(5, 16), torch.tensor([0, 1, 2, 3, 4])
    whole = grad_cam(model, x, classes, layer)
    alone = [grad_cam(model, x[n : n + 1], classes[n : n + 1], layer) for n in range(5)]
    torch.testing.assert_close(whole, torch.cat(alone), **NEAR)
    monkeypatch.setattr("resnet_lab.evaluation.explanation.layer_maps.CHUNK", 2)
    torch.testing.assert_close(grad_cam(model, x, classes, layer), whole, **NEAR)


@pytest.mark.parametrize("layer", ["layer4", "layer3", "layer4.0.conv1"])
@pytest.mark.parametrize("channels_last", [True, False])
def test_half_precision_gives_the_same_maps(layer: str, channels_last: bool) -> None:
    model, x = network("resnet18"), images(3, 64)
    half = choose("cpu", "bf16", "off", channels_last)
    found = grad_cam(model, x, CLASSES, layer, half)
    assert found.dtype == torch.float32
    assert min(correlations(found, grad_cam(model, x, CLASSES, layer))) > 0.97


def test_one_forward_pass_serves_all_classes() -> None:
    model, x = network("resnet18"), images(3, 32)
    cam = GradCAM(model, CPU)
    passes: list[int] = []
    cam._before.register_forward_hook(lambda *_: passes.append(1))
    seen = cam.run(x)
    with torch.no_grad():
        torch.testing.assert_close(seen.logits, model(x), **NEAR)
    predicted, others = seen.logits.argmax(1), torch.tensor([4, 4, 4])
    for classes in (predicted, others, predicted):
        torch.testing.assert_close(seen.maps(classes), by_hand(model, x, classes, "layer4"), **NEAR)
    assert passes == [1]
    assert cam.positions == (1, 1)
    cam.run(images(1, 96))
    assert cam.positions == (3, 3)


class Bare(nn.Module):
    """Uses a convolution's weight and not the module."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.inner.weight)


REMEDY = "take a stage (layer1, layer2, layer3), a block such as layer3.0, or a convolution in one"


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            "layer4",
            "the network has no layer 'layer4'; its stages are layer1, layer2, layer3, their blocks layer1.0 and so "
            "on; did you mean 'layer3' or 'layer2' or 'layer1'?",
        ),
        (
            "layer3.bn2",
            "the network has no layer 'layer3.bn2'; its stages are layer1, layer2, layer3, their blocks layer1.0 and "
            "so on; did you mean 'layer3.2.bn2' or 'layer3.1.bn2' or 'layer3.0.bn2'?",
        ),
        (
            "?",
            "the network has no layer '?'; its stages are layer1, layer2, layer3, their blocks layer1.0 and so on; "
            "known: act1, bn1, conv1, layer1, layer1.0, layer1.1, layer1.2, layer2, layer2.0, layer2.1, layer2.2, "
            "layer3, layer3.0, layer3.1, layer3.2, maxpool",
        ),
        ("fc", f"layer 'fc' has no map (N, C, H, W) as its output but one of shape (N, 5); {REMEDY}"),
        ("dropout", f"layer 'dropout' has no map (N, C, H, W) as its output but one of shape (N, 64); {REMEDY}"),
    ],
)
def test_layers_that_cannot_be_explained(layer: str, message: str) -> None:
    with pytest.raises(ConfigError) as failure:
        grad_cam(network("resnet20"), images(1, 16), torch.tensor([0]), layer)
    assert str(failure.value) == message


class Pair(nn.Module):
    """A part of a block that answers with two tensors."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Adding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.pair(x)
        return one + other


def test_an_output_that_is_no_tensor() -> None:
    with pytest.raises(ConfigError) as failure:
        grad_cam(tiny([[1, 1]], Adding()), images(1, 4)[:, :2], torch.tensor([0]), "layer1.0.pair")
    assert str(failure.value) == (
        "layer 'layer1.0.pair' has no map (N, C, H, W) as its output but a tuple; take a stage (layer1), a block such "
        "as layer1.0, or a convolution in one"
    )


def test_a_module_that_never_runs() -> None:
    with pytest.raises(ConfigError) as failure:
        grad_cam(tiny([[1, 1]], Bare()), images(1, 4)[:, :2], torch.tensor([0]), "layer1.0.inner")
    assert str(failure.value) == (
        "layer 'layer1.0.inner' has no output of its own; take a stage (layer1), a block such as layer1.0, "
        "or a convolution in one"
    )


@pytest.mark.parametrize("classes", [[0], [0, 5], [-1, 0], [[0, 1], [1, 0]]], ids=str)
def test_classes_that_are_not_the_network_s(classes: list[int]) -> None:
    with pytest.raises(ConfigError) as failure:
        grad_cam(network("resnet20"), images(2, 16), torch.tensor(classes))
    assert str(failure.value) == f"classes of 2 images are 2 numbers from 0 to 4, got {classes}"
