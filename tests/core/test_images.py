import numpy as np
from PIL import Image

from resnet_lab.core.images import ImageSet


def test_a_set_is_as_long_as_its_paths() -> None:
    images = ImageSet("set", ("a", "b"), ("1.png", "2.png"), np.array([0, 1]), lambda index: Image.new("L", (1, 1)))
    assert len(images) == 2
