"""Networks prepared for inference. Legend: N batch, C channels, H W pixels, K classes."""

from collections.abc import Callable
from copy import deepcopy
from time import perf_counter
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from resnet_lab.core.errors import ConfigError
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.device.compiled_code import keep_compiled_code
from resnet_lab.device.compiling import MODES, Mode, NotPossible, cause, own_code
from resnet_lab.device.folding import folded
from resnet_lab.device.memory import require_memory
from resnet_lab.device.onnx_graph import missing_packages, require_packages
from resnet_lab.device.onnx_network import STARTING, OnnxNetwork, cost_of_start
from resnet_lab.device.packing import packed
from resnet_lab.device.placement import Placement, wait_for

COMPILING = 60.0
"""Seconds that it may take."""

SAVED = 0.1
"""Share of the time of an inference that compiling, or another runtime, saves at least."""

FEW = 32
"""Batches for which packing weights, which takes about as long as three, does not pay."""

TIMED = 2
"""Batches by which ways to run a network are compared."""

Run = Callable[[Tensor], Tensor]


class Inference(nn.Module):
    """A network whose weights are fixed: (N, C, H, W) to float32 (N, K), without gradients.

    How it runs is settled at the first batch; once it is compiled, batches of another shape go through uncompiled.

    Args:
        network: in evaluation mode; it is changed.
        images: that are to come; None where that is not known.
    """

    def __init__(self, network: nn.Module, placement: Placement, images: int | None, watcher: Watcher) -> None:
        super().__init__()
        self.network = placement.place(_cast(network, placement.dtype)).requires_grad_(False).eval()
        self._placement = placement
        self._images = images
        self._watcher = watcher
        self._run: Run | None = None

    @property
    def runtime(self) -> str:
        """Name of its runtime, `torch` or `onnx`, once that is settled."""
        return "onnx" if isinstance(self._run, OnnxNetwork) else "torch"

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self._placement.dtype)
        if isinstance(self._run, OnnxNetwork):
            return self._run(x)
        x = self._placement.layout(x)
        with self._placement.autocast():  # for what a plugin makes in float32 by itself
            if self._run is None:
                self._run = self._settled(x)
            is_other_shape = isinstance(self._run, Frozen) and self._run.shape != x.shape
            run: Run = self.network if is_other_shape else self._run
            return run(x).float()

    def _settled(self, x: Tensor) -> Run:
        """Whatever is to run batches like `x`.

        Raises:
            ConfigError: something was asked for and is not possible, or the batch does not fit into the memory.
        """
        if x.ndim == 4:
            require_memory(self.network, x.shape, self._placement, training=False)
        if self._placement.runtime == "onnx":
            require_packages("--runtime onnx", imported=("onnxruntime",))
            return self._required(self._by_onnx, x, "--runtime torch")
        self.network(x)  # where the network itself fails, it fails here
        if self._placement.compile in ("on", "max"):
            return self._required(self._compiled, x, "--compile off")
        are_few = self._images is not None and self._images <= FEW * len(x)
        eager = self.network if are_few else packed(self.network, x)
        found: list[Run] = [eager]
        saved = self._saved(eager, x)
        if self._may_take_onnx() and saved > STARTING and saved > cost_of_start(self.network, x.shape):
            found += self._if_possible(self._by_onnx, x, "left to torch")
        if self._placement.compile == "auto" and saved > COMPILING:
            found += self._if_possible(self._compiled, x, "not compiled")
        fastest = min(found, key=lambda run: _seconds(run, x)) if len(found) > 1 else eager
        if fastest is eager:
            self.network = eager  # which lets go of weights that are packed now
        return fastest

    def _required(self, make: Callable[[Tensor], Run], x: Tensor, remedy: str) -> Run:
        try:
            return make(x)
        except NotPossible as problem:
            raise ConfigError(f"{problem}; use {remedy}") from problem

    def _if_possible(self, make: Callable[[Tensor], Run], x: Tensor, instead: str) -> list[Run]:
        try:
            return [make(x)]
        except NotPossible as problem:
            self._watcher.say(f"{instead}: {problem}")
            return []

    def _saved(self, eager: Run, x: Tensor) -> float:
        """Seconds that a way to run the images to come saves at least; 0 where no other is asked for."""
        if self._images is None or not (self._placement.compile == "auto" or self._may_take_onnx()):
            return 0.0
        return self._images / len(x) * _seconds(eager, x, batches=1) * SAVED

    def _may_take_onnx(self) -> bool:
        placement = self._placement
        is_onnx_s = placement.device.type == "cpu" and placement.dtype == torch.float32
        return placement.runtime == "auto" and is_onnx_s and not missing_packages()

    def _by_onnx(self, x: Tensor) -> Run:
        return OnnxNetwork(self.network, x, self._watcher)

    def _compiled(self, x: Tensor) -> Run:
        requested = self._placement.compile
        self._watcher.say("compiling the network for inference, which can take a minute")
        frozen = Frozen(self.network, x.shape, "max" if requested == "max" else "on")
        try:
            frozen(x)
        except Exception as error:  # compilers raise whatever they like; the network itself has just run
            raise NotPossible(f"the network cannot be compiled here ({cause(error)})") from error
        return frozen


def _seconds(run: Run, x: Tensor, batches: int = TIMED) -> float:
    """Seconds of a batch, of the fastest of some."""
    seconds = []
    for _ in range(batches):
        wait_for(x.device)
        start = perf_counter()
        run(x)
        wait_for(x.device)
        seconds.append(perf_counter() - start)
    return min(seconds)


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
) -> Inference:
    """A copy that gives the outputs of `model.eval()`, (N, C, H, W) to float32 (N, K), as fast as it can.

    Batch norms are folded into the convolutions before them and weights are cast to the placement's `dtype` once; no
    `autocast` is needed around it. On the CPU, unless few images are to come, weights are packed for its kernels once.
    With `compile="auto"` it is compiled at the first batch where enough images are to come, and with `runtime="auto"`
    exported for ONNX Runtime, on the CPU in float32; what is measured to be the fastest runs it.

    Args:
        model: left as it is; later changes of its weights do not reach the copy.
        images: that are to come; None where that is not known.
        watcher: notified of what cannot be done and why.

    Raises:
        ConfigError: at the first batch, where compiling or ONNX Runtime was asked for and is not possible.
    """
    try:
        network: nn.Module = folded(model)
    except Exception as error:  # a plugin's code was not written to be traced; untraced it runs as ever
        watcher.say(f"batch norms are not folded, as the network cannot be traced ({cause(error)})")
        network = deepcopy(model).eval()
    return Inference(network, placement, images, watcher)


def _cast(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Weights in `dtype`, but for batch norms that could not be folded: rounded variances would change every output."""
    for module in network.modules():
        if not isinstance(module, _BatchNorm):
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                tensor.data = tensor.data.to(dtype) if tensor.is_floating_point() else tensor.data
    return network
