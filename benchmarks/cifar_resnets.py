"""Score public CIFAR-10 ResNets on test images, with the zeros of their shortcuts on both sides and at the end.

usage: python benchmarks/cifar_resnets.py WEIGHTS_FOLDER IMAGES_FOLDER OUT.json

The folders hold resnet20-*.th to resnet56-*.th of pytorch_resnet_cifar10, and a folder of images for each class, whose
alphabetic order is that of CIFAR-10.
"""

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

from resnet_lab import build
from resnet_lab.data.config import DataConfig
from resnet_lab.data.preparation import decode_all
from resnet_lab.data.sources import open_images
from resnet_lab.device import choose
from resnet_lab.evaluation.inference import image_format_of, logits, prepare
from resnet_lab.network import zoo
from resnet_lab.network.checkpoint import Metadata
from resnet_lab.network.plugins import default_registry
from resnet_lab.network.weights import load_weights, open_weights


def main(weights: str, source: str, out: str) -> None:
    images = open_images(source, default_registry())
    placement = choose("cpu", precision="fp32")
    rows = []
    for name in ("resnet20", "resnet32", "resnet44", "resnet56"):
        [file] = Path(weights).glob(f"{name}-*.th")
        spec = zoo.get(name)
        opened = open_weights(str(file), spec)
        row: dict[str, object] = {"network": name, "file": file.name}
        for zeros in ("both", "end"):
            network = spec.modified(shortcut=f"zero_pad(zeros={zeros})") if zeros == "end" else opened.network(spec)
            model = build(network)
            coverage = load_weights(model, network, opened)
            metadata = Metadata(spec=network, classes=images.classes, mean=coverage.mean or (), std=coverage.std or ())
            decoded = decode_all(images, image_format_of(metadata), DataConfig(source=source))
            positions = np.flatnonzero(decoded.usable)
            batches = prepare(decoded.pixels, positions, metadata, placement)
            found = logits(placement.place(model), batches.evaluation(), placement).argmax(1).numpy()
            row[zeros] = float((found == images.labels[positions]).mean())
        rows.append(row)
        print(row)
    content = {
        "images": len(positions),
        "networks": rows,
        "device": placement.record(),
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in ("resnet-lab", "torch", "pillow")},
    }
    Path(out).write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
