from copy import deepcopy

import numpy as np
import pytest
import torch

from resnet_lab.device import choose
from resnet_lab.evaluation.explanation import Explainer, SanityCheck, rank_correlation
from resnet_lab.network.checkpoint import Metadata
from tests.evaluation.explanation.networks import BUILT_IN, SMALL, network

CPU = choose("cpu", "fp32", "off")
METADATA = Metadata(spec=SMALL, classes=("boat", "car", "house", "sun", "tree"), mean=(0.5,) * 3, std=(0.25,) * 3)


def test_rank_correlation_by_hand() -> None:
    """1 - 6 sum(d^2) / (n (n^2 - 1)), with differences of ranks (0, 1, -1, 0): 1 - 12 / 60."""
    one = np.array([[1, 2], [3, 9]], np.float32)
    assert rank_correlation(one, np.array([[0, 5], [4, 6]], np.float32)) == pytest.approx(0.8)
    assert rank_correlation(one, -one) == pytest.approx(-1)
    assert rank_correlation(one, np.zeros((2, 2), np.float32)) is None


@pytest.mark.parametrize("method", ["grad-cam", "hires-cam"])
def test_random_weights_change_the_maps(method: str) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    model = deepcopy(network("resnet20"))
    state = deepcopy(model.state_dict())
    found = Explainer(METADATA, model, CPU, "layer1", method=method).explain(pictures, wanted=2)
    check = SanityCheck(METADATA, CPU, BUILT_IN, "layer1", method=method)
    known = [each for each in check.correlations(found) if each is not None]
    assert len(known) >= 2
    assert max(known) < 0.9
    assert check.correlations(found) == SanityCheck(METADATA, CPU, BUILT_IN, "layer1", method=method).correlations(
        found
    )
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
