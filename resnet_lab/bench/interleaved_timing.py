"""Interleaved timing: what slows the machine for a while slows every arm."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Protocol

import torch
from torch import Tensor, nn

from resnet_lab.bench.clocks import Clock, clock_of
from resnet_lab.bench.conditions import Conditions
from resnet_lab.core.watcher import SILENT, Watcher

SAMPLE = 0.05
"""Seconds that one measurement takes at least, of as many samples as it needs."""

PARTS, SAMPLES = 5, 2
"""A measurement is made in so many parts at most, of so many samples at least, other arms in between: what changes the
CPU's speed a few times a second then strikes all. On one such CPU 12,000 calls of 7 ms, put together as two
arms of equal networks, had ratios whose standard deviation was 0.03 a round with five parts and 0.08 with one. Parts
of one call would time it with empty caches."""

STEADY, MOST_WARM, WARM_SECONDS = 0.05, 12, 4.0
"""Warm-up ends when two measurements in turn are not faster than those before by more than this share (load of other
programs does not prolong it), or after so many or so long."""


class Timed(Protocol):
    """Anything that can be timed."""

    def __call__(self) -> object:
        """One call, with the next of several inputs."""

    def shift(self) -> None:
        """Move the weights to other places in memory, so that their luck is part of the noise."""


@dataclass
class Interleaved:
    """Milliseconds of a call by arm, `undisturbed` in each of its rounds, and under which conditions."""

    samples: dict[str, list[float]]
    conditions: Conditions


def interleave(
    arms: Mapping[str, Timed],
    rounds: int,
    device: torch.device,
    watcher: Watcher = SILENT,
    done: Callable[[Mapping[str, Sequence[float]]], Collection[str]] = lambda samples: (),
) -> Interleaved:
    """Time every arm in each round twice, in an order and then in its reverse (A B C C B A), after a warm-up.

    Arms begin a round in another order each time. Where calls are short it is repeated with shorter measurements. A
    sample is as many calls as last as long as one of the slowest arm, so that other programs disturb all arms alike.

    Args:
        rounds: at most.
        done: given the samples so far, names of arms that need no further round; the rounds end once all are named.
    """
    conditions = Conditions(device)
    clock = clock_of(device, during=conditions.look)
    seconds = {name: _warmed(arm, clock) for name, arm in arms.items()}
    slowest = max(seconds.values())
    calls = {name: max(1, round(slowest / each)) for name, each in seconds.items()}  # in a sample
    number = max(1, round(SAMPLE / slowest))
    parts = max(1, min(PARTS, number // SAMPLES))
    repeats = {name: round(number / parts) * each for name, each in calls.items()}
    samples: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(rounds):
        over = done(samples)
        names = [name for name in arms if name not in over]
        if not names:
            break
        start = turn % len(names)
        order = names[start:] + names[:start]
        with conditions.watched():
            found: dict[str, list[float]] = {name: [] for name in names}
            for name in names:
                arms[name].shift()
            for name in parts * (*order, *reversed(order)):
                found[name] += _in_samples(clock(arms[name], repeats[name]), calls[name])
        for name, times in found.items():
            samples[name].append(1000 * undisturbed(times))
        watcher.advance()
    return Interleaved(samples, conditions)


def undisturbed(seconds: Sequence[float]) -> float:
    """Mean of the faster half: other programs only ever add time."""
    return fmean(sorted(seconds)[: (len(seconds) + 1) // 2])


def _in_samples(seconds: Sequence[float], calls: int) -> list[float]:
    """Means of so many calls one after the other."""
    return [fmean(seconds[start : start + calls]) for start in range(0, len(seconds), calls)]


def _warmed(arm: Callable[[], object], clock: Clock) -> float:
    """Call the arm until its time is steady; seconds of a call."""
    seconds = undisturbed(clock(arm, 1))
    repeats = max(1, round(SAMPLE / max(seconds, 1e-9)))
    last: list[float] = []
    while len(last) < MOST_WARM and repeats * sum(last) < WARM_SECONDS:
        last.append(undisturbed(clock(arm, repeats)))
        if len(last) > 2 and min(last[-2:]) > (1 - STEADY) * min(last[:-2]):
            break
    return max(median(last[-3:]), 1e-9)


def moved(model: nn.Module) -> None:
    """Give every parameter and buffer another place in memory."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()


class Rotation:
    """Inputs that are taken in turn, so that the caches hold none of them."""

    def __init__(self, inputs: list[Tensor]) -> None:
        self._inputs = inputs
        self._next = 0

    def __call__(self) -> Tensor:
        self._next = (self._next + 1) % len(self._inputs)
        return self._inputs[self._next]
