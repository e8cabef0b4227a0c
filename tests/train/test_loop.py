import re
from collections.abc import Callable, Iterator
from math import inf, nan

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, log_loss
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, update_bn

from resnet_lab.core.history import Epoch
from resnet_lab.data.augmentations import parse_augmentations
from resnet_lab.data.image_loader import image_loader
from resnet_lab.data.loader import Loader
from resnet_lab.data.order import Order, Subset
from resnet_lab.device import choose
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.learner import Learner
from resnet_lab.train.loop import epochs
from resnet_lab.train.optimisation import make_loss
from resnet_lab.train.state import Progress
from resnet_lab.train.tally import DivergedError, Tally
from tests.stand_ins import ArrayPixels

CPU = choose("cpu", "fp32")


def batches(number: int, seed: int = 0, augment: tuple[str, ...] = ("flip",)) -> Loader:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 3, number)
    pixels = draw.normal(80 + 40 * labels[:, None, None, None], 20, (number, 5, 5, 3)).clip(0, 255).astype(np.uint8)
    order = Order(Subset(np.arange(number), labels, 3), 8)
    return image_loader(ArrayPixels(pixels), order, (0.5,) * 3, (0.25,) * 3, CPU, parse_augmentations(augment))


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))


def trained(
    model: nn.Module,
    train: Loader,
    val: Loader,
    config: TrainConfig,
    after_step: Callable[[], None] = lambda: None,
    progress: Progress | None = None,
) -> Iterator[Epoch]:
    learner = Learner(model, model, make_loss(config, train.images.labels, 3, CPU.device), config, CPU)
    return epochs(learner, train, val, config, CPU, progress or Progress(Tally(3, CPU.device)), after_step)


CONFIG = TrainConfig(epochs=3, lr=0.02, optimizer="sgd", schedule="exponential", weight_decay=1e-3)


def test_the_loop_is_the_plain_pytorch_loop() -> None:
    """The same steps written out, with torch's own optimiser: losses, weights and scores are equal."""
    train, val = batches(50), batches(20, seed=5)
    model, plain = network(), network()
    rows = list(trained(model, train, val, CONFIG))
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=1e-3, fused=True)
    for number, row in enumerate(rows, 1):
        plain.train()
        total, right = 0.0, np.zeros(3)
        for _, x, y in train.training(number):
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
        assert row.train_macro_accuracy == pytest.approx(np.mean(right / np.bincount(train.images.labels)))
        plain.eval()
        with torch.no_grad():
            probabilities = torch.cat([plain(x)[: len(y)] for _, x, y in val.evaluation()]).double().softmax(1).numpy()
        labels = val.images.labels
        assert row.val_loss == pytest.approx(log_loss(labels, probabilities, labels=range(3)), rel=1e-5)
        assert row.val_accuracy == pytest.approx(np.mean(probabilities.argmax(1) == labels))
        assert row.val_macro_accuracy == pytest.approx(balanced_accuracy_score(labels, probabilities.argmax(1)))
    assert [row.epoch for row in rows] == [1, 2, 3]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))


def test_the_same_seed_gives_the_same_bits() -> None:
    states = []
    for _ in range(2):
        model = network()
        list(trained(model, batches(40), batches(9), CONFIG))
        states.append(model.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_weights_of_classes_are_in_the_loss() -> None:
    """The first epoch of plain SGD, written out with the weights of scikit-learn."""
    train, config = batches(50), CONFIG.model_copy(update={"epochs": 1, "momentum": 0.0, "balance": "loss"})
    model, plain = network(), network()
    row = next(trained(model, train, batches(9), config))
    weight = torch.tensor(
        compute_class_weight("balanced", classes=np.arange(3), y=train.images.labels), dtype=torch.float32
    )
    optimizer, total = torch.optim.SGD(plain.parameters(), lr=0.02, weight_decay=1e-3), 0.0
    for _, x, y in train.training(1):
        optimizer.zero_grad()
        loss = nn.CrossEntropyLoss(weight=weight)(plain.train()(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item() * weight[y].sum().item()
    assert row.train_loss == pytest.approx(total / weight[torch.from_numpy(train.images.labels)].sum().item(), rel=1e-6)
    for ours, written_out in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, written_out, rtol=1e-5, atol=1e-7)


def test_mixed_images_are_learned_from_with_mixed_targets() -> None:
    train, config = batches(50, augment=("mixup(alpha=1.0)",)), CONFIG.model_copy(update={"epochs": 1})
    model, plain = network(), network()
    row = next(trained(model, train, batches(9), config))
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=1e-3)
    total = 0.0
    for _, x, y in train.training(1):
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
        list(trained(network(), batches(50), batches(9), CONFIG, after_step))
    assert len(steps) == 10


@pytest.mark.filterwarnings("ignore:overflow")
def test_divergence_is_reported_with_epoch_step_and_rate() -> None:
    config = TrainConfig(epochs=5, lr=1e30, optimizer="sgd", schedule="constant")
    with pytest.raises(DivergedError) as failure:
        list(trained(network(), batches(50), batches(9), config))
    assert re.fullmatch(
        r"epoch 1, step 2 of 7: the training loss is (nan|inf) at learning rate 1e\+30; "
        r"try a lower rate \(--lr\), --clip-norm 1, or --precision fp32",
        str(failure.value),
    )


class Overflowing(nn.Module):
    """Logits of which that of class 0 is replaced where nothing is learned."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.network, self.value = network(), value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = self.network(x)
        return outputs if self.training else outputs.masked_fill(torch.tensor([True, False, False]), self.value)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (nan, "the outputs for 9 of 9 validation images are non-finite"),
        (inf, "the outputs for 9 of 9 validation images are non-finite"),
        (-inf, "the outputs for 9 of 9 validation images are non-finite"),  # of other classes the loss is finite
        (3.4e38, "the validation loss is inf"),
    ],
)
def test_a_validation_that_overflows_is_a_divergence(value: float, what: str) -> None:
    progress = Progress(Tally(3, CPU.device))
    config = CONFIG.model_copy(update={"lr": 0.25, "schedule": "constant"})
    with pytest.raises(DivergedError) as failure:
        list(trained(Overflowing(value), batches(50), batches(9), config, progress=progress))
    assert str(failure.value) == (
        f"epoch 1, step 7 of 7: {what} at learning rate 0.25; try a lower rate (--lr), --clip-norm 1, or "
        "--precision fp32"
    )
    assert progress.history == []


def test_micro_batches_equal_the_batch() -> None:
    """There is no batch norm, whose statistics are a micro-batch's own."""
    states = []
    for pieces in (1, 3):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))
        config = CONFIG.model_copy(update={"accumulate": pieces, "balance": "loss", "label_smoothing": 0.1})
        rows = list(trained(model, batches(50), batches(9), config))
        states.append((model.state_dict(), [row.train_loss for row in rows]))
    assert states[1][1] == pytest.approx(states[0][1], rel=1e-5)
    torch.testing.assert_close(states[1][0], states[0][0], rtol=1e-4, atol=1e-6)


def test_the_gradient_is_clipped() -> None:
    """Plain SGD moves the weights by the rate times the norm, which is the largest allowed."""
    train = batches(8)
    config = TrainConfig(epochs=1, lr=0.5, optimizer="sgd", momentum=0, schedule="constant", clip_norm=0.01)
    model, before = network(), network()
    next(trained(model, train, batches(9), config))
    moved = torch.cat([(a - b).ravel() for a, b in zip(model.parameters(), before.parameters(), strict=True)])
    assert moved.norm().item() == pytest.approx(0.5 * 0.01, rel=1e-4)


def test_patience_ends_the_training() -> None:
    """Nothing is learned at a rate that is next to nothing, so the first epoch stays the best."""
    config = CONFIG.model_copy(update={"epochs": 20, "patience": 3, "lr": 1e-12})
    val = batches(20, seed=5)
    model = network().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    assert len(list(trained(model, batches(50), val, config))) == 4


def test_the_average_is_what_is_scored() -> None:
    config = CONFIG.model_copy(update={"ema": 0.9})
    train, val = batches(50), batches(20, seed=5)
    model = network()
    learner = Learner(model, model, make_loss(config, train.images.labels, 3, CPU.device), config, CPU)
    rows = list(epochs(learner, train, val, config, CPU, Progress(Tally(3, CPU.device))))
    assert learner.average is not None
    with torch.no_grad():
        outputs = torch.cat([learner.average.model(x)[: len(y)] for _, x, y in val.evaluation()])
    assert rows[-1].val_loss == pytest.approx(
        F.cross_entropy(outputs, torch.from_numpy(val.images.labels)).item(), rel=1e-5
    )
    assert not torch.equal(outputs, torch.cat([model.eval()(x)[: len(y)] for _, x, y in val.evaluation()]))


def test_the_mean_of_the_last_epochs_is_what_is_scored() -> None:
    """torch's own average and statistics, of the same weights and batches."""
    config = CONFIG.model_copy(update={"epochs": 4, "average_last": 2})
    train, val = batches(50), batches(20, seed=5)
    model = network()
    learner = Learner(model, model, make_loss(config, train.images.labels, 3, CPU.device), config, CPU)
    reference = AveragedModel(model)
    for row in epochs(learner, train, val, config, CPU, Progress(Tally(3, CPU.device))):
        scored = model
        if row.epoch > 2:
            reference.update_parameters(model)
            update_bn([x for _, x, _ in train.training(row.epoch)], reference)
            scored = reference.module
        with torch.no_grad():
            outputs = torch.cat([scored.eval()(x)[: len(y)] for _, x, y in val.evaluation()])
        expected = F.cross_entropy(outputs, torch.from_numpy(val.images.labels)).item()
        assert row.val_loss == pytest.approx(expected, rel=1e-5)
    assert int(reference.n_averaged) == 2


class Counting(nn.Module):
    """Draws as dropout does, and remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[float] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.drawn.append(torch.rand(()).item())
        return x


def test_dropout_is_a_function_of_seed_epoch_and_step() -> None:
    """So that a training that goes on in the middle draws what it would have drawn."""
    drawn = []
    for first_step in (0, 5):
        counting = Counting()
        model = nn.Sequential(counting, network())
        progress = Progress(Tally(3, CPU.device))
        progress.step = first_step
        state = torch.random.get_rng_state()
        list(trained(model, batches(50), batches(9), CONFIG, progress=progress))
        assert torch.equal(state, torch.random.get_rng_state())
        drawn.append(counting.drawn)
    assert len(set(drawn[0])) == 21
    assert drawn[0][5:] == drawn[1]
