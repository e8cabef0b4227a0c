from dataclasses import replace

import numpy as np
from PIL import Image

from resnet_lab.images import ImageSet

SET = ImageSet("set", ("a", "b"), ("1.png", "2.png"), np.array([0, 1]), lambda index: Image.new("L", (1, 1)))


def test_the_fingerprint_is_that_of_classes_paths_and_labels() -> None:
    assert replace(SET, name="moved", labels=SET.labels.copy()).fingerprint == SET.fingerprint
    others = (
        replace(SET, classes=("a", "c")),
        replace(SET, paths=("1.png", "3.png")),
        replace(SET, labels=np.array([1, 0])),
        replace(SET, paths=("1.png",), labels=np.array([0])),
    )
    assert len({SET.fingerprint, *(other.fingerprint for other in others)}) == 5
    assert len(SET) == 2


def test_the_fingerprint_stays_what_it_was() -> None:
    """The digest by coreutils' sha256sum of the same lines: runs of older versions must keep theirs."""
    assert SET.fingerprint == "3be51870ea6e7596"
