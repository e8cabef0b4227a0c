from itertools import count

import pytest
import torch
from torch import Tensor, nn

from resnet_lab.device import choose, trial_step, try_step
from tests.device.networks import SHAPE, lived_in, small

PLACEMENT = choose("cpu", "fp32")


def test_a_step_leaves_nothing_behind() -> None:
    model = lived_in(small(nn.Dropout(0.5))).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    try_step(model, PLACEMENT, SHAPE)
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_step_that_fails_leaves_nothing_behind_either() -> None:
    class Failing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("out of order")

    model = lived_in(small(Failing())).eval()
    before = model[1].running_mean.clone()
    with pytest.raises(RuntimeError, match="out of order"):
        try_step(model, PLACEMENT, SHAPE)
    assert not model.training
    assert torch.equal(model[1].running_mean, before)


def test_a_step_is_forward_and_backward_in_training_mode_and_in_the_placement_s_precision() -> None:
    seen = []

    class Watching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x.register_hook(lambda gradient: seen.append(tuple(gradient.shape)))
            seen.append((self.training, x.dtype, tuple(x.shape)))
            return x

    try_step(small(Watching()).eval(), choose("cpu", "bf16"), (2, *SHAPE[1:]))
    assert seen == [(True, torch.bfloat16, (2, 4, 6, 6)), (2, 4, 6, 6)]


def test_two_networks_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's speed falls from step to step; in the order A B B A the two still come out in their true ratio."""
    turns = []
    slowness = count(1)

    def seconds(network: nn.Module, placement: object, x: Tensor) -> float:
        turns.append(network)
        return next(slowness) * (3.0 if network is a else 1.0)

    monkeypatch.setattr(trial_step, "seconds_of_step", seconds)
    monkeypatch.setattr(trial_step, "SECONDS", 0.0)
    a, b = nn.Identity(), nn.Identity()
    medians = trial_step.compare(a, b, PLACEMENT, torch.ones(1))
    assert turns == [a, b, b, a] * 2
    assert medians == (3 * 4.5, 4.5)  # steps 1, 4, 5, 8 and 2, 3, 6, 7


def test_quick_steps_are_compared_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count(0, 1.0)
    monkeypatch.setattr(trial_step, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(trial_step, "seconds_of_step", lambda network, placement, x: 1.0)
    turns = []
    monkeypatch.setattr(trial_step, "seconds_of_step", lambda network, placement, x: turns.append(network) or 1.0)
    trial_step.compare(nn.Identity(), nn.Identity(), PLACEMENT, torch.ones(1))
    assert len(turns) == 4 * 6  # looks at the clock after rounds 2 to 6, the last 5 s after the start
