"""Closed choices that configurations name and lower rooms act on; no torch, so that help is fast."""

from typing import Literal

Fit = Literal["squash", "crop", "pad"]
"""Ways to make a picture square: scale both sides, crop the middle, or pad with white."""

CacheUse = Literal["auto", "disk", "stream"]
"""Decode once onto the disk, or in every epoch."""

InitGain = Literal["activation", "fixed"]
"""What initial convolution weights are scaled by: the gain of their activation, or that of ReLU whatever it is."""

Balance = Literal["none", "sampling", "loss"]
"""Ways to treat classes of unequal size: none, equal shares of each epoch, or weights in the loss."""

Precision = Literal["auto", "fp32", "tf32", "bf16", "fp16"]
Compile = Literal["auto", "off", "on", "max"]
Runtime = Literal["auto", "torch", "onnx"]
"""What computes a trained network: torch, ONNX Runtime, or the faster for the images to come."""

Optimizer = Literal["adam", "adamw", "lamb", "sgd"]
LossName = Literal["cross_entropy", "bce"]
"""What is minimised: the cross-entropy of all classes, or the mean of a binary one for each class."""

Schedule = Literal["exponential", "step", "cosine", "one_cycle", "constant"]
Switch = Literal["auto", "on", "off"]

LayerMethod = Literal["grad-cam", "hires-cam"]
InputMethod = Literal["occlusion", "integrated-gradients"]
MapMethod = Literal[LayerMethod, InputMethod]
"""Methods of explaining predictions by maps, of a layer or of the input."""
