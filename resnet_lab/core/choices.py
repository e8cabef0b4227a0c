"""Closed choices that configurations name and lower rooms act on; no torch, so that help can list them at once."""

from typing import Literal

Fit = Literal["squash", "crop", "pad"]
"""How a picture becomes square: both sides scaled, the middle cut out, or white added."""

CacheUse = Literal["auto", "disk", "stream"]
"""Decode once onto the disk, or in every epoch."""

Balance = Literal["none", "sampling", "loss"]
"""What is done about classes of unequal size: nothing, equal shares of each epoch, or weights in the loss."""

Precision = Literal["auto", "fp32", "tf32", "bf16", "fp16"]
Compile = Literal["auto", "off", "on", "max"]
