import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

import resnet_lab
from resnet_lab.data.config import DataConfig
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.pixels import gathered
from resnet_lab.data.preparation import prepare
from resnet_lab.data.sampling import shuffled, steps_of
from resnet_lab.data.sources import open_images
from resnet_lab.network import zoo
from resnet_lab.network.plugins import load
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.training import train

BESIDE = Path(__file__).parents[3] / "shared" / "data" / "louvre-genres"
PAINTINGS = Path(os.environ.get("RESNET_LAB_LOUVRE", BESIDE))
pytestmark = pytest.mark.skipif(
    not PAINTINGS.is_dir(), reason="the folder of Louvre paintings is not here (RESNET_LAB_LOUVRE)"
)


@pytest.mark.slow
def test_two_epochs_on_paintings_are_those_of_a_plain_loop(tmp_path: Path) -> None:
    """Torchvision's network from the same weights on the same batches, with torch's own SGD and cosine schedule."""
    spec = zoo.get("resnet18").modified(input_size=48, num_classes=4, act="gelu")
    config = TrainConfig(
        epochs=2, lr=1e-3, optimizer="sgd", batch_size=32, precision="fp32", device="cpu", compile="off"
    )  # fmt: skip
    half = tmp_path / "half"
    for path in sorted(PAINTINGS.glob("*/*.jpg"))[::2]:
        link = half / path.relative_to(PAINTINGS)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    train(spec, str(half), config, folder=tmp_path / "run")
    rows = pd.read_csv(tmp_path / "run" / "metrics.csv")

    data = DataConfig(source=str(half))
    prepared = prepare(open_images(data.source, load(only=[])), ImageFormat(48, 3, data.fit), data, seed=0)
    pixels, labels = gathered(prepared.pixels, range(len(prepared.images))) / 255, prepared.images.labels
    taught, val = prepared.positions("train"), prepared.positions("val")
    pixels = (pixels - pixels[taught].mean((0, 1, 2))) / pixels[taught].std((0, 1, 2))
    x, y = torch.tensor(pixels, dtype=torch.float32).permute(0, 3, 1, 2), torch.tensor(labels)
    model = torchvision.models.resnet18(num_classes=4)
    for module in model.modules():  # with GELU, lest rounding grow at the kinks of ReLU
        if hasattr(module, "relu"):
            module.relu = nn.GELU()
    model.load_state_dict(resnet_lab.build(spec).state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    steps = len(steps_of(taught, 32))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 2 * steps)
    for epoch, rounding in ((1, 1e-3), (2, 1e-2)):
        model.train()
        total = 0.0
        for step in steps_of(shuffled(labels[taught], 0, epoch), 32):
            chosen = taught[step]
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[chosen]), y[chosen])
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        model.eval()
        with torch.no_grad():
            loss = F.cross_entropy(model(x[val]), y[val]).item()
        found = rows.iloc[epoch - 1]
        print(epoch, found.train_loss, total / len(taught), found.val_loss, loss)
        assert found.train_loss == pytest.approx(total / len(taught), rel=rounding)
        assert found.val_loss == pytest.approx(loss, rel=5e-3)
    assert total / len(taught) < np.log(4)


@pytest.mark.long
def test_paintings_are_classified_as_by_plain_pytorch(tmp_path: Path) -> None:
    """A plainly written loop reaches 0.67 to 0.75 on these 1,150 paintings of four genres at 96 pixels."""
    config = TrainConfig(epochs=15, lr=1e-3, batch_size=32, augment=("flip",))
    result = train(zoo.get("resnet18").modified(input_size=96), str(PAINTINGS), config, folder=tmp_path / "run")
    assert result.test.macro_accuracy >= 0.67
