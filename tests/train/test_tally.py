from math import inf

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from resnet_lab.train.tally import Tally


def test_sums_are_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    labels, outputs = draw.integers(0, 4, 60), torch.from_numpy(draw.normal(size=(60, 5)) - [0, 0, 0, 0, 99])
    tally = Tally(5, torch.device("cpu"))
    for start in range(0, 60, 20):
        part = slice(start, start + 20)
        tally.add(torch.tensor(2.0 * start), 20.0, outputs[part], torch.from_numpy(labels[part]))
    loss, accuracy = tally.result()
    assert loss == (0 + 40 + 80) / 60
    assert accuracy == pytest.approx(balanced_accuracy_score(labels, outputs.argmax(1)))


def test_a_mixed_image_counts_as_its_larger_share() -> None:
    tally = Tally(2, torch.device("cpu"))
    shares = torch.tensor([[0.7, 0.3], [0.2, 0.8], [0.9, 0.1]])
    tally.add(torch.tensor(1.0), 3.0, torch.tensor([[1.0, 0], [1, 0], [1, 0]]), shares)
    assert tally.result() == (pytest.approx(1 / 3), 0.5)


def test_the_first_diverged_step_is_reported() -> None:
    tally = Tally(2, torch.device("cpu"))
    outputs, labels = torch.eye(2), torch.tensor([0, 1])
    for loss in (1.0, 2.0):
        tally.add(torch.tensor(loss), 2.0, outputs, labels)
    assert tally.first_diverged() is None
    assert (tally.checked, tally.latest) == (2, (0.75, 1.0))
    for loss in (1.0, inf, float("nan")):
        tally.add(torch.tensor(loss), 2.0, outputs, labels)
    assert tally.first_diverged() == (3, inf)


def test_sums_that_no_step_gives() -> None:
    tally = Tally(2, torch.device("cpu"))
    tally.add(torch.tensor(1.0), 2.0, torch.eye(2), torch.tensor([0, 1]))
    assert tally.problem == ""
    tally.sums[2 + 2] = 2  # right, of the one image of the first class
    assert tally.problem == "more images are right than were seen"
    tally.sums[0] = inf
    assert tally.problem == "a sum is negative or non-finite"
