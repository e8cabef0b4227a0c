"""What all operators here share."""

from typing import Any, NoReturn

import triton

WARPS = 4


def tile(size: int, most: int) -> int:
    """Length of a tile: a power of two, which Triton needs, as long as the axis, within bounds."""
    return min(most, max(16, triton.next_power_of_2(size)))


def launch(kernel: Any, grid: tuple[int, ...], arguments: tuple[Any, ...], **constants: Any) -> None:
    """Run a kernel; products and sums are not contracted, lest one value differ between two kernels."""
    kernel[grid](*arguments, **constants, num_warps=WARPS, enable_fp_fusion=False)


def refuse_second_derivatives(backward: Any) -> None:
    """Have a gradient that is differentiated raise: its operator has none."""

    def refuse(ctx: Any, *gradients: Any) -> NoReturn:
        raise RuntimeError(
            "the fused kernels have no second derivatives; train without them: --no-plugin fused, or "
            "RESNET_LAB_PLUGINS without it"
        )

    backward.register_autograd(refuse)
