import gc
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import resnet_lab
from resnet_lab.core.cache_location import code_folder
from resnet_lab.device.compiling import Compiled, cause, own_code
from resnet_lab.network import zoo
from tests.device.networks import SHAPE, Breaking, Counting, lived_in, put_in_place_of_the_compiler, shallow, small


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


def test_maps_of_other_sizes_have_code_of_their_own(counting: Counting) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for key, number in ((None, 2), ("shared", 4), ("shared", 4)):
        compiled = Compiled(network, "on", key)
        for side in (8, 5, 8, 5):
            x = torch.randn(2, 3, side, side)
            torch.testing.assert_close(compiled(x), network(x))
        assert counting.calls == number


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


def steps_of(network: nn.Module, seed: int, number: int = 3) -> None:
    """Training steps of SGD on noise."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    for _ in range(number):
        network(torch.randn(SHAPE, generator=generator)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_networks_of_one_structure_and_key_share_their_code(counting: Counting) -> None:
    """In turns they learn as each alone: parameters and statistics are those of an uncompiled twin."""
    networks, twins = ([lived_in(small()) for _ in range(3)] for _ in range(2))
    compiled = [Compiled(network, "on", "shared") for network in networks]
    assert [each.is_shared for each in compiled] == [False] * 3
    for _ in range(2):
        for seed, (each, twin) in enumerate(zip(compiled, twins, strict=True)):
            steps_of(each.train(), seed)
            steps_of(twin.train(), seed)
    assert counting.calls == 1
    for network, twin in zip(networks, twins, strict=True):
        assert network.state_dict().keys() == twin.state_dict().keys()
        for name, tensor in network.state_dict().items():
            torch.testing.assert_close(tensor, twin.state_dict()[name], rtol=0, atol=0, msg=name)
    assert Compiled(small(), "on", "shared").is_shared


def test_code_is_shared_in_the_mode_of_each_module(counting: Counting) -> None:
    """A frozen batch norm stays in evaluation mode, and a network for evaluation reads its statistics."""
    first, second = (lived_in(small()) for _ in range(2))
    x = torch.randn(SHAPE)
    Compiled(first, "on", "modes")(x)
    second.eval()
    torch.testing.assert_close(Compiled(second, "on", "modes")(x), second(x), rtol=0, atol=0)
    assert int(second[1].num_batches_tracked) == 0


class Padded(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return x + self.value


def test_other_structures_keys_and_third_parties_have_code_of_their_own(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(SHAPE)
    monkeypatch.setattr("resnet_lab.device.compiling.OWN_PACKAGES", ("torch", "tests"))
    frozen = small()
    frozen[0].requires_grad_(False)
    networks = [(small(), 1), (small(), 2), (frozen, 1), (small(Padded(1.0)), 1), (small(Padded(2.0)), 1)]
    for network, key in networks:
        torch.testing.assert_close(Compiled(network, "on", key)(x), network(x), rtol=0, atol=0)
    assert counting.calls == 5
    monkeypatch.setattr("resnet_lab.device.compiling.OWN_PACKAGES", ("torch",))
    hooked = small()
    hooked[0].register_forward_hook(lambda module, args, output: output * 2)
    for network in (small(Padded(1.0)), hooked):
        torch.testing.assert_close(Compiled(network, "on", 1)(x), network(x), rtol=0, atol=0)
    assert counting.calls == 7


def test_shared_code_keeps_no_network_alive(counting: Counting) -> None:
    first, second = small(), small()
    compiled = [Compiled(network, "on", "released") for network in (first, second)]
    for each in compiled:
        each(torch.randn(SHAPE)).sum().backward()
    last = weakref.ref(second[0].weight)
    del second, each, compiled
    gc.collect()
    assert last() is None
    assert first[0].weight.grad is not None
    Compiled(first, "on", "released")(torch.randn(SHAPE))
    assert counting.calls == 1


def test_few_compiled_networks_are_kept(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_lab.device.compiling.KEPT", 2)
    for key in ("a", "b", "c", "c", "a"):
        Compiled(small(), "on", f"few {key}")(torch.randn(SHAPE))
    assert counting.calls == 4


def test_what_cannot_be_compiled_whole_is_an_error(counting: Counting) -> None:
    with pytest.raises(torch._dynamo.exc.Unsupported) as failure:
        Compiled(small(Breaking()), "on")(torch.ones(SHAPE))
    assert cause(failure.value).startswith("Unsupported: ")


def test_a_cause_is_one_short_line() -> None:
    assert cause(ValueError("first\nsecond")) == "ValueError: first"
    assert cause(ValueError("\n")) == "ValueError: "
    assert len(cause(ValueError("x" * 1000))) == 212


def test_damaged_code_that_was_kept_can_be_cleared() -> None:
    file = code_folder() / "ab" / "code.so"
    assert cause(ImportError(f"{file}: file too short")) == (
        f"ImportError: {file}: file too short; `resnet-lab data cache clear` removes code that was kept and is damaged"
    )


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


def trained(seed: int) -> tuple[nn.Module, bool]:
    """A network after five steps, and whether it took the code of an earlier one."""
    network = lived_in(small())
    nn.init.normal_(network[0].weight, generator=torch.Generator().manual_seed(seed))
    compiled = Compiled(network, "on", "bits")
    steps_of(compiled, seed, 5)
    return network, compiled.is_shared


@pytest.mark.slow
def test_shared_code_gives_the_bits_of_a_process_of_its_own(tmp_path: Path) -> None:
    results = [trained(seed) for seed in (0, 1)]
    assert [is_shared for _, is_shared in results] == [False, True]
    code = f"""
import torch
from tests.device.test_compiling import trained
torch.save(trained(1)[0].state_dict(), {str(tmp_path / "state.pt")!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
    alone = torch.load(tmp_path / "state.pt", weights_only=True)
    for name, tensor in results[1][0].state_dict().items():
        torch.testing.assert_close(tensor, alone[name], rtol=0, atol=0, msg=name)
