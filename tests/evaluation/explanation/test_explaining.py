from copy import deepcopy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from resnet_lab.core.errors import CheckpointError
from resnet_lab.device import choose
from resnet_lab.evaluation.explanation import ClassMap, Explainer, grad_cam
from resnet_lab.network.checkpoint import Metadata
from tests.evaluation.explanation.networks import SMALL, network

CPU = choose("cpu", "fp32", "off")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
CLASSES = ("boat", "car", "house", "sun", "tree")
METADATA = Metadata(spec=SMALL, classes=CLASSES, mean=MEAN, std=STD)


@pytest.fixture(scope="module")
def pictures() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (70, 16, 16, 3), dtype=np.uint8)


def normalised(pictures: NDArray[np.uint8]) -> torch.Tensor:
    x = torch.from_numpy((pictures / 255 - np.array(MEAN)) / np.array(STD)).float()
    return x.permute(0, 3, 1, 2)  # N H W C -> N C H W


def test_predicted_and_true_class(pictures: NDArray[np.uint8]) -> None:
    """More pictures than go through the network at a time."""
    model, x, truth = deepcopy(network("resnet20")), normalised(pictures), np.arange(70) % 5
    with torch.no_grad():
        model.fc.bias -= model(x).mean(0)  # so that not all are taken for one class
        probabilities = model(x).softmax(1)
    best = probabilities.argmax(1)
    assert len(set(best.tolist())) > 1
    maps = {"predicted": grad_cam(model, x, best), "true": grad_cam(model, x, torch.from_numpy(truth))}
    found = Explainer(METADATA, model, CPU).explain(pictures, truth)
    assert len(found) == 70
    for n, each in enumerate(found):
        assert np.array_equal(each.picture, pictures[n])
        assert each.predicted == CLASSES[best[n]]
        assert each.probability == pytest.approx(probabilities[n, best[n]].item(), rel=1e-3)
        wanted = {"predicted": best[n].item()} | ({"true": truth[n]} if truth[n] != best[n] else {})
        assert [(one.role, one.name) for one in each.maps] == [(role, CLASSES[k]) for role, k in wanted.items()]
        for one in each.maps:
            np.testing.assert_allclose(one.values, maps[one.role][n], rtol=1e-3, atol=1e-3)
            assert one.probability == pytest.approx(probabilities[n, wanted[one.role]].item(), rel=1e-3)


def test_a_class_that_was_asked_for(pictures: NDArray[np.uint8]) -> None:
    model = network("resnet20")
    found = Explainer(METADATA, model, CPU, "layer2.0").explain(pictures[:3], wanted=4)
    expected = grad_cam(model, normalised(pictures[:3]), torch.tensor([4, 4, 4]), "layer2.0")
    for each, values in zip(found, expected, strict=True):
        (one,) = each.maps
        assert (one.role, one.name) == ("asked for", "tree")
        np.testing.assert_allclose(one.values, values, rtol=1e-3, atol=1e-3)


def test_the_peak() -> None:
    values = np.zeros((3, 4), np.float32)
    assert ClassMap("true", "sun", 0.5, values).peak is None
    values[2, 1] = 1
    assert ClassMap("true", "sun", 0.5, values).peak == (2, 1)


def test_outputs_that_are_not_numbers(pictures: NDArray[np.uint8]) -> None:
    model = deepcopy(network("resnet20"))
    model.fc.bias.data[2] = float("nan")
    with pytest.raises(CheckpointError) as failure:
        Explainer(METADATA, model, CPU).explain(pictures[:1])
    assert str(failure.value) == (
        "the network's outputs are non-finite; with fp16, try --precision fp32, otherwise train it again "
        "with a lower learning rate"
    )
