from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR

from resnet_lab.train.config import TrainConfig
from resnet_lab.train.optimisation import make_optimizer, make_schedule

STEPS, EPOCHS = 7, 5


def rates(config: TrainConfig) -> list[float]:
    optimizer = make_optimizer(nn.Linear(1, 1), config)
    schedule = make_schedule(optimizer, config, STEPS)
    seen = []
    for _ in range(EPOCHS * STEPS):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def reference(scheduler: Any, every: int, **options: Any) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 3e-3)
    schedule = scheduler(optimizer, **options)
    seen = []
    for step in range(1, EPOCHS * STEPS + 1):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step % every == 0:
            schedule.step()
    return seen


def test_exponential_falls_once_an_epoch() -> None:
    found = rates(TrainConfig(epochs=EPOCHS, lr=3e-3, schedule="exponential", decay=0.7))
    assert found == pytest.approx(reference(ExponentialLR, STEPS, gamma=0.7))
    assert found[-1] == pytest.approx(3e-3 * 0.7**4)


def test_cosine_falls_at_each_step() -> None:
    found = rates(TrainConfig(epochs=EPOCHS, lr=3e-3, schedule="cosine"))
    assert found == pytest.approx(reference(CosineAnnealingLR, 1, T_max=EPOCHS * STEPS))


def test_constant_stays() -> None:
    assert set(rates(TrainConfig(epochs=EPOCHS, lr=3e-3, schedule="constant"))) == {3e-3}


REFERENCES = {
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.8, "nesterov": True}),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_optimisers_step_as_torch_s_plain_ones(name: Any) -> None:
    kind, options = REFERENCES[name]
    torch.manual_seed(0)
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(8, 3)
    config = TrainConfig(optimizer=name, lr=0.05, weight_decay=0.1, momentum=0.8)
    optimizers = (
        make_optimizer(ours, config),
        kind(theirs.parameters(), lr=0.05, weight_decay=0.1, foreach=False, **options),
    )
    for _ in range(10):
        for model, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_sgd_without_momentum_is_plain() -> None:
    group = make_optimizer(nn.Linear(1, 1), TrainConfig(optimizer="sgd", momentum=0)).param_groups[0]
    assert (group["momentum"], group["nesterov"]) == (0, False)
