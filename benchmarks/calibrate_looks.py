"""The table of looks that ships with the program: how the smallest scaled p-value is distributed under the null.

usage: python benchmarks/calibrate_looks.py OUT.py [PATHS]

For the default looks, and for those of a study that has as many seeds as one of them. `looks.calibrated` says how.
"""

import sys
from pathlib import Path

from resnet_lab.study.looks import DEFAULT, calibrated

HEAD = '''\
"""Distribution of the smallest scaled p-value at `looks.GRID`, by schedule: by benchmarks/calibrate_looks.py."""

# fmt: off
CALIBRATED: dict[tuple[int, ...], tuple[float, ...]] = {
'''


def main(out: str, paths: str = "400000") -> None:
    """Calibrate every schedule and write the module."""
    text = HEAD
    for number in range(1, len(DEFAULT) + 1):
        looks = DEFAULT[:number]
        values = [f"{value:.5g}" for value in calibrated(looks, int(paths))]
        rows = [values[start : start + 8] for start in range(0, len(values), 8)]
        text += f"    {looks}: (\n" + "".join(f"        {', '.join(row)},\n" for row in rows) + "    ),\n"
        print(looks, flush=True)
    Path(out).write_text(text + "}\n# fmt: on\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
