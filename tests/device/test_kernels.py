import copy
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from resnet_lab.device import Placement, choose
from resnet_lab.device.folding import folded
from resnet_lab.device.kernels import with_kernels, without_kernels
from resnet_lab.network.plugins import Kernels, Owner


class Fast(nn.Conv2d):
    """A convolution of one pixel as a product of matrices."""

    @staticmethod
    def suits(module: nn.Conv2d) -> bool:
        return module.kernel_size == (1, 1)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, Tensor):
            calls.append(tuple(x.shape))
        return super().forward(x)


calls: list[tuple[int, ...]] = []
OFFERS = [Kernels(nn.Conv2d, Fast, Owner("lab-fast", "1.0"))]


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    calls.clear()
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)).eval()


@pytest.fixture
def cuda() -> Placement:
    return replace(choose("cpu", "fp32"), device=torch.device("cuda"))


def test_modules_that_suit_become_kernels_and_keep_their_names(network: nn.Module, cuda: Placement) -> None:
    x, state = torch.randn(2, 3, 5, 5), {name: each.clone() for name, each in network.state_dict().items()}
    expected = network(x)
    placement = with_kernels(network, cuda, OFFERS)
    assert [type(module) for module in network] == [nn.Conv2d, Fast, nn.BatchNorm2d, Fast]
    assert placement.kernels == ("lab-fast 1.0: Fast x 2",)
    assert placement == replace(cuda, kernels=placement.kernels)
    assert torch.equal(network(x), expected)
    assert calls == [(2, 4, 3, 3)] * 2
    assert network.state_dict().keys() == state.keys()
    network.load_state_dict(state)


def test_records_and_words_name_them(cuda: Placement, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    used = replace(cuda, kernels=("lab-fast 1.0: Fast x 2",))
    assert "kernels" not in cuda.record()
    assert used.record()["kernels"] == ["lab-fast 1.0: Fast x 2"]
    assert str(used) == f"{cuda}; kernels of lab-fast 1.0: Fast x 2"
    assert set(used.facts()) - set(cuda.facts()) == {"kernels ['lab-fast 1.0: Fast x 2']"}


@dataclass
class Nothing:
    """A kernel whose class nobody has."""

    plain = nn.Linear
    kernels = nn.Linear
    owner = "nobody"


def test_nothing_changes_elsewhere(network: nn.Module, cuda: Placement) -> None:
    for placement in (choose("cpu", "fp32"), replace(cuda, device=torch.device("mps"))):
        assert with_kernels(network, placement, OFFERS) is placement
    assert with_kernels(network, cuda, [Nothing()]).kernels == ()
    assert not any(isinstance(module, Fast) for module in network)


def test_a_network_twice_placed(network: nn.Module, cuda: Placement) -> None:
    with_kernels(network, cuda, OFFERS)
    assert with_kernels(network, cuda, OFFERS).kernels == ("lab-fast 1.0: Fast x 2",)


def test_back_to_plain(network: nn.Module, cuda: Placement) -> None:
    with_kernels(network, cuda, OFFERS)
    copied = without_kernels(copy.deepcopy(network))
    assert not any(isinstance(module, Fast) for module in copied)
    assert sum(isinstance(module, Fast) for module in network) == 2
    assert all(vars(module).keys() == vars(nn.Conv2d(1, 1, 1)).keys() for module in (copied[0], copied[1], copied[3]))


def test_norms_are_folded_into_plain_convolutions(network: nn.Module, cuda: Placement) -> None:
    x = torch.randn(2, 3, 5, 5)
    with_kernels(network, cuda, OFFERS)
    without = folded(network)
    assert [type(module) for module in without.children()] == [nn.Conv2d] * 3
    torch.testing.assert_close(without(x), network(x))
