"""Running sums of an epoch, kept on the device so that no step waits for it. Legend: N images, K classes."""

import numpy as np
import torch
from torch import Tensor

from resnet_lab.core.errors import ResNetLabError


class DivergedError(ResNetLabError):
    """A training whose loss or outputs are non-finite."""


class Tally:
    """Loss, and images seen and predicted correctly by class.

    Attributes:
        sums: float64 (2 + 2 K,): loss, its weight, then images seen and right of each class.
        checked: steps whose losses were looked at.
        latest: what `result` was then.
    """

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.num_classes = num_classes
        device = torch.device("cpu") if device.type == "mps" else device  # which has no float64: there steps wait
        self.sums = torch.zeros(2 + 2 * num_classes, dtype=torch.float64, device=device)
        self.checked = 0
        self.latest: tuple[float, float] | None = None
        self._losses: list[Tensor] = []

    @torch.no_grad()
    def add(self, loss: Tensor, weight: Tensor | float, outputs: Tensor, targets: Tensor) -> None:
        """A step: sum of its losses, of their weights, outputs (N, K), and labels (N,) or shares (N, K)."""
        labels = targets if targets.ndim == 1 else targets.argmax(1)  # of mixed images, the larger share
        right = (outputs.argmax(1) == labels).to(self.sums.device).double()
        labels = labels.to(self.sums.device)
        self.sums[0] += loss.to(self.sums.device)
        self.sums[1] += weight.to(self.sums.device) if isinstance(weight, Tensor) else weight
        self.sums[2 : 2 + self.num_classes].index_add_(0, labels, torch.ones_like(right))
        self.sums[2 + self.num_classes :].index_add_(0, labels, right)
        self._losses.append(loss)

    def first_diverged(self) -> tuple[int, float] | None:
        """First step since the last call with a non-finite loss, and the loss; waits for the device."""
        losses, self._losses = self._losses, []
        if losses:
            values = torch.stack(losses).cpu()
            if not (finite := values.isfinite()).all():
                step = int((~finite).nonzero()[0])
                return self.checked + step, float(values[step])
            self.latest = self.result()
        self.checked += len(losses)
        return None

    @property
    def problem(self) -> str:
        """Why no step gives such sums, empty where some do; waits for the device."""
        if not self.sums.isfinite().all() or (self.sums < 0).any():
            return "a sum is negative or non-finite"
        seen, right = self.sums[2 : 2 + self.num_classes], self.sums[2 + self.num_classes :]
        return "more images are right than were seen" if (right > seen).any() else ""

    def result(self) -> tuple[float, float]:
        """Mean loss, and macro-averaged accuracy over the classes seen."""
        sums = self.sums.cpu().numpy()
        seen, right = sums[2 : 2 + self.num_classes], sums[2 + self.num_classes :]
        present = seen > 0
        return float(sums[0] / sums[1]), float(np.mean(right[present] / seen[present]))
