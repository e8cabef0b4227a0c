from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def paintings_in() -> Callable[[Path], Path]:
    """Draws twelve images each of two classes, apart by colour, into a folder, and gives it."""

    def draw(folder: Path) -> Path:
        generator = np.random.default_rng(0)
        for name, colour in (("blue", (40, 60, 220)), ("red", (220, 60, 40))):
            (folder / name).mkdir(parents=True)
            for number in range(12):
                pixels = np.clip(generator.normal(colour, 25, (20, 20, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / name / f"{number}.png")
        return folder

    return draw
