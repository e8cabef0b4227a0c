"""Wall time of one fixed study by several versions of the program, one after the other, from empty caches.

Every version runs `digits-parts` with two seeds in two processes; nothing else should run meanwhile. The time of trials
counts from when the study folder is made to when the last is written, that of costs from then on.

usage: python benchmarks/study_time.py OUT.json CHECKOUT ...
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from resnet_lab.bench.results import machine
from resnet_lab.device import choose

STUDY = ("digits-parts", "--seeds", "2", "--processes", "2")


def timed(checkout: Path) -> dict[str, Any]:
    """Seconds of a study by the program in a folder."""
    commit = subprocess.run(["git", "-C", checkout, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    with tempfile.TemporaryDirectory() as scratch:
        study = Path(scratch) / "study"
        environment = {**os.environ, "PYTHONPATH": str(checkout), "RESNET_LAB_CACHE": str(Path(scratch) / "cache")}
        command = (sys.executable, "-m", "resnet_lab", "study", "run", *STUDY, "--out", str(study))
        start = perf_counter()
        subprocess.run(command, check=True, cwd=checkout, env=environment, stdout=subprocess.DEVNULL)
        return {"commit": commit.stdout[:12], "seconds": perf_counter() - start, **phases(study)}


def phases(study: Path) -> dict[str, Any]:
    """Seconds of the trials and of the costs."""
    begun = (study / "study.json").stat().st_mtime
    trained = max(path.stat().st_mtime for path in (study / "trials").glob("*.json"))
    return {"trials": trained - begun, "costs": (study / "bench.json").stat().st_mtime - trained}


def main(out: str, *checkouts: str) -> None:
    """Time every version, and write after each."""
    found: list[dict[str, Any]] = []
    for checkout in checkouts:
        found.append(timed(Path(checkout).resolve()))
        print(found[-1], flush=True)
        content = {"machine": machine(torch.device("cpu"), choose("cpu").name), "study": STUDY, "runs": found}
        Path(out).write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
