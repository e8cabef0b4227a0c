"""The two blocks of He et al. 2015."""

from resnet_lab.network.hookspecs import Register, hookimpl
from resnet_lab.network.model import BasicBlock, Bottleneck


@hookimpl
def register_blocks(register: Register) -> None:
    register("basic", BasicBlock)
    register("bottleneck", Bottleneck)
