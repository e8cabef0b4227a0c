import pytest
import torch
import torchvision
from torch import Tensor, nn

import resnet_lab
from resnet_lab.device import choose, optimize_for_inference
from resnet_lab.device.folding import folded
from resnet_lab.device.packing import PackedConv2d, packed
from tests.device.networks import SHAPE, Choosing, lived_in, small

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN here")


def packed_convolutions(network: nn.Module) -> int:
    return sum(isinstance(module, PackedConv2d) for module in network.modules())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d"])
@torch.inference_mode()
def test_outputs_are_torchvision_s_for_any_number_and_size(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    theirs = lived_in(torchvision.models.get_model(name, num_classes=7)).eval()
    ours = resnet_lab.build(name, num_classes=7)
    ours.load_state_dict(theirs.state_dict())
    network = folded(ours).to(dtype).to(memory_format=torch.channels_last)
    made = packed(network, torch.randn(2, 3, 32, 32).to(dtype))
    assert packed_convolutions(made) == sum(isinstance(module, nn.Conv2d) for module in theirs.modules())
    assert not any(isinstance(module, nn.Conv2d) for module in made.modules())
    for shape in ((2, 3, 32, 32), (1, 3, 32, 32), (3, 3, 64, 64)):
        x = torch.randn(shape)
        tolerance = 1e-4 if dtype == torch.float32 else 0.05
        scale = theirs(x).abs().max()
        assert ((made(x.to(dtype)).float() - theirs(x)).abs().max() / scale) < tolerance
        assert ((made(x.to(dtype)) - network(x.to(dtype))).abs().max() / scale) < (
            1e-5 if dtype == torch.float32 else 0.02
        )
    assert packed_convolutions(network) == 0  # it is left as it was


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, stride=2, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.Conv2d(4, 8, (1, 3), padding=(0, 1)),
    ],
    ids=str,
)
@torch.inference_mode()
def test_every_geometry_with_and_without_a_relu(conv: nn.Conv2d) -> None:
    x = torch.randn(2, 4, 9, 9)
    for last in (nn.ReLU(), nn.GELU(), nn.ReLU(inplace=True)):
        network = torch.fx.symbolic_trace(nn.Sequential(conv, last))
        made = packed(network, x)
        assert packed_convolutions(made) == 1
        assert (type(last) in {type(module) for module in made.modules()}) == isinstance(last, nn.GELU)
        torch.testing.assert_close(made(x), network(x), rtol=1e-5, atol=1e-5)


class Twice(nn.Module):
    """Network whose first convolution is called twice, the weights of whose second are used, and whose sum forks."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.two(self.one(self.one(x))) * self.two.weight.sum()
        x = self.three(x)
        return self.relu(x) - x


@torch.inference_mode()
def test_what_is_used_otherwise_too_stays() -> None:
    network, x = torch.fx.symbolic_trace(Twice()), torch.randn(SHAPE)
    made = packed(network, x)
    assert packed_convolutions(made) == 1
    assert isinstance(made.get_submodule("relu"), nn.ReLU)
    torch.testing.assert_close(made(x), network(x), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_what_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(SHAPE)
    for network in (
        small(Choosing()),
        torch.fx.symbolic_trace(nn.Sequential(nn.Conv2d(3, 4, 3, padding="same"))),
        torch.fx.symbolic_trace(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"))),
    ):
        assert packed_convolutions(packed(network, x)) == 0
    network = torch.fx.symbolic_trace(small())
    assert packed(network.double(), x.double()) is network

    def absent(*arguments: object, relu: bool) -> None:
        raise AttributeError("no such operator")

    monkeypatch.setattr("resnet_lab.device.packing.PackedConv2d", absent)
    assert packed(network.float(), x) is network


@pytest.mark.parametrize(("images", "number"), [(None, 1), (4 * 32, 0), (4 * 32 + 1, 1)])
def test_weights_are_packed_unless_few_images_are_to_come(images: int | None, number: int) -> None:
    network = optimize_for_inference(lived_in(small()), choose("cpu", "fp32", "off"), images)
    network(torch.randn(SHAPE))
    assert packed_convolutions(network) == number
