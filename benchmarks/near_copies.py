"""Recall and false alarms of near copies: which copies of paintings are found, which other pictures are taken for some.

Of every eleventh painting of a folder, from the ninth on, a copy of each kind is put beside all paintings; a row is a
kind. Then the folder alone, darkened and with a fifth of its contrast, and sets of drawn pictures, of which none is a
copy of another.

usage: python benchmarks/near_copies.py FOLDER OUT.json
"""

import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from resnet_lab.data import copies
from resnet_lab.data.decoding import ImageInfo, decode
from resnet_lab.data.image_format import ImageFormat
from tests.data import drawn_sets
from tests.data.drawn_sets import COPIES, saved

FORM = ImageFormat(224)
SETS: dict[str, Callable[[], list[Image.Image]]] = {
    "printed digits, 10 x 30": lambda: drawn_sets.letters("0123456789", 30),
    "printed letters, 26 x 30": lambda: drawn_sets.letters("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 30),
    "handwritten digits, 1,797": drawn_sets.handwritten_digits,
    "discs, 2 x 150": drawn_sets.discs,
    "line drawings, 300": drawn_sets.lines,
    "even colours, 300": drawn_sets.swatches,
}


def groups(examined: Sequence[ImageInfo]) -> NDArray[np.int64]:
    if hasattr(copies, "groups"):  # of 6e309af, for comparison
        return copies.groups(examined)
    return copies.group_copies(examined).groups


def groups_of(examined: Sequence[ImageInfo]) -> list[list[int]]:
    """Positions of the images of each group of two or more."""
    numbers = groups(examined)
    found = (np.flatnonzero(numbers == number).tolist() for number in np.unique(numbers))
    return [group for group in found if len(group) > 1]


def looked_at(contents: Sequence[bytes]) -> list[ImageInfo]:
    return [decode(content, FORM)[1] for content in contents]


def main(folder: str, out: str) -> None:
    """Run all; the JSON has a row for each kind of copy and each set."""
    files = sorted(Path(folder).glob("*/*.jpg"))
    chosen = list(range(8, len(files), 11))[:100]
    originals = looked_at([file.read_bytes() for file in files])
    paintings = {position: _read(files[position]) for position in chosen}
    rows: dict[str, Any] = {}
    for name, make in COPIES.items():
        found = groups_of([*originals, *looked_at([make(painting) for painting in paintings.values()])])
        pairs = sum(
            any(len(files) + number in group and position in group for group in found)
            for number, position in enumerate(chosen)
        )
        rows[name] = {"found": pairs, "of": len(chosen)}
        print(name, rows[name], flush=True)
    sets: dict[str, Callable[[], list[bytes]]] = {
        "paintings": lambda: [file.read_bytes() for file in files],
        "paintings, darkened": lambda: [saved(drawn_sets.darkened(Image.open(file).convert("RGB"))) for file in files],
        "paintings, flattened": lambda: [
            saved(drawn_sets.flattened(Image.open(each).convert("RGB"))) for each in files
        ],
        **{name: lambda make=make: [_as_png(image) for image in make()] for name, make in SETS.items()},
        **{f"{name}, as JPEG": lambda make=make: [saved(image, 75) for image in make()] for name, make in SETS.items()},
    }
    for name, contents in sets.items():
        examined = looked_at(contents())
        start = perf_counter()
        found = groups_of(examined)
        rows[name] = {
            "images": len(examined),
            "grouped": sum(map(len, found)),
            "groups": len(found),
            "largest": max(map(len, found), default=0),
            "seconds": round(perf_counter() - start, 2),
        }
        if name.startswith("paintings"):
            rows[name]["paths"] = [[files[position].stem for position in group] for group in found]
        print(name, rows[name], flush=True)
    Path(out).write_text(json.dumps(rows, indent=1))


def _read(file: Path) -> Image.Image:
    return Image.open(file).convert("RGB")


def _as_png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    main(*sys.argv[1:])
