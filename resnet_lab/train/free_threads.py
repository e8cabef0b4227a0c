"""Threads of a training beside other programs."""

import os
from collections.abc import Callable

from resnet_lab.core.processor import busy_cores, free_cores
from resnet_lab.device import choose
from resnet_lab.device.threads import threads_each
from resnet_lab.train.config import TrainConfig


def with_free_threads(config: TrainConfig, say: Callable[[str], None]) -> TrainConfig:
    """The configuration with as many threads as other programs leave cores free, unless it names a number.

    None is left where the environment decides, or another device computes.

    Args:
        say: is passed a remark where other programs leave fewer cores.
    """
    elsewhere = {"OMP_NUM_THREADS", "TORCHELASTIC_RUN_ID"} & os.environ.keys()
    if config.threads is not None or elsewhere or choose(config.device).device.type != "cpu":
        return config
    busy, most = busy_cores(), threads_each(1)
    taken = most if config.deterministic else min(most, free_cores(busy))
    if free_cores(busy) < most:
        say(
            f"other programs keep {busy:.1f} of {os.cpu_count()} cores busy: training with {taken} of {most} threads "
            "(--threads N); threads without a core of their own can make it many times slower"
        )
    return config.model_copy(update={"threads": taken})
