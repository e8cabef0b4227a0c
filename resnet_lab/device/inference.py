"""Networks prepared for inference. Legend: N batch, C channels, H W pixels, K classes."""

from copy import deepcopy
from time import perf_counter
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from resnet_lab.core.errors import ConfigError
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.device.compiled_code import keep_compiled_code
from resnet_lab.device.compiling import MODES, Mode, cause, own_code
from resnet_lab.device.folding import folded
from resnet_lab.device.memory import require_memory
from resnet_lab.device.placement import Placement, wait_for

COMPILING = 60.0
"""Seconds that it may take."""

SAVED = 0.1
"""Share of the time of an inference that it saves at least."""


class Inference(nn.Module):
    """A network whose weights are fixed: (N, C, H, W) to float32 (N, K), without gradients.

    Whether it is compiled is settled at the first batch; batches of another shape go through uncompiled.

    Args:
        network: in evaluation mode; it is changed.
        images: that are to come.
    """

    def __init__(self, network: nn.Module, placement: Placement, images: int, watcher: Watcher) -> None:
        super().__init__()
        self.network = placement.place(_cast(network, placement.dtype)).requires_grad_(False).eval()
        self._placement = placement
        self._images = images
        self._watcher = watcher
        self._settled = False
        self._frozen: Frozen | None = None

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        x = self._placement.layout(x.to(self._placement.dtype))
        with self._placement.autocast():  # for what a plugin makes in float32 by itself
            if not self._settled:
                self._settle(x)
            run = self._frozen if self._frozen is not None and self._frozen.shape == x.shape else self.network
            return cast(Tensor, run(x)).float()

    def _settle(self, x: Tensor) -> None:
        """Compile for batches like `x`, or not.

        Raises:
            ConfigError: it was asked for and is not possible, or the batch does not fit into the memory.
        """
        self._settled = True
        if x.ndim == 4:
            require_memory(self.network, x.shape, self._placement, training=False)
        requested = self._placement.compile
        self.network(x)  # where the network itself fails, it fails here
        if requested == "off" or (requested == "auto" and not self._pays(x)):
            return
        self._watcher.say("compiling the network for inference, which can take a minute")
        frozen = Frozen(self.network, x.shape, "on" if requested == "auto" else requested)
        try:
            frozen(x)
        except Exception as error:  # compilers raise whatever they like; the network itself has just run
            problem = f"the network cannot be compiled here ({cause(error)})"
            if requested != "auto":
                raise ConfigError(f"{problem}; use --compile off") from error
            self._watcher.say(f"not compiled: {problem}")
        else:
            self._frozen = frozen

    def _pays(self, x: Tensor) -> bool:
        wait_for(self._placement.device)  # it has just been given the same batch
        start = perf_counter()
        self.network(x)
        wait_for(self._placement.device)
        return self._images / len(x) * (perf_counter() - start) * SAVED > COMPILING


class Frozen:
    """A network compiled for one shape, its weights built in and laid out for the kernels.

    A trap: `torch.compile(options={"freezing": True})` is without effect, as Dynamo reads the global setting.
    """

    def __init__(self, network: nn.Module, shape: torch.Size, mode: Mode) -> None:
        keep_compiled_code()
        self.shape = shape
        self._call = torch.compile(own_code(network), fullgraph=True, dynamic=False, mode=MODES[mode])

    def __call__(self, x: Tensor) -> Tensor:
        from torch._inductor import config as inductor  # not at the top: the compiler takes two seconds to import

        with inductor.patch(freezing=True):
            return cast(Tensor, self._call(x))


def optimize_for_inference(
    model: nn.Module, placement: Placement, images: int | None = None, *, watcher: Watcher = SILENT
) -> nn.Module:
    """A copy that gives the outputs of `model.eval()`, (N, C, H, W) to float32 (N, K), as fast as it can.

    Batch norms are folded into the convolutions before them and weights are cast to the placement's `dtype` once; no
    `autocast` is needed around it. With `compile="auto"` it is compiled at the first batch where enough images are to
    come.

    Args:
        model: left as it is; later changes of its weights do not reach the copy.
        images: that are to come; None where that is not known.
        watcher: notified of what cannot be done and why.

    Raises:
        ConfigError: at the first batch, where compiling was asked for and is not possible.
    """
    try:
        network: nn.Module = folded(model)
    except Exception as error:  # a plugin's code was not written to be traced; untraced it runs as ever
        watcher.say(f"batch norms are not folded, as the network cannot be traced ({cause(error)})")
        network = deepcopy(model).eval()
    return Inference(network, placement, images or 0, watcher)


def _cast(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Weights in `dtype`, but for batch norms that could not be folded: rounded variances would change every output."""
    for module in network.modules():
        if not isinstance(module, _BatchNorm):
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                tensor.data = tensor.data.to(dtype) if tensor.is_floating_point() else tensor.data
    return network
