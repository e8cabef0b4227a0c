"""Batch norm over the images of all processes. Legend: N batch, C channels, H W pixels, M = N H W values per channel.

torch's `SyncBatchNorm` does so on GPUs and refuses the CPU; the class here gives the same on the CPU.
"""

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """`BatchNorm2d` whose statistics in training are those of all processes' images, whatever the number each has.

    Running statistics become what they would in one process that has all images.
    """

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # a compiler does not see into collectives of gloo
    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        y, mean, variance, number = _Normalise.apply(x, self.weight, self.bias, self.eps)
        if self.track_running_stats:
            self._follow(mean, variance * (number / (number - 1)))
        return y  # type: ignore[no-any-return]

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def synchronise_batch_norm(network: nn.Module) -> None:
    """Let each `BatchNorm2d` take its statistics over all processes; parameters and their names stay as they are.

    Subclasses of it are left alone: what they do instead is not known here.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, _synced(child))


def _synced(norm: nn.BatchNorm2d) -> nn.Module:
    on_processor = norm.weight is None or norm.weight.device.type == "cpu"
    kind = SyncedBatchNorm2d if on_processor else nn.SyncBatchNorm
    synced = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    for name, tensor in (*norm.named_parameters(recurse=False), *norm.named_buffers(recurse=False)):
        setattr(synced, name, tensor)
    return synced.train(norm.training)


class _Normalise(Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias (arXiv:1502.03167, section 3) over all processes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The output N C H W; mean and biased variance of each channel, shape (C,); M of all processes."""
        variance, mean = torch.var_mean(_at_least_float(x), (0, 2, 3), correction=0)
        number = torch.full_like(mean[:1], x.numel() // x.shape[1])
        mean, variance, number = _combined(mean, variance, number)
        ctx.save_for_backward(x, weight, mean, variance, number)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance, number)
        return F.batch_norm(x, mean, variance, weight, bias, eps=eps), mean, variance, number

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """Gradients; those of weight and bias are this process's own, as of any layer; that of x is over all images."""
        x, weight, mean, variance, number = ctx.saved_tensors
        # with x' = (x - mean) / deviation: sums of grad x' and of grad
        _, dweight, dbias = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, mean, variance, None, None, False, ctx.eps, [False, True, True]
        )
        sums = torch.stack((dweight, dbias)).to(mean)
        distributed.all_reduce(sums)
        of_normalised, of_one = sums / number
        scale = torch.rsqrt(variance + ctx.eps)
        factor = scale if weight is None else scale * weight
        # dx = (grad - mean of grad - x' mean of grad x') weight / deviation
        centre, slope, shift, factor = (
            values.view(-1, 1, 1) for values in (mean, -factor * scale * of_normalised, -factor * of_one, factor)
        )
        dx = (_at_least_float(x) - centre).mul_(slope).add_(shift).addcmul_(_at_least_float(grad), factor).to(x.dtype)
        return (dx, None, None, None) if weight is None else (dx, dweight, dbias, None)


def _at_least_float(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _combined(mean: Tensor, variance: Tensor, number: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, biased variance and number of all processes' values, from those of each: Chan et al. 1983."""
    own = torch.cat((mean, variance, number)).double()
    all_of_them = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(all_of_them, own)
    rows = torch.stack(all_of_them)  # one per process
    means, variances, numbers = rows[:, : len(mean)], rows[:, len(mean) : -1], rows[:, -1:]
    total = numbers.sum()
    weights = numbers / total
    whole = (weights * means).sum(0)
    spread = (weights * (variances + (means - whole) ** 2)).sum(0)
    return whole.to(mean), spread.to(mean), total.to(mean)
