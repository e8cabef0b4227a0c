"""GPUs of a machine, and their memory, shared out among processes."""

import os

import torch

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable of the GPUs that a process sees, read when it first uses one; ROCm has it too."""


def visible_gpus() -> list[str]:
    """GPUs that this process sees, as `VISIBLE` names them; empty where there are none."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    listed = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    return (listed or [str(number) for number in range(count)])[:count]


def gpu_in_turn(number: int) -> dict[str, str]:
    """Environment in which the process of that number, from 0, sees a GPU of its own in turn; empty without several."""
    gpus = visible_gpus()
    return {VISIBLE: gpus[number % len(gpus)]} if len(gpus) > 1 else {}


def take_share(gpus: float) -> None:
    """Keep this process, which has used no GPU yet, to its share of GPUs: none at 0, of a fraction its memory."""
    if not gpus:
        os.environ[VISIBLE] = ""
    elif gpus < 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(gpus)
