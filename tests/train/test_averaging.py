import copy

import pytest
import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from resnet_lab.train.averaging import Average, MeanOfEpochs


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))
    return layers.to(memory_format=torch.channels_last)


@torch.no_grad()
def learn(model: nn.Module, step: int) -> None:
    """Moves every parameter, and batch norm's statistics."""
    draw = torch.Generator().manual_seed(step)
    model.train()(torch.randn(8, 3, 5, 5, generator=draw))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter += 0.1 * torch.randn(parameter.shape, generator=draw)


def assert_equal(found: nn.Module, expected: nn.Module, **tolerance: float) -> None:
    ours, theirs = found.state_dict(), expected.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], **tolerance)


@pytest.mark.parametrize("decay", [0.5, 0.9999])
def test_updates_are_timm_s(decay: float) -> None:
    """Parameters and statistics averaged, counters copied; at 0.5 the warm-up is over after 10 of the 30 updates."""
    model = network()
    average, reference = (
        Average(model, decay),
        ModelEmaV3(model, decay, use_warmup=True, warmup_gamma=9, warmup_power=1),
    )
    for step in range(1, 31):
        learn(model, step)
        average.update()
        reference.update(model, step)
    assert_equal(average.model, reference.module)
    assert average.model[1].num_batches_tracked == 30
    assert not torch.equal(average.model[0].weight, model[0].weight)


def test_updates_after_the_warm_up_are_torch_s() -> None:
    model = network()
    average = Average(model, 0.8)
    for step in range(60):
        learn(model, step)
        average.update()
    reference = AveragedModel(average.model, multi_avg_fn=get_ema_multi_avg_fn(0.8), use_buffers=True)
    reference.n_averaged += 1
    for step in range(60, 70):
        learn(model, step)
        average.update()
        reference.update_parameters(model)
    for ours, theirs in zip(average.model.parameters(), reference.module.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(average.model[1].running_var, reference.module[1].running_var)


def test_the_average_is_the_weighted_sum_of_all_weights() -> None:
    """Written out in float64, with TensorFlow's decay (1 + n) / (10 + n) from the second update on."""
    model = network()
    average, taken = Average(model, 0.999), []
    for step in range(20):
        learn(model, step)
        average.update()
        taken.append(model[4].weight.detach().double().clone())
    expected = taken[0]
    for n, weight in enumerate(taken[1:]):
        decay = (1 + n) / (10 + n)
        expected = decay * expected + (1 - decay) * weight
    torch.testing.assert_close(average.model[4].weight.double(), expected, rtol=1e-5, atol=1e-6)


def test_an_average_of_constant_weights_equals_them() -> None:
    """The average equals the weights to the last bit after the first update, whatever the initial weights were."""
    model = network()
    average = Average(model, 0.9999)
    learn(model, 0)
    for _ in range(5):
        average.update()
    assert_equal(average.model, model, rtol=0, atol=0)


def test_the_copy_is_for_evaluation_and_apart() -> None:
    model = network()
    average = Average(model, 0.9)
    assert model.training
    assert not any(module.training for module in average.model.modules())
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
    before = copy.deepcopy(average.model)
    learn(model, 0)
    assert_equal(average.model, before, rtol=0, atol=0)
    assert average.model[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_frozen_parameters_are_shared() -> None:
    model = network()
    model[0].requires_grad_(False)
    average = Average(model, 0.9)
    for step in range(3):
        learn(model, step)
        average.update()
    assert average.model[0].weight is model[0].weight
    assert not torch.equal(average.model[4].weight, model[4].weight)


@pytest.mark.parametrize("frozen", [0, 3])
def test_an_average_resumes_bit_for_bit(frozen: int) -> None:
    """Saved tensors are contiguous, as safetensors has them, whatever layout the network has."""
    model = network()
    for parameter in list(model.parameters())[:frozen]:
        parameter.requires_grad_(False)
    average = Average(model, 0.99)
    for step in range(4):
        learn(model, step)
        average.update()
    saved: dict[str, Tensor] = {
        name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in average.state_dict().items()
    }
    assert not {tensor.data_ptr() for tensor in average.state_dict().values()} & {
        parameter.data_ptr() for parameter in model.parameters()
    }
    resumed = copy.deepcopy(model)
    other = Average(resumed, 0.99)
    other.load_state_dict(saved)
    for step in range(4, 8):
        for learned, moving in ((model, average), (resumed, other)):
            learn(learned, step)
            moving.update()
    assert other.updates == 8
    assert_equal(other.model, average.model, rtol=0, atol=0)


def test_the_average_of_another_network_is_refused() -> None:
    state = Average(network(), 0.9).state_dict()
    with pytest.raises(RuntimeError, match="size mismatch"):
        Average(nn.Sequential(nn.Conv2d(3, 5, 3)), 0.9).load_state_dict(
            {name: state[name] for name in ("updates", "model.0.weight", "model.0.bias")}
        )


def test_the_mean_of_epochs_is_the_mean_with_statistics_of_its_own() -> None:
    """Written out in float64; a batch norm that has seen a few batches has the means of their moments."""
    model, taken = network(), []
    mean = MeanOfEpochs(model)
    draw = torch.Generator().manual_seed(9)
    batches = [torch.randn(8, 3, 5, 5, generator=draw) for _ in range(3)]
    for step in range(4):
        learn(model, step)
        before = copy.deepcopy(model.state_dict())
        mean.update(iter(batches))
        taken.append({name: parameter.detach().double() for name, parameter in before.items()})
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    for name, parameter in mean.model.named_parameters():
        torch.testing.assert_close(
            parameter.double(), torch.stack([each[name] for each in taken]).mean(0), rtol=1e-5, atol=1e-6
        )
    maps = [mean.model[0](batch) for batch in batches]
    norm = mean.model[1]
    torch.testing.assert_close(norm.running_mean, torch.stack([each.mean((0, 2, 3)) for each in maps]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([each.var((0, 2, 3)) for each in maps]).mean(0))
    assert norm.momentum == model[1].momentum
    assert not mean.model.training


def test_a_mean_of_epochs_resumes_bit_for_bit() -> None:
    model = network()
    whole, batch = MeanOfEpochs(model), torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(3))
    for step in range(2):
        learn(model, step)
        whole.update([batch])
    resumed = MeanOfEpochs(model)
    resumed.load_state_dict({name: tensor.clone() for name, tensor in whole.state_dict().items()})
    learn(model, 2)
    for each in (whole, resumed):
        each.update([batch])
    assert whole.number == resumed.number == 3
    assert_equal(resumed.model, whole.model, rtol=0, atol=0)
