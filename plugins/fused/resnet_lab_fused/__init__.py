"""Fused Triton kernels for resnet-lab: CBAM at the end of a residual block, and depthwise 3x3 convolutions."""

from torch import nn

from resnet_lab.plugin_api import CBAM, BasicBlock, Bottleneck, RegisterKernels, hookimpl
from resnet_lab_fused.modules import FusedBasicBlock, FusedBottleneck, FusedCBAM, FusedDepthwise

requires_api = 4


@hookimpl
def register_kernels(register: RegisterKernels) -> None:
    register(CBAM, FusedCBAM)
    register(BasicBlock, FusedBasicBlock)
    register(Bottleneck, FusedBottleneck)
    register(nn.Conv2d, FusedDepthwise)
