"""Activation checkpointing gives the same bits and takes less memory. Legend: N C H W."""

import pytest
import torch
from torch.nn import functional as F

from resnet_lab.device.memory import peak_of_step
from resnet_lab.network.builder import build
from resnet_lab.network.model import ResNet
from resnet_lab.network.recomputation import recompute_activations


def stepped(model: ResNet, steps: int = 2) -> dict[str, torch.Tensor]:
    """Gradients of some steps, and buffers after them."""
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    for _ in range(steps):
        F.cross_entropy(model(x), torch.arange(4)).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {**gradients, **dict(model.named_buffers()), "random": torch.rand(3)}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dropout": 0.3, "drop_path": 0.5, "attn": "cbam(norm=true)"},
        {"norm": "group(groups=4)", "act": "gelu", "downsample": "blur"},
        {"block": "sk_basic", "attn": "bam"},
    ],
    ids=str,
)
def test_gradients_and_buffers_have_the_same_bits(changes: dict) -> None:
    """Of two backward passes: dropout draws the same, and running statistics move once per step."""
    plain, again = (build("resnet20", num_classes=4, **changes).train() for _ in range(2))
    recompute_activations(again)
    assert list(plain.state_dict()) == list(again.state_dict())
    expected, found = stepped(plain), stepped(again)
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def test_it_takes_less_memory() -> None:
    """The tensors of a step of a ResNet-56 at 4 images, its gradients among them."""
    x, peaks = torch.randn(4, 3, 32, 32), []
    for recomputed in (False, True):
        model = build("resnet56", num_classes=4).train()
        if recomputed:
            recompute_activations(model)

        def step(images: int, model: ResNet = model) -> None:
            F.cross_entropy(model(x[:images]), torch.arange(images)).backward()

        peaks.append(peak_of_step(step, 4, torch.device("cpu")))
    assert peaks[1] < peaks[0] / 2


def test_nothing_is_computed_again_in_evaluation() -> None:
    model = build("resnet20", num_classes=4).eval()
    x = torch.randn(2, 3, 32, 32)
    expected = model(x)
    recompute_activations(model)
    calls = []
    model.layer1[0].register_forward_hook(lambda *_: calls.append(1))
    model(x).sum().backward()
    assert len(calls) == 1
    assert torch.equal(model(x), expected)
