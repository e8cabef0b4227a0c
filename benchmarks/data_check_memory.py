"""Peak memory of `data check` on sound pictures, of this version and of others that are checked out elsewhere.

usage: python benchmarks/data_check_memory.py OUT.json [PICTURES] [CHECKOUT ...]

No installed plugin is loaded: what it imports would count too.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from PIL import Image

from resnet_lab.bench.results import machine
from resnet_lab.device import choose

ROOT = Path(__file__).parents[1]
PEAK = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); " + (
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def main(out: str, pictures: int = 20_000, *checkouts: str) -> None:
    """Measure and write the figures."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "pictures"
        for number in range(pictures):
            file = folder / f"class{number % 10}" / f"{number}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            picture(number).save(file, quality=80)
        runs = [checked(Path(checkout), folder, place) for checkout in (ROOT, *checkouts)]
    placement = choose("cpu")
    found = {"machine": machine(placement.device, placement.name), "pictures": pictures, "runs": runs}
    Path(out).write_text(json.dumps(found, indent=1))
    print(json.dumps(found, indent=1))


def picture(number: int) -> Image.Image:
    """Smooth noise, its sides of 200 to 400 pixels."""
    draw = np.random.default_rng(number)
    width, height = map(int, draw.integers(200, 401, 2))
    coarse = Image.fromarray(draw.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def checked(checkout: Path, folder: Path, place: str) -> dict[str, Any]:
    """Seconds and peak of a checkout's command, from an empty cache."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True
    ).stdout.strip()
    environment = os.environ | {
        "PYTHONPATH": str(checkout), "RESNET_LAB_PLUGINS": "", "RESNET_LAB_CACHE": f"{place}/cache-{commit}",
    }  # fmt: skip
    command = [sys.executable, "-m", "resnet_lab", "data", "check", str(folder)]
    start = perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *command], cwd=place, env=environment, capture_output=True, text=True, check=True
    )
    seconds = perf_counter() - start
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return {"commit": commit, "seconds": round(seconds, 1), "peak_mib": round(int(done.stdout) / unit, 1)}


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(arguments[0], int(arguments[1]) if len(arguments) > 1 else 20_000, *arguments[2:])
