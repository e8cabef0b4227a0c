"""Operations that a device lacks; the device, and what it lacks, are pretended."""

import torch
from torch import Tensor, nn

from resnet_lab.device.dry_run import lacking
from tests.pretended_cuda import pretended_cuda


def test_every_operation_is_named_and_computed_elsewhere() -> None:
    found: list[Tensor] = []

    def step() -> None:
        x = torch.arange(6.0, device="cuda").view(2, 3)
        x.mul_(2)
        found.append(torch.cat([x, x + 1]).sum(0))

    with pretended_cuda() as cuda:
        cuda.lacks = {"mul_", "arange", "cat"}
        assert lacking(step) == ["arange", "cat", "mul_"]
        assert str(found[0].device) == "cuda:0"
        assert found[0].tolist() == [14, 22, 30]  # twice the columns' sums of 6, 10 and 14 and 2


def test_operations_of_the_backward_pass_too() -> None:
    with pretended_cuda() as cuda:
        layer = nn.Linear(3, 2).to("cuda")
        x = torch.ones(4, 3, device="cuda")
        layer(x).relu().sum().backward()
        expected = layer.weight.grad.clone()
        layer.zero_grad()
        cuda.lacks = {"threshold_backward"}
        assert lacking(lambda: layer(x).relu().sum().backward()) == ["threshold_backward"]
        assert torch.equal(layer.weight.grad, expected)


def test_nothing_is_lacking_on_the_cpu() -> None:
    assert lacking(lambda: torch.ones(2).sum()) == []
