"""SimAM for resnet-lab: an attention without parameters. Legend: N batch, C channels, H W pixels."""

from math import inf

from torch import Tensor, nn

from resnet_lab.plugin_api import Register, SpecError, hookimpl, pixel_mean

requires_api = 3


class SimAM(nn.Module):
    """Scales each value x of a channel by how far it stands out from the channel's mean mu over its H x W pixels.

        y = (x - mu)^2 / (4 (sum (x - mu)^2 / n + epsilon)) + 1/2,   n = H W - 1
        out = x sigmoid(y)

    (N, C, H, W) to the same shape. y is the inverse of the minimal energy, equation 5 of Yang et al. 2021, "SimAM: A
    Simple, Parameter-Free Attention Module for Convolutional Neural Networks", ICML; n is that of the authors' code.
    The one pixel of a 1x1 map is its own mean, and its y is 1/2.

    Args:
        epsilon: the paper's lambda, which keeps the energy of a constant channel finite.

    Raises:
        SpecError: `epsilon` is not positive and finite.
    """

    def __init__(self, channels: int, *, epsilon: float = 1e-4) -> None:
        super().__init__()
        if not 0 < epsilon < inf:
            raise SpecError(f"attention simam(epsilon={epsilon}): epsilon must be positive and finite")
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        n = max(x.shape[2] * x.shape[3] - 1, 1)
        squares = (x - pixel_mean(x)).square()
        variance = squares.sum((2, 3), keepdim=True) / n  # N C 1 1
        y = squares / (4 * (variance + self.epsilon)) + 0.5
        return x * y.sigmoid()

    def extra_repr(self) -> str:
        return f"epsilon={self.epsilon}"


@hookimpl
def register_attentions(register: Register) -> None:
    register("simam", SimAM)
