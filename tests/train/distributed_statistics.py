"""Batch norm in two processes, for tests/train/test_synced_batch_norm.py; run by torchrun."""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnet_lab.device.processes import begin
from resnet_lab.train.synced_batch_norm import synchronise_batch_norm

CASES: dict[str, dict[str, Any]] = {
    "usual": {},
    "cumulative": {"momentum": None},
    "without weights": {"affine": False},
    "without running statistics": {"track_running_stats": False},
    "other eps": {"eps": 0.1, "momentum": 0.3},
}
SHARES = (5, 2)
"""Images of each process."""


def images(step: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W) far from mean 0, channels-last, and what comes back as the gradient of their output."""
    draw = torch.Generator().manual_seed(step)
    x = (torch.randn((sum(SHARES), 3, 4, 5), generator=draw) * 2 + 7).to(dtype, memory_format=torch.channels_last)
    return x, torch.randn(x.shape, generator=draw).to(dtype)


def normalise(network: nn.Module, share: slice, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """Two steps with a share of the images, and then an evaluation."""
    steps = []
    for step in range(2):
        x, grad = images(step, dtype)
        x = x[share].requires_grad_()
        y = network(x)
        network.zero_grad()
        y.backward(grad[share])
        weights = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
        steps.append({"y": y.detach(), "dx": x.grad, "weights": weights})
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    return {"steps": steps, "state": state, "evaluated": network.eval()(images(9, dtype)[0]).detach()}


def network(case: str) -> nn.Module:
    torch.manual_seed(3)
    norm = nn.BatchNorm2d(3, **CASES[case])
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    return nn.Sequential(norm)


def main(folder: Path) -> None:
    with begin("cpu") as processes:
        mine = slice(0, SHARES[0]) if processes.is_first else slice(SHARES[0], None)
        found = {}
        for case in CASES:
            synced = network(case)
            synchronise_batch_norm(synced)
            found[case] = normalise(synced, mine)
        half, compiled = network("usual"), network("usual")
        for each in (half, compiled):
            synchronise_batch_norm(each)
        found["half"] = normalise(half, mine, torch.bfloat16)
        found["compiled"] = normalise(torch.compile(compiled, backend="aot_eager"), mine)
        torch.save(found, folder / f"{processes.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
