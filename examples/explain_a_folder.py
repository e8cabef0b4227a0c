"""Grad-CAM of every image below a folder, by a trained run; draws them and says where each map peaks.

usage: python explain_a_folder.py RUN IMAGES OUT
"""

import sys
from pathlib import Path

from resnet_lab.device import choose
from resnet_lab.evaluation import explain
from resnet_lab.network import default_registry

run, images, out = (Path(argument) for argument in sys.argv[1:4])
found = explain(run, [images], choose("cpu"), default_registry(), out=out)
for image in found.images:
    predicted = image.explanation.maps[0]
    print(f"{image.path.name}: {predicted.name} {predicted.probability:.2f}, drawn as {image.drawing.name}")
for path, cause in found.bad:
    print(f"{path.name}: {cause}")
