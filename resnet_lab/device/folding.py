"""Batch norms folded into the convolutions before them. Legend: N batch, C channels, H W pixels.

In evaluation mode a batch norm multiplies and shifts each channel by constants, and so can the convolution before it:
w' = w gamma / sqrt(var + eps), b' = (b - mean) gamma / sqrt(var + eps) + beta (arXiv:1712.05877, section 3.2).
"""

from collections import Counter
from copy import deepcopy
from typing import Any

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from resnet_lab.device.kernels import without_kernels


def folded(model: nn.Module) -> fx.GraphModule:
    """A copy of `model` in evaluation mode without the batch norms that directly follow a convolution.

    A pair is left as it is where either is called more than once, the convolution's output goes elsewhere too, or one
    is of a class of its own, whose meaning is not known here.

    Raises:
        Exception: whatever the network's code raises when it is traced symbolically, such as on a choice that depends
            on pixels.
    """
    network = fx.symbolic_trace(without_kernels(deepcopy(model)).eval())
    for conv, norm in _pairs(network):
        pair: tuple[Any, Any] = network.get_submodule(str(conv.target)), network.get_submodule(str(norm.target))
        network.set_submodule(str(conv.target), fuse_conv_bn_eval(*pair))
        norm.replace_all_uses_with(conv)
        network.graph.erase_node(norm)
    network.delete_all_unused_submodules()
    network.graph.lint()
    network.recompile()
    return network


def _pairs(network: fx.GraphModule) -> list[tuple[fx.Node, fx.Node]]:
    """Each convolution with the batch norm after it."""
    modules = dict(network.named_modules())
    calls = Counter(node.target for node in network.graph.nodes if node.op == "call_module")

    def is_one(node: object, *kinds: type[nn.Module]) -> bool:
        if not isinstance(node, fx.Node) or node.op != "call_module" or calls[node.target] > 1:
            return False
        return type(modules[str(node.target)]) in kinds

    return [
        (node.args[0], node)
        for node in network.graph.nodes
        if is_one(node, nn.BatchNorm2d, nn.SyncBatchNorm)
        and modules[str(node.target)].running_mean is not None
        and is_one(node.args[0], nn.Conv2d)
        and len(node.args[0].users) == 1
    ]
