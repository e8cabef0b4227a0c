"""Whether a network trains as it is or compiled. Legend: N batch, C channels, H W pixels."""

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

import torch
from torch import Tensor, distributed, nn

from resnet_lab.core.errors import ConfigError
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.device.compiling import Compiled, Mode, cause
from resnet_lab.device.placement import Placement
from resnet_lab.device.timing_cache import StepTimes, recall, remember
from resnet_lab.device.trial_step import compare, noise, seconds_of_step, untouched

COMPILING = 60.0
"""Seconds that it is taken to last until it was done once; loading the code that is kept takes a tenth."""

WORTH_MEASURING = 10
"""Times as long as compiling the trainings to come have to be for it, which may bring nothing, to be tried."""


def compile_for_training(
    model: nn.Module,
    placement: Placement,
    key: str,
    shape: Sequence[int],
    *,
    steps: int = 0,
    trainings: int = 1,
    dtype: torch.dtype = torch.float32,
    watcher: Watcher = SILENT,
) -> nn.Module:
    """The network to call in a training step: `model` itself, or a module that runs its parameters compiled.

    With `compile="auto"` the faster is found by a few steps of each, once for each network, shape and machine,
    where enough steps remain for that to pay. To resume exactly, ask for what was chosen before:
    compiled where the result is not `model`.

    Args:
        model: as `placement.place` returned it. Its buffers and all random generators are left as they are, and it has
            no gradients after.
        key: the hash of its spec.
        shape: of a step's input, (N, C, H, W); others of that dtype and layout need no compilation of their own.
        steps: that are to come, in each training.
        trainings: that are to come with this network, this one included; they share the compiled code.
        dtype: of the input.
        watcher: notified of what was taken and why.

    Raises:
        ConfigError: compiling was asked for and is not possible.
    """
    if placement.compile == "off":
        return model
    x = noise(placement, shape, dtype)
    with untouched(model, placement.device):
        model.train()
        seconds_of_step(model, placement, x)  # where the network itself fails, it fails here
        if placement.compile != "auto":
            return _compiled(model, placement, placement.compile, key, x, watcher)[0]
        if unsuited := _unsuited():
            watcher.say(f"not compiled: {unsuited} (--compile on does)")
            return model
        try:
            return _faster(model, placement, key, x, steps, trainings, watcher)
        except ConfigError as error:
            watcher.say(f"not compiled: {error}")
            return model


def _unsuited() -> str:
    """Why the choice is not left to a stopwatch, or nothing."""
    if torch.are_deterministic_algorithms_enabled():
        return "which of the two is faster, and so the last bits, can differ from run to run"
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        return "each of the processes would choose for itself"
    return ""


def _compiled(
    model: nn.Module, placement: Placement, mode: Mode, key: str, x: Tensor, watcher: Watcher
) -> tuple[Compiled, float]:
    """The network compiled, and the seconds that took; raises `ConfigError` where it cannot be."""
    watcher.say("compiling the network, which can take a minute")
    facts = _facts(key, x, placement)
    start, compiled = perf_counter(), Compiled(model, mode, facts)
    try:
        seconds_of_step(compiled, placement, x)
    except Exception as error:  # compilers raise whatever they like; it is passed on, and the network ran without them
        raise ConfigError(f"the network cannot be compiled here ({cause(error)}); use --compile off") from error
    seconds = perf_counter() - start
    if mode == "on" and not compiled.is_shared:
        remember(replace(recall(*facts) or StepTimes(seconds), compiling=seconds), *facts)
    return compiled, seconds


def _faster(
    model: nn.Module, placement: Placement, key: str, x: Tensor, steps: int, trainings: int, watcher: Watcher
) -> nn.Module:
    """The one that the steps to come go through sooner, its compilation counted; measured once and remembered."""
    steps, facts = steps * trainings, _facts(key, x, placement)
    known, compiled = recall(*facts), None
    if known is None or known.eager is None or known.compiled is None:
        enough = WORTH_MEASURING * (COMPILING if known is None else known.compiling)
        expected = steps * seconds_of_step(model, placement, x)
        if expected >= enough:  # or another program slowed it
            expected = min(expected, *(steps * seconds_of_step(model, placement, x) for _ in range(2)))
        if expected < enough:
            long = "can take a minute" if known is None else f"takes {known.compiling:.0f} s"
            watcher.say(f"not compiled: compilation {long}, and about {expected:.0f} s of training remain")
            return model
        compiled, seconds = _compiled(model, placement, "on", key, x, watcher)
        eager, faster = compare(model, compiled, placement, x)
        known = StepTimes((recall(*facts) or StepTimes(seconds)).compiling, eager, faster)
        remember(known, *facts)
    eager, faster = known.eager or 0.0, known.compiled or 0.0
    saved = steps * (eager - faster) - (known.compiling if compiled is None else 0)
    result = f"a step takes {faster:.3g} s compiled, {eager:.3g} s eager"
    if saved <= 0:
        watcher.say(f"not compiled: {result}")
        return model
    watcher.say(f"compiled: {result}")
    return compiled or _compiled(model, placement, "on", key, x, watcher)[0]


def _facts(key: str, x: Tensor, placement: Placement) -> tuple[str, ...]:
    return key, "x".join(map(str, x.shape)), str(x.dtype), *placement.facts()
