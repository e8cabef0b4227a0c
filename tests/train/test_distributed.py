from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resnet_lab.device.processes import Processes
from resnet_lab.evaluation.inference import logits
from resnet_lab.evaluation.metrics import score
from resnet_lab.train.distributed import exchange, has_idle_parameters, share_buffers, spread
from tests.torchrun import torchrun
from tests.train.distributed_training import SHAPE, Idle, Network, group_norm, images, learn


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Results of each of two processes."""
    folder = tmp_path_factory.mktemp("learning")
    done = torchrun("tests.train.distributed_training", folder)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.fixture(scope="module")
def alone() -> Iterator[dict[str, Any]]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield learn(Processes(), Network())
    torch.set_num_threads(before)


def state(found: dict[str, Any]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in found["state"].items() if "tracked" not in name}


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_two_processes_learn_as_one_does(together: list[dict[str, Any]], alone: dict[str, Any], rank: int) -> None:
    found = together[rank]["synced"]
    assert found["state"].keys() == alone["state"].keys()
    assert len(alone["losses"]) == 15
    assert alone["losses"][-1] < 0.7 * alone["losses"][0]
    torch.testing.assert_close(found["losses"], alone["losses"], rtol=1e-5, atol=0)
    torch.testing.assert_close(state(found), state(alone), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_both_processes_have_the_same_weights(together: list[dict[str, Any]]) -> None:
    for case in ("synced", "apart", "pieces"):
        first, second = (found[case] for found in together)
        torch.testing.assert_close(first["state"], second["state"], rtol=0, atol=0)
        torch.testing.assert_close(first["outputs"], second["outputs"], rtol=0, atol=0)


@pytest.mark.slow
def test_two_processes_score_as_one_does(together: list[dict[str, Any]]) -> None:
    model, others = Network(), images(23)
    model.load_state_dict(together[0]["synced"]["state"])
    outputs = logits(model, others.evaluation(), others.placement)
    found = together[1]["synced"]["outputs"]
    torch.testing.assert_close(found, outputs, rtol=1e-5, atol=1e-6)
    ours, theirs = (score(others.images.labels, each.argmax(1).numpy(), "abc") for each in (found, outputs))
    assert ours == theirs
    assert 0.5 < ours.accuracy <= 1


@pytest.mark.slow
def test_micro_batches_give_the_same_gradient(together: list[dict[str, Any]]) -> None:
    whole = learn(Processes(), Network(group_norm))
    for found in together:
        torch.testing.assert_close(found["pieces"]["losses"], whole["losses"], rtol=1e-5, atol=0)
        torch.testing.assert_close(found["pieces"]["state"], whole["state"], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_gradients_go_over_with_the_last_piece_alone(together: list[dict[str, Any]]) -> None:
    first, second = (found["held back"] for found in together)
    assert (first["first"] - second["first"]).abs().max() > 1e-3
    torch.testing.assert_close(first["last"], second["last"], rtol=0, atol=0)
    torch.testing.assert_close(first["last"], first["first"] + second["first"], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_without_synced_statistics_the_first_ones_count(together: list[dict[str, Any]]) -> None:
    first, second = (found["apart"] for found in together)
    assert (first["own buffers"]["bn1.running_mean"] - second["own buffers"]["bn1.running_mean"]).abs().max() > 1e-4
    for name, buffer in first["own buffers"].items():
        assert torch.equal(second["state"][name], buffer)


@pytest.mark.slow
def test_a_part_that_nothing_calls_is_no_hindrance(together: list[dict[str, Any]]) -> None:
    """The second step has 2 images in the one process and 3 in the other."""
    model = Idle()
    model(torch.full((1, *SHAPE), 2.5)).sum().backward()
    for found in together:
        torch.testing.assert_close(found["idle"]["gradient"], model.conv.weight.grad)


@pytest.mark.parametrize(("network", "idle"), [(Idle, True), (Network, False)])
def test_idle_parameters_are_found(network: type[nn.Module], idle: bool) -> None:
    model = network()
    before, chance = {name: tensor.clone() for name, tensor in model.state_dict().items()}, torch.get_rng_state()
    assert has_idle_parameters(model, SHAPE) is idle
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), chance)


def test_alone_nothing_changes() -> None:
    model = Network()
    assert spread(model, Processes(), SHAPE, sync_batch_norm=True) is model
    assert type(model.bn1) is nn.BatchNorm2d
    share_buffers(model, Processes())
    for last in (False, True):
        with exchange(model, last=last):
            pass
