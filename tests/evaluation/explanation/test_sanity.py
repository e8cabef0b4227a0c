from copy import deepcopy

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from resnet_lab.device import choose
from resnet_lab.evaluation.explanation import EXPLAINABLE, Explainer, SanityCheck, rank_correlation
from resnet_lab.evaluation.explanation.sanity import SEED
from resnet_lab.network.builder import build
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


LAYERS = {"grad-cam": "layer1", "hires-cam": "layer1"}


@pytest.mark.parametrize("method", EXPLAINABLE)
def test_random_weights_change_the_maps(method: str) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    model = deepcopy(network("resnet20"))
    state = deepcopy(model.state_dict())
    explainer = Explainer(METADATA, model, CPU, LAYERS.get(method), method=method)
    found = explainer.explain(pictures, wanted=2)
    check = SanityCheck(explainer, BUILT_IN)
    known = [each for each in check.correlations(found) if each is not None]
    assert len(known) >= 2
    assert max(known) < 0.9
    assert check.correlations(found) == SanityCheck(explainer, BUILT_IN).correlations(found)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("method", EXPLAINABLE)
def test_it_compares_with_the_random_network_s_map_of_the_same_class(method: str) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    layer = LAYERS.get(method)
    explainer = Explainer(METADATA, network("resnet20"), CPU, layer, method=method)
    found = explainer.explain(pictures, wanted=[0, 4, 2])
    assert [[one.name for one in each.maps] for each in found] == [["boat"], ["tree"], ["house"]]
    random = build(SMALL, registry=BUILT_IN, seed=SEED).eval()
    x = torch.from_numpy((pictures / 255 - 0.5) / 0.25).float().permute(0, 3, 1, 2)
    others = EXPLAINABLE[method](random, CPU, layer).run(x).maps(torch.tensor([0, 4, 2]))
    expected = [
        spearmanr(one.maps[0].values.ravel(), other.ravel()).statistic for one, other in zip(found, others, strict=True)
    ]
    correlations = SanityCheck(explainer, BUILT_IN).correlations(found)
    assert any(each is not None for each in correlations)
    for one, other in zip(correlations, expected, strict=True):
        assert np.isnan(other) if one is None else one == pytest.approx(other, abs=0.02)
