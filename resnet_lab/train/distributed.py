"""One network in several processes, each of which learns from its share of every step. Legend: N images."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from resnet_lab.device.processes import Processes


def spread(network: nn.Module, processes: Processes, example: Sequence[int], *, sync_batch_norm: bool) -> nn.Module:
    """The network as a step calls it, so that gradients are averaged over all processes; itself where this is alone.

    The average is the gradient of the mean over all images of a step where each process takes as its loss the sum over
    its own, times the number of processes, divided by the number of all images (or by the sum of all their weights).

    Args:
        network: on its device; all processes get rank 0's weights.
        example: shape of one input, without N.
        sync_batch_norm: take batch norm's statistics over all processes; changes the network's modules in place.
    """
    if processes.world_size == 1:
        return network
    idle = has_idle_parameters(network, example)
    if sync_batch_norm:
        from resnet_lab.train.synced_batch_norm import synchronise_batch_norm  # with it comes torch's compiler

        synchronise_batch_norm(network)
    whole = DistributedDataParallel(network, gradient_as_bucket_view=True, find_unused_parameters=idle)
    whole.broadcast_buffers = False  # as an argument it is deprecated, and its successor is not in every torch
    return whole


def exchange(network: nn.Module, *, last: bool) -> AbstractContextManager[None]:
    """Context of each micro-batch of a step: gradients are exchanged between processes with the last one alone."""
    wait = getattr(network, "no_sync", nullcontext)
    return nullcontext() if last else wait()


def share_buffers(network: nn.Module, processes: Processes) -> None:
    """Give all processes the first one's buffers, before the network is scored.

    Without `sync_batch_norm` each process follows the statistics of its own images, and the first one's are kept.
    """
    if processes.world_size > 1:
        for buffer in network.buffers():
            distributed.broadcast(buffer, src=0)


def has_idle_parameters(network: nn.Module, example: Sequence[int]) -> bool:
    """Whether parameters that learn get no gradient, for which torch would wait in vain unless it looks for them."""
    ghost = deepcopy(network).train()
    learning = [parameter for parameter in ghost.parameters() if parameter.requires_grad]
    device, dtype = learning[0].device, learning[0].dtype
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        ghost(torch.zeros(2, *example, device=device, dtype=dtype)).sum().backward()
    return any(parameter.grad is None for parameter in learning)
