from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, log_loss
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.nn import functional as F

from resnet_lab.data.augmentations import parse_augmentations
from resnet_lab.data.batches import Batches
from resnet_lab.device import choose
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.loop import DivergedError, Epoch, epochs
from tests.stand_ins import ArrayPixels

CPU = choose("cpu", "fp32")


def batches(number: int, seed: int = 0, augment: tuple[str, ...] = ("flip",)) -> Batches:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 3, number)
    pixels = draw.normal(80 + 40 * labels[:, None, None, None], 20, (number, 5, 5, 3)).clip(0, 255).astype(np.uint8)
    return Batches(
        ArrayPixels(pixels),
        np.arange(number),
        labels,
        num_classes=3,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        batch_size=8,
        placement=CPU,
        augment=parse_augmentations(augment),
    )


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))


CONFIG = TrainConfig(epochs=3, lr=0.02, optimizer="sgd", schedule="exponential", weight_decay=1e-3)


def test_the_loop_is_the_plain_pytorch_loop() -> None:
    """The same steps written out, with torch's own optimiser: losses, weights and scores are equal."""
    train, val = batches(50), batches(20, seed=5)
    model, plain = network(), network()
    rows = list(epochs(model, train, val, CONFIG, CPU, num_classes=3))
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=1e-3)
    for number, row in enumerate(rows, 1):
        plain.train()
        total, right = 0.0, np.zeros(3)
        for x, y in train.training(number):
            optimizer.zero_grad()
            outputs = plain(x)
            loss = F.cross_entropy(outputs, y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
            right += np.bincount(y[outputs.argmax(1) == y], minlength=3)
        assert row.learning_rate == pytest.approx(0.02 * 0.7 ** (number - 1))
        for group in optimizer.param_groups:
            group["lr"] *= 0.7
        assert row.train_loss == pytest.approx(total / 50, rel=1e-6)
        assert row.train_macro_accuracy == pytest.approx(np.mean(right / np.bincount(train.labels)))
        plain.eval()
        with torch.no_grad():
            probabilities = torch.cat([plain(x) for x, _ in val.in_order()]).double().softmax(1).numpy()
        labels = val.labels
        assert row.val_loss == pytest.approx(log_loss(labels, probabilities, labels=range(3)), rel=1e-5)
        assert row.val_accuracy == pytest.approx(np.mean(probabilities.argmax(1) == labels))
        assert row.val_macro_accuracy == pytest.approx(balanced_accuracy_score(labels, probabilities.argmax(1)))
    assert [row.epoch for row in rows] == [1, 2, 3]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))


def test_the_same_seed_gives_the_same_bits() -> None:
    states = []
    for _ in range(2):
        model = network()
        list(epochs(model, batches(40), batches(9), CONFIG, CPU, num_classes=3))
        states.append(model.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_weights_of_classes_are_in_the_loss() -> None:
    """The first step of plain SGD, written out with the weights of scikit-learn."""
    train, config = batches(50), CONFIG.model_copy(update={"epochs": 1, "momentum": 0.0, "balance": "loss"})
    model, plain = network(), network()
    row = next(epochs(model, train, batches(9), config, CPU, num_classes=3))
    weight = torch.tensor(compute_class_weight("balanced", classes=np.arange(3), y=train.labels), dtype=torch.float32)
    optimizer, total = torch.optim.SGD(plain.parameters(), lr=0.02, weight_decay=1e-3), 0.0
    for x, y in train.training(1):
        optimizer.zero_grad()
        loss = nn.CrossEntropyLoss(weight=weight)(plain.train()(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(y)
    assert row.train_loss == pytest.approx(total / 50, rel=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))


def test_mixed_images_are_learned_from_with_mixed_targets() -> None:
    train, config = batches(50, augment=("mixup(alpha=1.0)",)), CONFIG.model_copy(update={"epochs": 1})
    model, plain = network(), network()
    row = next(epochs(model, train, batches(9), config, CPU, num_classes=3))
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=1e-3)
    total = 0.0
    for x, y in train.training(1):
        optimizer.zero_grad()
        loss = -(y * plain.train()(x).log_softmax(1)).sum(1).mean()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(y)
    assert row.train_loss == pytest.approx(total / 50, rel=1e-5)
    for ours, written_out in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, written_out, rtol=1e-4, atol=1e-6)


def test_after_step_is_called_at_each_step_and_can_end_the_training() -> None:
    steps = []

    def after_step() -> None:
        steps.append(1)
        if len(steps) == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(epochs(network(), batches(50), batches(9), CONFIG, CPU, 3, after_step))
    assert len(steps) == 10


@pytest.mark.filterwarnings("ignore:overflow")
def test_divergence_is_told_with_epoch_and_rate() -> None:
    config = TrainConfig(epochs=5, lr=1e30, optimizer="sgd", schedule="constant")
    with pytest.raises(DivergedError) as failure:
        list(epochs(network(), batches(50), batches(9), config, CPU, 3))
    assert str(failure.value) in {
        f"epoch 1: the training loss is {loss} at learning rate 1e+30; try a lower one (--lr), or --precision fp32"
        for loss in ("nan", "inf")
    }


def test_the_best_epoch_has_the_macro_accuracy_and_then_the_lower_loss() -> None:
    epoch = Epoch(1, 0.1, 1, 0.5, 0.4, 0.8, 0.8, 1, 1)
    better = replace(epoch, val_macro_accuracy=0.9, val_loss=9.0)
    tie = replace(epoch, val_loss=0.3, val_accuracy=0.1)
    assert better.merit > tie.merit > epoch.merit
