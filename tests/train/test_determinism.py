import pytest
import torch

from resnet_lab.core.errors import ConfigError
from resnet_lab.train.determinism import deterministic


@pytest.mark.parametrize("wanted", [True, False])
def test_it_holds_while_it_is_entered(wanted: bool) -> None:
    with deterministic(wanted):
        assert torch.are_deterministic_algorithms_enabled() is wanted
    assert not torch.are_deterministic_algorithms_enabled()


def test_an_operator_without_a_deterministic_form_is_named() -> None:
    with pytest.raises(ConfigError) as failure, deterministic(True):
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
    assert str(failure.value) == (
        "--deterministic: put_ has no deterministic form here; replace the part of the network that uses it, or leave "
        "--deterministic out"
    )
    assert not torch.are_deterministic_algorithms_enabled()


def test_other_errors_are_left_alone() -> None:
    with pytest.raises(RuntimeError, match="must match"), deterministic(True):
        torch.zeros(3) + torch.zeros(2)
