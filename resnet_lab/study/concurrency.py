"""Number of concurrent trials on this machine, by a short measurement."""

import torch

from resnet_lab.core.processor import allowed_cores
from resnet_lab.device import choose
from resnet_lab.device.gpu_shares import visible_gpus
from resnet_lab.network.plugins import Registry
from resnet_lab.study.deciding import seconds_of_step
from resnet_lab.study.design import Study

WORTH = 1.1
"""Trials per hour, relative to fewer processes, from which more are taken, since each needs memory of its own."""


def measured_processes(study: Study, classes: int, registry: Registry) -> int:
    """Number of processes, with the cores divided among them, that finish most training steps in a second.

    On GPUs it is one for each. On a CPU a few steps of the first arm on noise are timed with all, half, a quarter ...
    of the threads.
    """
    arm = study.arms[0]
    cores, most = allowed_cores(), len(study.arms) * len(study.seeds)
    device = choose(arm.train.device).device
    if device.type != "cpu":
        return 1 if device.index is not None else max(1, min(most, len(visible_gpus())))
    best, rate, threads = 1, 0.0, torch.get_num_threads()
    try:
        number = 1
        while number <= min(cores, most):
            torch.set_num_threads(cores // number)
            found = number / seconds_of_step(arm, classes, registry)
            if found > WORTH * rate:
                best, rate = number, found
            number *= 2
    finally:
        torch.set_num_threads(threads)
    return best
