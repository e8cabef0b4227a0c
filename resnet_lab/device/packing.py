"""Convolutions whose weights are laid out for oneDNN's kernels once. Legend: N batch, C channels, H W pixels.

On a CPU torch's own convolution lays its weights out in each call, which for a single image takes a quarter of the
time. Inductor packs them once where it freezes a network; here that is done without compiling.
"""

from collections import Counter
from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

DTYPES = (torch.float32, torch.bfloat16)


class PackedConv2d(nn.Module):
    """A convolution, and the ReLU after it where there is one: (N, C, H, W) to (N, C', H', W').

    Args:
        shape: of the input that its layout is best for; any other gives the same outputs.
    """

    def __init__(self, conv: nn.Conv2d, shape: torch.Size, *, relu: bool) -> None:
        super().__init__()
        geometry = (list(cast(Any, conv.padding)), list(conv.stride), list(conv.dilation), conv.groups)
        weight = torch.ops.mkldnn._reorder_convolution_weight(conv.weight.detach(), *geometry, list(shape))
        bias = None if conv.bias is None else conv.bias.detach()
        self._dtype = conv.weight.dtype
        self._arguments: tuple[Any, ...] = (weight, bias, *geometry, "relu" if relu else "none", [], "")

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, torch.ops.mkldnn._convolution_pointwise(x.to(self._dtype), *self._arguments))


def packed(network: nn.Module, x: Tensor) -> nn.Module:
    """A network with the outputs of `network`, faster for images like `x`; it shares all modules but convolutions.

    It is `network` itself on a GPU, where that is not traced, and where torch has no oneDNN.
    """
    is_ours = x.device.type == "cpu" and x.dtype in DTYPES and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not is_ours or not isinstance(network, fx.GraphModule):
        return network
    made = fx.GraphModule(network, deepcopy(network.graph))
    try:
        _pack(made, _shapes(network, x))
        made(x)
    except (RuntimeError, AttributeError):  # its operators are not public, and may be others in another version
        return network
    return made


def _pack(network: fx.GraphModule, shapes: dict[str, torch.Size]) -> None:
    """Replace convolutions by name, of which the shapes of inputs are given."""
    for node in list(network.graph.nodes):
        if node.op != "call_module" or node.target not in shapes:
            continue
        conv = cast(nn.Conv2d, network.get_submodule(node.target))
        relu = _relu_after(node, network)
        network.set_submodule(node.target, PackedConv2d(conv, shapes[node.target], relu=relu is not None))
        if relu is not None:
            relu.replace_all_uses_with(node)
            network.graph.erase_node(relu)
    network.delete_all_unused_submodules()
    network.recompile()


def _relu_after(node: fx.Node, network: fx.GraphModule) -> fx.Node | None:
    """The ReLU that alone takes a node's output."""
    user, *others = node.users
    is_relu = user.op == "call_module" and type(network.get_submodule(str(user.target))) is nn.ReLU
    return user if is_relu and not others else None


def _shapes(network: fx.GraphModule, x: Tensor) -> dict[str, torch.Size]:
    """Shapes of the inputs of all convolutions that are called once, and of whose weights there is no other use."""
    calls = Counter(node.target for node in network.graph.nodes if node.op == "call_module")
    read = {str(node.target).rpartition(".")[0] for node in network.graph.nodes if node.op == "get_attr"}
    found: dict[str, torch.Size] = {}
    handles = [
        module.register_forward_pre_hook(lambda _, inputs, name=name: found.update({name: inputs[0].shape}))
        for name, module in network.named_modules()
        if type(module) is nn.Conv2d
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and calls[name] == 1
        and name not in read
    ]
    network(x)
    for handle in handles:
        handle.remove()
    return found
