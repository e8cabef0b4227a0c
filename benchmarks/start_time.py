"""Processor time from start to end of short commands, beside importing torch and torchvision, in interleaved rounds.

usage: python benchmarks/start_time.py RUN IMAGE OUT.json [ROUNDS]

RUN is a run folder that was evaluated before, so that `eval` recalls its predictions; the first round is not counted.
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import torch

COMMANDS = {
    "import torch, torchvision": ["-c", "import torch, torchvision"],
    "resnet-lab --help": ["-m", "resnet_lab", "--help"],
    "resnet-lab predict": ["-m", "resnet_lab", "predict", "RUN", "IMAGE"],
    "resnet-lab eval": ["-m", "resnet_lab", "eval", "RUN"],
}


def main(run: str, image: str, out: str, rounds: int = 5) -> None:
    """Measure, and write seconds of each round and the median ratios."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(rounds + 1):
        for name, words in COMMANDS.items():
            found = seconds_of([{"RUN": run, "IMAGE": image}.get(word, word) for word in words])
            if number:
                seconds[name].append(found)
    base, *others = COMMANDS
    content: dict[str, Any] = {
        "seconds": seconds,
        "ratios": {name: median(a / b for a, b in zip(seconds[name], seconds[base], strict=True)) for name in others},
        "processor": torch.cpu.get_capabilities().get("cpu_name", platform.machine()),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    Path(out).write_text(json.dumps(content, indent=1))
    print(json.dumps(content, indent=1))


def seconds_of(words: list[str]) -> float:
    """Processor seconds of a Python process."""
    before = os.times()
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = os.times()
    return sum(getattr(after, key) - getattr(before, key) for key in ("children_user", "children_system"))


if __name__ == "__main__":
    main(*sys.argv[1:4], *map(int, sys.argv[4:5]))
