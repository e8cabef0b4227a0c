"""Execution of networks: device, precision, memory layout, compilation, and available memory."""

from resnet_lab.device.accelerators import computes_bf16
from resnet_lab.device.inference import optimize_for_inference
from resnet_lab.device.memory import largest_batch, out_of_memory, require_memory
from resnet_lab.device.placement import Placement, choose
from resnet_lab.device.training import compile_for_training
from resnet_lab.device.trial_step import try_step

__all__ = [
    "Placement",
    "choose",
    "compile_for_training",
    "computes_bf16",
    "largest_batch",
    "optimize_for_inference",
    "out_of_memory",
    "require_memory",
    "try_step",
]
