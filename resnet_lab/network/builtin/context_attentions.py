"""Gates from the context of the whole map. Legend: N batch, C channels, H W pixels."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from resnet_lab.core.errors import SpecError
from resnet_lab.network.builtin.gates import LAST, Init, PooledBatchNorm2d, PooledConv2d, gate, hidden_channels
from resnet_lab.network.builtin.norms import ChannelLayerNorm
from resnet_lab.network.pooling import pixel_mean


class GlobalContext(nn.Module):
    """x + W2 relu(LN(W1 c)), c the mean of pixels by weights softmax(Wk x): Cao et al. 2019, arXiv:1904.11492.

    W2 starts at zero. With `fuse="scale"`, as timm's `gc` has it, x is multiplied by sigmoid(W2 relu(LN(W1 c))).

    Raises:
        SpecError: `reduction` is below 1.
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 8,
        fuse: Literal["add", "scale"] = "add",
        init: Init = "default",
    ) -> None:
        super().__init__()
        hidden = hidden_channels("gc", channels, reduction)
        self.conv_attn = nn.Conv2d(channels, 1, 1)
        self.fc1 = PooledConv2d(channels, hidden)
        self.norm = ChannelLayerNorm(hidden, eps=1e-6)
        self.fc2 = LAST["identity" if fuse == "add" else init][0](hidden, channels)
        self.fuse, self.init = fuse, init

    def forward(self, x: Tensor) -> Tensor:
        weights = self.conv_attn(x)  # N 1 H W
        weights = weights.flatten(2).softmax(2).view_as(weights)
        context = pixel_mean(x * (weights * (x.shape[2] * x.shape[3])))  # N C 1 1
        context = self.fc2(F.relu(self.norm(self.fc1(context))))
        return x + context if self.fuse == "add" else x * gate(context, self.init)


class BottleneckAttention(nn.Module):
    """x + x * sigmoid(channel + spatial): Park et al. 2018, arXiv:1807.06514, equations 1 to 4.

    Channel: BN(W1 relu(W0 mean(x))), with biases. Spatial: a 1x1 to C / reduction channels and two dilated 3x3, each
    with a norm and a ReLU behind it, a 1x1 to one channel, BN.

    Raises:
        SpecError: `reduction` or `dilation` is below 1.
    """

    def __init__(self, channels: int, *, reduction: int = 16, dilation: int = 4) -> None:
        super().__init__()
        if dilation < 1:
            raise SpecError(f"attention bam(dilation={dilation}): the dilation must be at least 1")
        hidden = hidden_channels("bam", channels, reduction)
        self.fc1 = PooledConv2d(channels, hidden)
        self.fc2 = PooledConv2d(hidden, channels)
        self.bn = PooledBatchNorm2d(channels)
        layers: list[nn.Module] = []
        for conv in (
            nn.Conv2d(channels, hidden, 1, bias=False),
            nn.Conv2d(hidden, hidden, 3, padding=dilation, dilation=dilation, bias=False),
            nn.Conv2d(hidden, hidden, 3, padding=dilation, dilation=dilation, bias=False),
        ):
            layers += [conv, nn.BatchNorm2d(hidden), nn.ReLU(inplace=True)]
        self.spatial = nn.Sequential(*layers, nn.Conv2d(hidden, 1, 1, bias=False), nn.BatchNorm2d(1))

    def forward(self, x: Tensor) -> Tensor:
        channel: Tensor = self.bn(self.fc2(F.relu(self.fc1(pixel_mean(x)))))  # N C 1 1
        spatial: Tensor = self.spatial(x)  # N 1 H W
        return x * (1 + (channel + spatial).sigmoid())
