"""Compared with torch's own batch norm with all images in one process."""

from typing import Any

import pytest
import torch
from torch import nn

from resnet_lab.train.synced_batch_norm import SyncedBatchNorm2d, synchronise_batch_norm
from tests.torchrun import torchrun
from tests.train.distributed_statistics import CASES, network, normalise


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Results of each of two processes."""
    folder = tmp_path_factory.mktemp("statistics")
    done = torchrun("tests.train.distributed_statistics", folder)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def joined(shares: list[dict[str, Any]], case: str) -> dict[str, Any]:
    """Result as one process would have it: images one after the other, gradients of weights summed."""
    first, second = (found[case] for found in shares)
    steps = [
        {
            **{name: torch.cat((mine[name], yours[name])) for name in ("y", "dx")},
            "weights": {name: mine["weights"][name] + yours["weights"][name] for name in mine["weights"]},
        }
        for mine, yours in zip(first["steps"], second["steps"], strict=True)
    ]
    torch.testing.assert_close(first["state"], second["state"], rtol=0, atol=0)
    return {**first, "steps": steps}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_normalise_as_one_does(shares: list[dict[str, Any]], case: str) -> None:
    torch.testing.assert_close(joined(shares, case), normalise(network(case), slice(None)), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_half_precision_is_as_near_as_it_can_be(shares: list[dict[str, Any]]) -> None:
    found, whole = joined(shares, "half"), normalise(network("usual"), slice(None), torch.bfloat16)
    assert found["steps"][0]["y"].dtype == torch.bfloat16
    assert found["state"]["0.running_var"].dtype == torch.float32
    torch.testing.assert_close(found, whole, rtol=0.02, atol=0.02)


@pytest.mark.slow
def test_a_compiled_network_does_the_same(shares: list[dict[str, Any]]) -> None:
    whole = normalise(network("usual"), slice(None))
    found = joined(shares, "compiled")
    found["steps"] = [
        {**step, "weights": {name.removeprefix("_orig_mod."): grad for name, grad in step["weights"].items()}}
        for step in found["steps"]
    ]
    found["state"] = {name.removeprefix("_orig_mod."): tensor for name, tensor in found["state"].items()}
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_memory_layout_is_kept(shares: list[dict[str, Any]]) -> None:
    step = shares[0]["usual"]["steps"][0]
    assert step["y"].is_contiguous(memory_format=torch.channels_last)
    assert step["dx"].is_contiguous(memory_format=torch.channels_last)


class Peculiar(nn.BatchNorm2d):
    pass


def test_batch_norms_are_replaced_with_all_they_have() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2, eps=0.5, momentum=None), nn.Sequential(Peculiar(2), nn.BatchNorm2d(3)))
    network[1][1].eval()
    before = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    synchronise_batch_norm(network)
    after = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    assert before.keys() == after.keys()
    assert all(after[name] is tensor for name, tensor in before.items())
    assert [type(module) for module in (network[0], network[1][0], network[1][1])] == [
        SyncedBatchNorm2d,
        Peculiar,
        SyncedBatchNorm2d,
    ]
    assert (network[0].eps, network[0].momentum, network[0].training, network[1][1].training) == (
        *(0.5, None),
        *(True, False),
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_torch_has_its_own() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2)).cuda()
    synchronise_batch_norm(network)
    assert type(network[0]) is nn.SyncBatchNorm
