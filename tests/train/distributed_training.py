"""A training of few steps for tests/train/test_distributed.py, in one process or, run by torchrun, in two."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_lab.data.augmentations import parse_augmentations
from resnet_lab.data.image_loader import image_loader
from resnet_lab.data.loader import Loader
from resnet_lab.data.order import Order, Subset
from resnet_lab.device import choose
from resnet_lab.device.processes import Processes, begin
from resnet_lab.evaluation.inference import logits
from resnet_lab.train.distributed import exchange, share_buffers, spread
from tests.stand_ins import ArrayPixels

IMAGES, BATCH_SIZE, EPOCHS, RATE = 45, 10, 3, 0.1
CLASS_WEIGHTS = torch.tensor([0.5, 1.0, 2.0])
SHAPE = (3, 9, 9)


class Network(nn.Module):
    """Residual, so that batch norm's output is overwritten as the program's blocks do."""

    def __init__(self, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, 2, bias=False), norm(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), norm(8)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)).add_(x), inplace=True)
        return self.fc(x.mean((2, 3)))


class Idle(nn.Module):
    """A network with a part that nothing calls."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.idle, self.frozen = nn.Conv2d(3, 2, 9), nn.Linear(4, 4), nn.Linear(2, 2).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.frozen(self.conv(x).flatten(1))


def images(number: int) -> Loader:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, number)
    pixels = draw.normal(80 + 40 * labels[:, None, None, None], 30, (number, 9, 9, 3)).clip(0, 255).astype(np.uint8)
    order, placement = Order(Subset(np.arange(number), labels, 3), BATCH_SIZE), choose("cpu", "fp32")
    augment = parse_augmentations(["flip", "rotate90"])
    return image_loader(ArrayPixels(pixels), order, (0.5,) * 3, (0.25,) * 3, placement, augment)


def group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(2, channels)


def learn(processes: Processes, model: nn.Module, *, synced: bool = True, pieces: int = 1) -> dict[str, Any]:
    """The loss of each step over all images, weights and buffers at the end, and outputs for other images."""
    batches, losses = images(IMAGES), []
    network = spread(model, processes, SHAPE, sync_batch_norm=synced)
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=0.9)
    for epoch in range(1, EPOCHS + 1):
        network.train()
        for _, x, y in batches.training(epoch):
            weight = processes.total(CLASS_WEIGHTS[y].sum())
            loss = torch.zeros(())
            for number, (inputs, labels) in enumerate(
                zip(x.tensor_split(pieces), y.tensor_split(pieces), strict=True), start=1
            ):
                with exchange(network, last=number == pieces):
                    part = F.cross_entropy(network(inputs), labels, CLASS_WEIGHTS, reduction="sum") / weight
                    (part * processes.world_size).backward()
                loss += part.detach()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(processes.total(loss))
    own = {name: buffer.clone() for name, buffer in model.named_buffers()}
    share_buffers(model, processes)
    others = images(23)
    outputs = logits(model, others.evaluation(), others.placement)
    return {
        "losses": torch.stack(losses),
        "state": model.state_dict(),
        "own buffers": own,
        "outputs": processes.gather_in_order(outputs, len(others.images)),
    }


def idle(processes: Processes) -> dict[str, Any]:
    """Gradients after two steps, different images in each process."""
    model = Idle()
    network = spread(model, processes, SHAPE, sync_batch_norm=False)
    for step in range(2):
        x = torch.full((1, *SHAPE), processes.rank + 1.0 + step)
        model.zero_grad()
        network(x).sum().backward()
    assert model.idle.weight.grad is None
    return {"gradient": model.conv.weight.grad}


def held_back(processes: Processes) -> dict[str, Any]:
    """Gradients after the first of two pieces, and after the last."""
    model = Network()
    network = spread(model, processes, SHAPE, sync_batch_norm=False)
    x = torch.rand((4, *SHAPE), generator=torch.Generator().manual_seed(processes.rank))
    gradients = []
    for last in (False, True):
        with exchange(network, last=last):
            network(x).square().sum().backward()
        gradients.append(model.fc.weight.grad.clone())
    return {"first": gradients[0], "last": gradients[1]}


def main(folder: Path) -> None:
    with begin("cpu") as processes:
        torch.set_num_threads(1)
        found = {
            "synced": learn(processes, Network()),
            "apart": learn(processes, Network(), synced=False),
            "pieces": learn(processes, Network(group_norm), pieces=2),
            "idle": idle(processes),
            "held back": held_back(processes),
        }
        torch.save(found, folder / f"{processes.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
