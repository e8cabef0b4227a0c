"""The two blocks of He et al. 2015."""

from resnet_lab.hookspecs import Register, hookimpl
from resnet_lab.model import BasicBlock, Bottleneck


@hookimpl
def register_blocks(register: Register) -> None:
    register("basic", BasicBlock)
    register("bottleneck", Bottleneck)
