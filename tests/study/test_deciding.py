"""Compared with counts in closed form, and clocks that are made up."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from resnet_lab.core.errors import ConfigError
from resnet_lab.device import memory
from resnet_lab.device import training as compiling
from resnet_lab.device.timing_cache import StepTimes
from resnet_lab.evaluation.opened_run import Sources
from resnet_lab.network import cost
from resnet_lab.network.plugins import load
from resnet_lab.study import deciding
from resnet_lab.study.deciding import decided, decided_eagerly, training_images
from resnet_lab.study.design import Arm, Study
from resnet_lab.train.deciding import Decided
from tests.study.small import study

REGISTRY = load(only=[])


def images_of(chosen: Study) -> int:
    return training_images(chosen, chosen.arms[0], Sources(REGISTRY))[0]


@pytest.mark.slow
def test_budgets() -> None:
    """1,438 training images of digits are 6 steps of 256; multiply-adds by the closed count."""

    def epochs(**budget: float) -> list[int]:
        return [each.epochs for each in decided_eagerly(study(budget=budget), Sources(REGISTRY))]

    assert epochs(epochs=7) == [7, 7]
    images = images_of(study())
    steps = -(-images // 256)
    assert epochs(steps=4 * steps + 1) == [4, 4]
    assert epochs(steps=1) == [1, 1]
    macs = [images * cost.measure(arm.spec.modified(num_classes=10)).macs / 1e12 for arm in study().arms]
    assert epochs(macs=macs[1] * 5.5) == [int(macs[1] * 5.5 / macs[0]), 5]


def test_budgets_count_smaller_images() -> None:
    """Half of the epochs have a quarter of the pixels, and of the multiply-adds of convolutions."""
    smaller = {"progressive_size": [0.5, 1], "epochs": 2}
    images, arm = images_of(study()), study().arms[0].spec.modified(num_classes=10)
    macs = [images * cost.measure(arm.modified(input_size=size)).macs / 1e12 for size in (4, 8)]
    (found, _) = decided_eagerly(study(train=smaller, budget={"macs": 4.01 * sum(macs)}), Sources(REGISTRY))
    assert found.epochs == 8
    with pytest.raises(ConfigError) as failure:
        decided_eagerly(study(train=smaller, budget={"macs": 1.01 * macs[1]}), Sources(REGISTRY))
    assert str(failure.value) == (
        "arm 'none': within the budget: progressive_size has 2 shares for 1 epochs; give at most one per epoch"
    )


def test_a_step_takes_the_mean_of_its_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deciding, "_seconds_of_step", lambda arm, *_: float(arm.spec.input_size))
    assert deciding.seconds_of_step(study(train={"progressive_size": [0.5, 1], "epochs": 2}).arms[0], 10, REGISTRY) == 6


def clock(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[Arm], float]) -> None:
    monkeypatch.setattr(deciding, "seconds_of_step", lambda arm, classes, registry: seconds(arm))


def test_a_budget_of_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, lambda arm: {"none": 0.5, "eca": 1.0}[arm.name])
    steps, notes = -(-images_of(study()) // 256), []
    found = decided(study(budget={"seconds": 4.0 * steps}), REGISTRY, notes.append)
    assert [each.epochs for each in found] == [8, 4]
    assert notes == ["none: 8 epochs within the budget", "eca: 4 epochs within the budget"]


def test_a_step_that_does_not_fit_is_left_to_its_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its trials fail, and are outcomes; a defect is none."""

    def seconds(arm: Arm, error: Exception) -> float:
        if arm.name == "eca":
            raise error
        return 0.5

    clock(monkeypatch, partial(seconds, error=torch.OutOfMemoryError("CUDA out of memory")))
    found = decided(study(budget={"seconds": 100.0}), REGISTRY, print)
    assert found[0].epochs > found[1].epochs == 1
    clock(monkeypatch, partial(seconds, error=RuntimeError("a defect")))
    with pytest.raises(RuntimeError, match="a defect"):
        decided(study(budget={"seconds": 100.0}), REGISTRY, print)


@pytest.mark.slow
@pytest.mark.parametrize(("eager", "compiled", "expected"), [(1.0, 0.25, "on"), (1.0, 1.0, "off")])
def test_an_arm_is_compiled_in_all_its_trials_or_in_none(
    monkeypatch: pytest.MonkeyPatch, eager: float, compiled: float, expected: str
) -> None:
    """Decided as a training would, by 600 s of steps at least; the budget then counts by the step that is taken."""
    calls: list[Any] = []

    class Compiled(torch.nn.Module):
        is_shared = True

        def __init__(self, network: torch.nn.Module, mode: str, key: object) -> None:
            super().__init__()
            self.network = network
            calls.append(mode)

        def forward(self, x: torch.Tensor) -> Any:
            return self.network(x)

    monkeypatch.setattr(compiling, "Compiled", Compiled)
    monkeypatch.setattr(compiling, "recall", lambda *facts: StepTimes(60.0, eager, compiled))
    clock(monkeypatch, lambda arm: eager if arm.train.compile == "off" else compiled)
    steps, notes = -(-images_of(study()) // 256), []
    chosen = study(train={"compile": "auto"}, budget={"seconds": 400.0 * steps})
    found = decided(chosen, REGISTRY, notes.append)
    assert [each.compile for each in found] == [expected] * 2
    assert [each.epochs for each in found] == [1600 if expected == "on" else 400] * 2
    assert ("none: compiled, in all its trials" in notes) == (expected == "on")
    assert {each.compile for each in decided_eagerly(chosen, Sources(REGISTRY))} == {"off"}


def test_it_is_decided_with_the_threads_of_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two teams of threads on the same cores take many times as long."""
    threads: list[int] = []

    def decide(*arguments: object, **options: object) -> Decided:
        threads.append(torch.get_num_threads())
        return Decided(256, is_compiled=False)

    monkeypatch.setattr(deciding, "decide", decide)
    before = torch.get_num_threads()
    found = decided(study(train={"compile": "auto"}), REGISTRY, print, threads=before + 1)
    assert threads == [each.threads for each in found] == [before + 1] * 2
    assert torch.get_num_threads() == before


def test_compiling_is_spread_over_the_trials_of_an_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rates at one seed and three seeds: 5 trainings."""
    asked: list[int] = []

    def decide(*arguments: object, trainings: int, **options: object) -> Decided:
        asked.append(trainings)
        return Decided(256, is_compiled=True)

    monkeypatch.setattr(deciding, "decide", decide)
    chosen = study(train={"compile": "auto"}, seeds=3, tune_lr=[0.01, 0.1])
    assert [each.compile for each in decided(chosen, REGISTRY, print)] == ["on", "on"]
    assert asked == [5, 5]


@pytest.mark.slow
def test_short_and_deterministic_trainings_are_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {each.compile for each in decided(study(train={"compile": "auto"}), REGISTRY, print)} == {"off"}
    monkeypatch.setattr(compiling, "recall", lambda *facts: StepTimes(1.0, 2.0, 1.0))
    long = study(train={"compile": "auto", "epochs": 10**6, "deterministic": True})
    assert {each.compile for each in decided(long, REGISTRY, print)} == {"off"}
    asked = study(train={"compile": "on"}, factors={}, arms={"a": {}, "b": {"train.compile": "off"}})
    assert [each.compile for each in decided(asked, REGISTRY, print)] == ["on", "off"]


def test_trials_that_share_a_memory_take_their_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest power of two whose step fits, by given bytes: 16 images alone, 4 with three others."""
    chosen = study(train={"batch_size": "auto"}, budget={"epochs": 3})
    monkeypatch.setattr(memory, "peak_of_step", lambda step, images, device: images * 4 * 2**20)
    monkeypatch.setattr(memory, "_free", lambda device: 80 * 2**20 / memory.SHARE["cpu"])  # 3 are the optimiser's
    alone, shared = (decided(chosen, REGISTRY, print, sharing=number) for number in (1, 4))
    assert [each.batch_size for each in alone] == [16, 16]
    assert [each.batch_size for each in shared] == [4, 4]
    assert {each.epochs for each in (*alone, *shared)} == {3}


def test_what_cannot_be_trained_names_its_arm() -> None:
    with pytest.raises(ConfigError) as failure:
        decided(study(train={"batch_size": 10**6, "compile": "auto"}), REGISTRY, print)
    assert str(failure.value).startswith("arm 'none': batch_size is 1000000, and the training part has ")
