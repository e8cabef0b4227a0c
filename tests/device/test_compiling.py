from typing import Any

import pytest
import torch
from torch import Tensor, nn

import resnet_lab
from resnet_lab.device.compiling import Compiled, cause, own_code
from resnet_lab.network import zoo
from tests.device.networks import SHAPE, Breaking, Counting, put_in_place_of_the_compiler, shallow, small


class Scaled(nn.Module):
    def __init__(self, factor: int) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.factor = factor

    def forward(self, x: Tensor) -> Any:
        return self.linear(x) * self.factor


def test_any_number_of_networks_of_a_class_is_compiled() -> None:
    counting, x = Counting(), torch.ones(2, 4)
    for factor in range(12):
        network = Scaled(factor)
        compiled = torch.compile(own_code(network), backend=counting, fullgraph=True)
        torch.testing.assert_close(compiled(x), network(x), rtol=0, atol=0)
    assert counting.calls == 12


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    return put_in_place_of_the_compiler(monkeypatch)


def test_batches_of_other_sizes_need_no_compilation(counting: Counting) -> None:
    compiled = Compiled(small(), "on")
    for size in (4, 3, 7, 2):
        compiled(torch.randn(size, *SHAPE[1:])).sum().backward()
    assert counting.calls == 1


def test_it_trains_the_network_s_own_parameters(counting: Counting) -> None:
    networks = [small(), small()]
    compiled = Compiled(networks[0], "max")
    x = torch.randn(SHAPE)
    for network in (compiled, networks[1]):
        network(x).square().sum().backward()
    assert [id(p) for p in compiled.parameters()] == [id(p) for p in networks[0].parameters()]
    for parameter, reference in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, reference.grad)
    torch.testing.assert_close(networks[0][1].running_mean, networks[1][1].running_mean)
    compiled.eval()
    assert not networks[0][1].training


def test_what_cannot_be_compiled_whole_is_an_error(counting: Counting) -> None:
    with pytest.raises(torch._dynamo.exc.Unsupported) as failure:
        Compiled(small(Breaking()), "on")(torch.ones(SHAPE))
    assert cause(failure.value).startswith("Unsupported: ")


def test_a_cause_is_one_short_line() -> None:
    assert cause(ValueError("first\nsecond")) == "ValueError: first"
    assert cause(ValueError("\n")) == "ValueError: "
    assert len(cause(ValueError("x" * 1000))) == 212


@pytest.mark.slow
def test_a_compiled_step_gives_the_gradients_of_an_eager_one() -> None:
    spec = shallow(zoo.get("resnet20").modified(num_classes=3, act="gelu", attn="cbam"))
    networks = [resnet_lab.build(spec) for _ in range(2)]
    compiled = Compiled(networks[0], "on")
    x = torch.randn(4, 3, 16, 16)
    for network in (compiled, networks[1]):
        network(x).square().sum().backward()
    for (name, parameter), reference in zip(networks[0].named_parameters(), networks[1].parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, reference.grad, rtol=1e-3, atol=1e-4, msg=name)
