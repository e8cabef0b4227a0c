"""CBAM in a network with public weights, before any training; skipped where these or the images are not there."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnet_lab import build, zoo
from resnet_lab.network import load_weights

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared" / "data"
IMAGES = Path(os.environ.get("RESNET_LAB_CIFAR10", SHARED / "cifar10-test"))
WEIGHTS = Path(os.environ.get("RESNET_LAB_CIFAR_RESNETS", SHARED / "cifar-resnets")) / "resnet20-12fca82f.th"


@pytest.mark.slow
@pytest.mark.skipif(not (IMAGES.is_dir() and WEIGHTS.is_file()), reason=f"needs {IMAGES} and {WEIGHTS}")
def test_gates_that_start_at_one_keep_a_pretrained_network_s_accuracy() -> None:
    """The figures of docs/howto/pretrained-cbam.md, at three seeds of the new gates."""
    folders = sorted(IMAGES.iterdir())
    pixels = np.stack([np.asarray(Image.open(path)) for folder in folders for path in sorted(folder.iterdir())])
    labels = torch.arange(10).repeat_interleave(len(pixels) // 10)
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    x = (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    classifier = torch.load(WEIGHTS, map_location="cpu", weights_only=True)["state_dict"]

    def accuracy(attn: str, seed: int) -> float:
        spec = zoo.get("resnet20").modified(shortcut="zero_pad(zeros=both)", attn=attn, num_classes=10)
        model = build(spec, seed=seed)
        load_weights(model, spec, str(WEIGHTS))
        model.fc.load_state_dict({name: classifier[f"module.linear.{name}"] for name in ("weight", "bias")})
        with torch.inference_mode():
            found = torch.cat([model.eval()(batch).argmax(1) for batch in x.split(250)])
        return float((found == labels).float().mean())

    plain, identity = accuracy("none", 0), accuracy("cbam(init=identity)", 0)
    published = [accuracy("cbam", seed) for seed in range(3)]
    assert plain == identity == pytest.approx(0.8135, abs=0.0005)
    figures = (
        f"{identity:.2%} of {len(x):,} test images with `init=identity`, as without CBAM, and {min(published):.1%} to "
    )
    figures += f"{max(published):.1%} with the published gates"
    assert figures in " ".join((ROOT / "docs" / "howto" / "pretrained-cbam.md").read_text().split()), figures
