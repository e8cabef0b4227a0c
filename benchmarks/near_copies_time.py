"""Cost of near copies: decoding with a signature beside an earlier checkout's, and searching once and again.

In each round every checkout, in its own process, decodes the same 96 pictures, in alternating order.
Near copies are looked for among 8,446 pictures that are cut out of the folder's.

usage: python benchmarks/near_copies_time.py FOLDER OUT.json [EARLIER_CHECKOUT [TURNS]]
"""

import json
import os
import subprocess
import sys
from itertools import islice, product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from resnet_lab.data.known_copies import near_copies
from resnet_lab.data.signatures import signature

HERE = Path(__file__).parents[1]
DECODED, CUT = 96, 8446

DECODE = """
import sys, time
from pathlib import Path
from resnet_lab.data.decoding import decode
from resnet_lab.data.image_format import ImageFormat
contents = [Path(line).read_bytes() for line in sys.argv[1:]]
for _ in sys.stdin:
    start, cpu = time.perf_counter(), time.process_time()
    for content in contents:
        decode(content, ImageFormat(224))
    print(time.perf_counter() - start, time.process_time() - cpu, flush=True)
"""


def decoding(files: list[Path], checkouts: list[Path], turns: int) -> dict[str, Any]:
    """Milliseconds per picture, wall and CPU time, of each checkout in each round."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", DECODE, *map(str, files)],
            env={**os.environ, "PYTHONPATH": str(checkout)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for checkout in checkouts
    ]
    rows: list[list[list[float]]] = [[] for _ in workers]
    for turn in range(turns + 1):
        order = list(range(len(workers)))
        for number in order if turn % 2 else order[::-1]:
            worker = workers[number]
            assert worker.stdin
            assert worker.stdout
            print("go", file=worker.stdin, flush=True)
            rows[number].append([round(float(text) / len(files) * 1e3, 3) for text in worker.stdout.readline().split()])
    for worker in workers:
        worker.communicate()
    rows = [row[1:] for row in rows]  # the first turn warms up
    found: dict[str, Any] = {"pictures": len(files), "turns": turns, "ms, processor ms": rows}
    if len(rows) > 1:
        for place, name in enumerate(("ratios", "ratios of processor time")):
            ratios = [now[place] / before[place] for now, before in zip(*rows, strict=True)]
            found[name] = {"median": median(ratios), "least": min(ratios), "most": max(ratios)}
    return found


def searching(files: list[Path], times: int = 3) -> dict[str, Any]:
    """Seconds in which near copies are looked for, and in which they are known."""
    signatures = []
    for corner, file in islice(product(range(8), files), CUT):
        with Image.open(file) as image:
            width, height = image.width // 2, image.height // 2
            left, top = (corner % 3) * width // 2, corner // 3 * height // 2
            signatures.append(signature(image.crop((left, top, left + width, top + height)).convert("RGB")))
    found: dict[str, Any] = {"pictures": len(signatures), "first": [], "again": []}
    for _ in range(times):
        with TemporaryDirectory() as folder:
            for name in ("first", "again"):
                start = perf_counter()
                near_copies(signatures, Path(folder))
                found[name].append(round(perf_counter() - start, 3))
    return found


def main(folder: str, out: str, earlier: str = "", turns: str = "15") -> None:
    files = sorted(Path(folder).glob("*/*.jpg"))
    step = max(1, len(files) // DECODED)
    checkouts = [HERE, *([Path(earlier)] if earlier else [])]
    rows = {"decoding": decoding(files[::step][:DECODED], checkouts, int(turns)), "searching": searching(files)}
    print(json.dumps(rows))
    Path(out).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
