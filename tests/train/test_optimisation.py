import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from timm.data.mixup import mixup_target
from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from timm.optim import param_groups_weight_decay
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    OneCycleLR,
    SequentialLR,
    StepLR,
)

from resnet_lab.core.errors import ConfigError
from resnet_lab.network.builder import build
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.optimisation import (
    Loss,
    clip_gradients,
    learning_rate,
    make_loss,
    make_optimizer,
    require_optimizer,
    warmup_steps,
)

STEPS, EPOCHS, RATE = 7, 5, 3e-3
TOTAL = STEPS * EPOCHS
CPU = torch.device("cpu")


def config(**options: Any) -> TrainConfig:
    return TrainConfig(**{"epochs": EPOCHS, "lr": RATE, **options})


def rates(config: TrainConfig) -> list[float]:
    return [learning_rate(config, step, STEPS) for step in range(config.epochs * STEPS)]


def reference(make: Callable[[Optimizer], Any], every: int = 1, total: int = TOTAL) -> list[float]:
    """Rates of torch's schedule, taken a step further after `every` steps of the optimiser."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], RATE, momentum=0.9)
    schedule = make(optimizer)
    seen = []
    for step in range(1, total + 1):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step % every == 0:
            schedule.step()
    return seen


def test_exponential_falls_once_an_epoch() -> None:
    found = rates(config(schedule="exponential", decay=0.7))
    assert found == pytest.approx(reference(lambda optimizer: ExponentialLR(optimizer, 0.7), STEPS))
    assert found[-1] == pytest.approx(3e-3 * 0.7**4)


def test_step_falls_after_some_epochs() -> None:
    found = rates(config(schedule="step", decay=0.1, decay_epochs=2))
    assert found == pytest.approx(reference(lambda optimizer: StepLR(optimizer, 2, 0.1), STEPS))
    assert found[-1] == pytest.approx(3e-5)


def test_cosine_falls_at_each_step() -> None:
    found = rates(config(schedule="cosine"))
    assert found == pytest.approx(reference(lambda optimizer: CosineAnnealingLR(optimizer, TOTAL)))
    assert learning_rate(config(schedule="cosine"), TOTAL, STEPS) == 0


@pytest.mark.parametrize("epochs", [1, 2, 5, 30])
def test_one_cycle_is_torch_s(epochs: int) -> None:
    """The learning rate: torch's momentum would be cycled too, ours is left at what is configured."""
    total = epochs * STEPS
    expected = reference(lambda optimizer: OneCycleLR(optimizer, RATE, total, cycle_momentum=False), total=total)
    found = rates(config(schedule="one_cycle", epochs=epochs))
    assert found == pytest.approx(expected)
    assert max(found) <= RATE
    assert found[-1] == pytest.approx(RATE / 25 / 1e4)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_one_cycle_of_a_few_steps(steps: int) -> None:
    expected = reference(lambda optimizer: OneCycleLR(optimizer, RATE, steps, cycle_momentum=False), total=steps)
    short = config(schedule="one_cycle", epochs=steps)
    assert [learning_rate(short, step, 1) for step in range(steps)] == pytest.approx(expected)


def test_constant_stays() -> None:
    assert set(rates(config(schedule="constant"))) == {RATE}


WARM = 10
AFTER_WARM_UP: dict[str, Callable[[Optimizer], Any]] = {
    "cosine": lambda optimizer: CosineAnnealingLR(optimizer, TOTAL - WARM),
    "one_cycle": lambda optimizer: OneCycleLR(optimizer, RATE, TOTAL - WARM, cycle_momentum=False),
    "constant": lambda optimizer: ConstantLR(optimizer, factor=1.0),
}


@pytest.mark.parametrize("name", AFTER_WARM_UP)
@pytest.mark.filterwarnings("ignore:The epoch parameter")  # of torch's SequentialLR
def test_a_warm_up_is_torch_s_linear_one(name: Any) -> None:
    """It rises to where the schedule begins, which then has the steps that are left."""

    def make(optimizer: Optimizer) -> SequentialLR:
        schedule = AFTER_WARM_UP[name](optimizer)
        linear = LinearLR(optimizer, start_factor=1 / (WARM + 1), total_iters=WARM)
        return SequentialLR(optimizer, [linear, schedule], [WARM])

    found = rates(config(schedule=name, warmup_epochs=WARM / STEPS))
    assert found == pytest.approx(reference(make))
    assert found[1] == pytest.approx(2 * found[0])


def test_cosine_after_a_warm_up_is_timm_s() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], RATE)
    schedule = CosineLRScheduler(
        optimizer,
        TOTAL - WARM,
        warmup_t=WARM,
        warmup_lr_init=RATE / (WARM + 1),
        warmup_prefix=True,
        t_in_epochs=False,
    )
    expected = []
    for step in range(TOTAL):
        schedule.step_update(step)
        expected.append(optimizer.param_groups[0]["lr"])
    assert rates(config(schedule="cosine", warmup_epochs=WARM / STEPS)) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["exponential", "step"])
def test_epochs_of_the_schedule_are_counted_from_the_end_of_the_warm_up(name: Any) -> None:
    cold = config(schedule=name, decay=0.5, decay_epochs=2)
    warm = config(schedule=name, decay=0.5, decay_epochs=2, warmup_epochs=WARM / STEPS)
    assert rates(warm)[WARM:] == rates(cold)[:-WARM]
    assert rates(warm)[:WARM] == pytest.approx(RATE * np.arange(1, WARM + 1) / (WARM + 1))


@pytest.mark.parametrize("epochs", [5, 4.95, 90])
def test_a_warm_up_as_long_as_the_training_is_refused(epochs: float) -> None:
    wrong = config(warmup_epochs=float(epochs))
    for call in (lambda: learning_rate(wrong, 0, STEPS), lambda: warmup_steps(wrong, STEPS)):
        with pytest.raises(ConfigError) as failure:
            call()
        assert str(failure.value) == (
            f"warmup_epochs is {epochs}, which is {round(epochs * STEPS)} of 35 steps and leaves none to the schedule "
            "cosine; take fewer than the 5 epochs of the training"
        )
    assert warmup_steps(config(warmup_epochs=4.8), STEPS) == 34


REFERENCES = {
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.8, "nesterov": True}),
}


def pair() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    models = [nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Conv2d(8, 4, 3)) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    return models[0].to(memory_format=torch.channels_last), models[1]


def step(model: nn.Module, optimizer: Optimizer, seed: int) -> None:
    x = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    model(x.contiguous(memory_format=torch.channels_last)).square().sum().backward()
    optimizer.step()


def assert_equal(ours: nn.Module, theirs: nn.Module) -> None:
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, check_stride=False)


@pytest.mark.parametrize("name", REFERENCES)
def test_optimisers_step_as_torch_s_plain_ones(name: Any) -> None:
    """Ours are fused and the network is channels-last; the reference is neither."""
    kind, options = REFERENCES[name]
    ours, theirs = pair()
    optimizer = make_optimizer(ours, config(optimizer=name, lr=0.05, weight_decay=0.1, momentum=0.8))
    plain = kind(theirs.parameters(), lr=0.05, weight_decay=0.1, foreach=False, **options)
    for number in range(10):
        step(ours, optimizer, number)
        step(theirs, plain, number)
    assert_equal(ours, theirs)
    assert all(group["fused"] for group in optimizer.param_groups)


@pytest.mark.parametrize("decay_norms", [True, False])
def test_lamb_steps_as_its_paper_has_it(decay_norms: bool) -> None:
    """Algorithm 2 of arXiv:1904.00962 in float64, on gradients of the norm 1 at most, as timm clips them.

    Parameters without weight decay have no ratio of their own, but that of Adam, which is 1.
    """
    ours, theirs = pair()
    optimizer = make_optimizer(ours, config(optimizer="lamb", lr=0.05, weight_decay=0.1, decay_norms=decay_norms))
    weights = [parameter.detach().double() for parameter in theirs.parameters()]
    m, v = ([torch.zeros_like(weight) for weight in weights] for _ in range(2))
    for t in range(1, 8):
        step(ours, optimizer, t)
        x = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(t)).double()
        leaves = [weight.clone().requires_grad_() for weight in weights]
        hidden = F.conv2d(x, leaves[0], leaves[1]).tanh()
        gradients = torch.autograd.grad(F.conv2d(hidden, leaves[2], leaves[3]).square().sum(), leaves)
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm().clamp(min=1)
        for k, gradient in enumerate(gradients):
            m[k] = 0.9 * m[k] + 0.1 * gradient / norm
            v[k] = 0.999 * v[k] + 0.001 * (gradient / norm) ** 2
            update = m[k] / (1 - 0.9**t) / ((v[k] / (1 - 0.999**t)).sqrt() + 1e-6)
            if decay_norms or weights[k].ndim > 1:
                update = update + 0.1 * weights[k]
                update *= weights[k].norm() / update.norm()
            weights[k] = weights[k] - 0.05 * update
    for found, wanted in zip(ours.parameters(), weights, strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-3, atol=1e-4)


def test_lamb_without_timm_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm.optim.lamb", None)
    with pytest.raises(ConfigError) as failure:
        require_optimizer(config(optimizer="lamb"))
    assert str(failure.value) == "optimizer lamb needs the package timm; pip install resnet-lab[lamb]"
    require_optimizer(config(optimizer="adam"))


@pytest.mark.parametrize("name", [*REFERENCES, "lamb"])
def test_an_optimiser_resumes_from_a_file(name: Any) -> None:
    """Files hold tensors row by row; a fused step on the CPU does not look at the layout."""
    options = config(optimizer=name, lr=0.05, weight_decay=0.1)
    ours, theirs = pair()
    theirs = theirs.to(memory_format=torch.channels_last)
    optimizer, whole = make_optimizer(ours, options), make_optimizer(theirs, options)
    for number in range(6):
        step(theirs, whole, number)
        if number == 3:
            state = optimizer.state_dict()
            for values in state["state"].values():
                values.update(
                    {key: value.clone(memory_format=torch.contiguous_format) for key, value in values.items()}
                )
            optimizer = make_optimizer(ours, options)
            optimizer.load_state_dict(state)
        step(ours, optimizer, number)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_sgd_without_momentum_is_plain() -> None:
    group = make_optimizer(nn.Linear(1, 1), config(optimizer="sgd", momentum=0)).param_groups[0]
    assert (group["momentum"], group["nesterov"]) == (0, False)


@pytest.mark.parametrize("name", REFERENCES)
def test_norms_and_biases_are_not_decayed_where_timm_s_are_not(name: Any) -> None:
    model = build("resnet18", attn="cbam", num_classes=3)
    groups = make_optimizer(model, config(optimizer=name, weight_decay=0.1, decay_norms=False)).param_groups
    found = {group["weight_decay"]: [id(p) for p in group["params"]] for group in groups}
    theirs = param_groups_weight_decay(model, 0.1)
    assert found == {group["weight_decay"]: [id(p) for p in group["params"]] for group in theirs}
    assert sorted(found) == [0.0, 0.1]


def test_all_parameters_are_decayed_otherwise() -> None:
    model = build("resnet18", num_classes=3)
    (group,) = make_optimizer(model, config(weight_decay=0.1)).param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]
    assert group["weight_decay"] == 0.1


@pytest.mark.parametrize("decay_norms", [True, False])
def test_what_is_frozen_is_left_out(decay_norms: bool) -> None:
    model = build("resnet18", num_classes=3).requires_grad_(False)
    model.bn1.requires_grad_(True)
    groups = make_optimizer(model, config(weight_decay=0.1, decay_norms=decay_norms)).param_groups
    assert [[id(p) for p in group["params"]] for group in groups] == [[id(model.bn1.weight), id(model.bn1.bias)]]
    assert groups[0]["weight_decay"] == (0.1 if decay_norms else 0.0)


def gradients(scale: float) -> list[Tensor]:
    parameters = [nn.Parameter(torch.zeros(3, 4)), nn.Parameter(torch.zeros(5)), nn.Parameter(torch.zeros(2))]
    draw = torch.Generator().manual_seed(0)
    for parameter in parameters[:2]:  # the last has none
        parameter.grad = scale * torch.randn(parameter.shape, generator=draw)
    return list(parameters)


@pytest.mark.parametrize("largest", [0.5, 100.0])
def test_clipping_is_torch_s(largest: float) -> None:
    ours, theirs = gradients(1), gradients(1)
    norm = clip_gradients(iter(ours), largest)
    torch.testing.assert_close(norm, clip_grad_norm_(theirs, largest))
    for a, b in zip(ours[:2], theirs[:2], strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    assert ours[2].grad is None


def test_a_gradient_too_long_for_float32_is_not_hidden() -> None:
    """torch's own clipping makes it zero."""
    ours, theirs = gradients(1e30), gradients(1e30)
    clip_grad_norm_(theirs, 1.0)
    assert not theirs[0].grad.any()
    assert clip_gradients(ours, 1.0).isinf()
    assert all(parameter.grad.isnan().all() for parameter in ours[:2])


def test_a_non_finite_gradient_is_not_hidden() -> None:
    ours = gradients(1)
    ours[1].grad[0] = float("nan")
    assert clip_gradients(ours, 1.0).isnan()
    assert all(parameter.grad.isnan().all() for parameter in ours[:2])


N, K = 12, 5
LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4])


def batch(soft: bool) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    shares = torch.rand(N, K, generator=draw)
    return 3 * torch.randn(N, K, generator=draw), shares / shares.sum(1, keepdim=True) if soft else LABELS


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "shares"])
@pytest.mark.parametrize("balance", ["none", "loss"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_mean_loss_is_torch_s(soft: bool, balance: Any, smoothing: float) -> None:
    """Class weights are scikit-learn's, of a training part that has other numbers than the batch."""
    part = np.repeat(np.arange(K), [40, 10, 20, 5, 25])
    loss = make_loss(config(balance=balance, label_smoothing=smoothing), part, K, CPU)
    outputs, targets = batch(soft)
    weight = torch.tensor(compute_class_weight("balanced", classes=np.arange(K), y=part), dtype=torch.float32)
    expected = F.cross_entropy(
        outputs, targets, weight if balance == "loss" else None, label_smoothing=smoothing
    )  # fmt: skip
    torch.testing.assert_close(loss.sum(outputs, targets) / loss.weight(targets), expected)


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "shares"])
def test_losses_of_micro_batches_add_up(soft: bool) -> None:
    """Divided by the weight of the whole batch, their gradients are its gradient, however weights fall on them."""
    loss = Loss(torch.tensor([0.2, 3.0, 1.0, 0.5, 2.0]), smoothing=0.1)
    outputs, targets = batch(soft)
    whole = outputs.clone().requires_grad_()
    F.cross_entropy(whole, targets, loss.class_weights, label_smoothing=0.1).backward()
    pieces = outputs.clone().requires_grad_()
    weight = loss.weight(targets)
    for few, some in zip(pieces.split(5), targets.split(5), strict=True):
        (loss.sum(few, some) / weight).backward()
    torch.testing.assert_close(pieces.grad, whole.grad)
    torch.testing.assert_close(sum(loss.weight(some) for some in targets.split(5)), weight)


def test_smoothed_labels_and_shares_are_timm_s() -> None:
    outputs, labels = batch(soft=False)
    loss = Loss(smoothing=0.1)
    expected = LabelSmoothingCrossEntropy(0.1)(outputs, labels)
    torch.testing.assert_close(loss.sum(outputs, labels) / loss.weight(labels), expected)
    outputs, shares = batch(soft=True)
    expected = SoftTargetCrossEntropy()(outputs, shares)
    torch.testing.assert_close(Loss().sum(outputs, shares) / Loss().weight(shares), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_binary_cross_entropy_is_timm_s(smoothing: float) -> None:
    """Whose mixtures come smoothed: of two labels, as its `mixup_target` smooths each."""
    loss = make_loss(config(loss="bce", label_smoothing=smoothing), LABELS.numpy(), K, CPU)
    outputs, labels = batch(soft=False)
    theirs = BinaryCrossEntropy(smoothing)
    torch.testing.assert_close(loss.sum(outputs, labels) / loss.weight(labels), theirs(outputs, labels))
    hard = F.one_hot(labels, K).float()
    shares = 0.3 * hard + 0.7 * hard.flip(0)
    wanted = theirs(outputs, mixup_target(labels, K, 0.3, smoothing))
    torch.testing.assert_close(loss.sum(outputs, shares) / loss.weight(shares), wanted)


def test_binary_cross_entropy_weighs_images_by_their_class() -> None:
    part = np.repeat(np.arange(K), [40, 10, 20, 5, 25])
    loss = make_loss(config(loss="bce", balance="loss"), part, K, CPU)
    weight = torch.tensor(compute_class_weight("balanced", classes=np.arange(K), y=part), dtype=torch.float32)
    outputs, labels = batch(soft=False)
    each = [
        F.binary_cross_entropy_with_logits(row, F.one_hot(y, K).float()) for row, y in zip(outputs, labels, strict=True)
    ]
    expected = sum(weight[y] * value for y, value in zip(labels, each, strict=True)) / weight[labels].sum()
    torch.testing.assert_close(loss.sum(outputs, labels) / loss.weight(labels), expected)
    shares = F.one_hot(labels, K).float()
    torch.testing.assert_close(loss.sum(outputs, shares), loss.sum(outputs, labels))


def test_softmax_is_the_probability_of_a_class_given_that_one_is_shown() -> None:
    """Of independent binary answers, whose probabilities are sigmoids: what predictions after `bce` mean."""
    logits = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
    yes = logits.sigmoid()
    alone = torch.stack([yes[k] * (1 - yes).prod() / (1 - yes[k]) for k in range(3)])
    torch.testing.assert_close(logits.softmax(0), alone / alone.sum())


def test_the_loss_of_half_precision_outputs_is_taken_in_float32() -> None:
    outputs, labels = batch(soft=False)
    outputs = outputs.bfloat16()
    found = Loss().sum(outputs, labels)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, F.cross_entropy(outputs.double(), labels, reduction="sum").float())
