"""The two blocks of He et al. 2015, and the same with selective kernels."""

from resnet_lab.network.builtin.selective_kernel import SelectiveKernelBasic, SelectiveKernelBottleneck
from resnet_lab.network.hookspecs import Register, hookimpl
from resnet_lab.network.model import BasicBlock, Bottleneck


@hookimpl
def register_blocks(register: Register) -> None:
    register("basic", BasicBlock)
    register("bottleneck", Bottleneck)
    register("sk_basic", SelectiveKernelBasic)
    register("sk_bottleneck", SelectiveKernelBottleneck)
