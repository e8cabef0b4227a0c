"""A large-kernel depthwise convolution for resnet-lab. Legend: N batch, C channels, H W pixels."""

from torch import nn

from resnet_lab.plugin_api import RegisterConvolution, SpecError, hookimpl

requires_api = 1


def large_kernel(
    in_channels: int, out_channels: int, stride: int, groups: int, bias: bool, *, kernel_size: int = 7
) -> nn.Module:
    """One k x k filter a channel, k = `kernel_size`: k^2 pixels seen by k^2 weights a channel.

        y[n, c, i, j] = bias[c] + sum over a, b in -(k - 1)/2 .. (k - 1)/2 of
                        w[c, a, b] x[n, c, stride i + a, stride j + b],   x zero outside the map

    (N, C, H, W) to (N, C, ceil(H / stride), ceil(W / stride)). Liu et al. 2022, "A ConvNet for the 2020s",
    arXiv:2201.03545, section 2.5 (7x7); Ding et al. 2022, "Scaling Up Your Kernels to 31x31", arXiv:2203.06717, whose
    small kernels beside the large one, merged after training, are left out.

    Args:
        groups: any; a filter a channel is as far as a convolution can be split.

    Raises:
        SpecError: `kernel_size` is even, or below 3.
    """
    if kernel_size < 3 or kernel_size % 2 == 0:
        raise SpecError(
            f"convolution large_kernel(kernel_size={kernel_size}): kernel_size must be odd and at least 3, so that "
            "the filter has a middle"
        )
    return nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, groups=in_channels, bias=bias
    )


@hookimpl
def register_convolutions(register: RegisterConvolution) -> None:
    register("large_kernel", large_kernel, mixes_channels=False)
