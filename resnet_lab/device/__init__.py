"""Where and how a network runs: device, precision, memory layout, compilation, and what the memory holds."""

from resnet_lab.device.memory import largest_batch, out_of_memory
from resnet_lab.device.placement import Compile, Placement, Precision, choose, computes_bf16

__all__ = ["Compile", "Placement", "Precision", "choose", "computes_bf16", "largest_batch", "out_of_memory"]
