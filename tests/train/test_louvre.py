import os
from pathlib import Path

import pytest

from resnet_lab import zoo
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.training import train

BESIDE = Path(__file__).parents[3] / "shared" / "data" / "louvre-genres"
PAINTINGS = Path(os.environ.get("RESNET_LAB_LOUVRE", BESIDE))


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(not PAINTINGS.is_dir(), reason="the folder of Louvre paintings is not here (RESNET_LAB_LOUVRE)")
def test_paintings_are_told_apart_as_plain_pytorch_does(tmp_path: Path) -> None:
    """A plainly written loop reaches 0.67 to 0.75 on these 1,150 paintings of four genres at 96 pixels."""
    config = TrainConfig(epochs=15, lr=1e-3, batch_size=32, augment=("flip",))
    result = train(zoo.get("resnet18").modified(input_size=96), str(PAINTINGS), config, folder=tmp_path / "run")
    assert result.test.macro_accuracy >= 0.67
