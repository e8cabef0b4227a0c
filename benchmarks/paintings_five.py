"""The paintings study's five experiments on a folder of images, at a size that a processor bears.

usage: python benchmarks/paintings_five.py IMAGES FOLDER [SEEDS]

Where ImageNet's weights cannot be had, a network that was trained on drawn shapes stands in their place: ten kinds of
circles, polygons and stripes, 300 of each. The study folder is FOLDER/study.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from resnet_lab.cli import main as command
from resnet_lab.data.config import DataConfig
from resnet_lab.network import zoo
from resnet_lab.study.design_files import read_tables
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.training import train

SIDE = 64
KINDS = ("circle", "triangle", "square", "pentagon", "star", "cross", "ring", "stripes", "checks", "dots")
EACH = 300
SETTINGS = {"epochs": 8, "augment": ["flip", "rotate90"]}


def main(images: str, folder: str, seeds: int = 5) -> None:
    """Draw, pretrain, and run the study; each part is left out where it was done before."""
    place = Path(folder)
    shapes, pretrained = place / "shapes", place / "pretrained"
    if not shapes.exists():
        draw_shapes(shapes)
    spec = zoo.get("resnet18").modified(input_size=SIDE)
    if not (pretrained / "best.safetensors").exists():
        config = TrainConfig(epochs=12, optimizer="adamw", lr=1e-3, weight_decay=0.05, schedule="one_cycle")
        train(spec, DataConfig(source=str(shapes)), config, folder=pretrained)
    arms: dict[str, dict[str, Any]] = read_tables(Path("paintings-five"))["study"]["arms"]
    for arm in arms.values():
        if "train.weights" in arm:
            arm["train.weights"] = str(pretrained / "best.safetensors")
    study = place / "study.toml"
    study.write_text(_toml(images, arms, seeds))
    out = str(place / "study")
    command(["study", "run", "--resume", out] if Path(out).exists() else ["study", "run", str(study), "--out", out])


def _toml(images: str, arms: dict[str, dict[str, Any]], seeds: int) -> str:
    lines = ["[study]", 'name = "paintings-five"', 'recipe = "paintings-scratch"', f"seeds = {seeds}"]
    for name, changes in arms.items():
        lines += [
            "",
            f'[study.arms."{name}"]',
            *(f'"{key}" = {value!r}'.replace("'", '"') for key, value in changes.items()),
        ]
    lines += ["", "[model]", 'model = "resnet18"', f"input_size = {SIDE}", "", "[data]", f'source = "{images}"']
    lines += ["", "[train]", *(f"{key} = {value!r}".replace("'", '"') for key, value in SETTINGS.items())]
    return "\n".join(lines) + "\n"


def draw_shapes(folder: Path) -> None:
    """JPEG files by kind, each with its own size, place, turn and two colours, under noise."""
    generator = np.random.default_rng(0)
    for kind in KINDS:
        (folder / kind).mkdir(parents=True)
        for number in range(EACH):
            picture = _drawn(kind, generator)
            noisy = np.asarray(picture, dtype=float) + generator.normal(0, 12, (SIDE, SIDE, 3))
            Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(
                folder / kind / f"{number:03d}.jpg", quality=92
            )


def _drawn(kind: str, generator: np.random.Generator) -> Image.Image:
    back, front = (tuple(int(value) for value in generator.integers(0, 256, 3)) for _ in range(2))
    picture = Image.new("RGB", (SIDE, SIDE), back)
    pen = ImageDraw.Draw(picture)
    radius, turn = float(generator.uniform(10, 26)), float(generator.uniform(0, 2 * np.pi))
    middle = generator.uniform(radius, SIDE - radius, 2)
    box = [*(middle - radius), *(middle + radius)]
    width = max(2, int(radius / 4))
    if kind == "circle":
        pen.ellipse(box, fill=front)
    elif kind == "ring":
        pen.ellipse(box, outline=front, width=width)
    elif kind in ("triangle", "square", "pentagon"):
        pen.polygon(_corners(middle, [radius] * {"triangle": 3, "square": 4, "pentagon": 5}[kind], turn), fill=front)
    elif kind == "star":
        pen.polygon(_corners(middle, [radius, 0.4 * radius] * 5, turn), fill=front)
    elif kind == "cross":
        ends = _corners(middle, [radius] * 4, turn)
        for one, other in ((0, 2), (1, 3)):
            pen.line([ends[one], ends[other]], fill=front, width=width)
    else:
        step = int(generator.integers(4, 12))
        columns, rows = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
        along = np.cos(turn) * columns + np.sin(turn) * rows
        across = np.cos(turn) * rows - np.sin(turn) * columns
        if kind == "stripes":
            mask = along // step % 2 == 0
        elif kind == "checks":
            mask = (along // step + across // step) % 2 == 0
        else:
            mask = (along % (2 * step) - step) ** 2 + (across % (2 * step) - step) ** 2 < (0.6 * step) ** 2
        picture.paste(front, mask=Image.fromarray(mask))
    return picture


def _corners(middle: Any, radii: list[float], turn: float) -> list[tuple[float, float]]:
    angles = turn + 2 * np.pi * np.arange(len(radii)) / len(radii)
    return [
        (middle[0] + radius * np.cos(angle), middle[1] + radius * np.sin(angle))
        for radius, angle in zip(radii, angles.tolist(), strict=True)
    ]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 5)
