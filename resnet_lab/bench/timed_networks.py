"""Arms prepared for timing. Legend: N batch, C channels, S size, K classes."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from resnet_lab.bench.arms import BenchArm
from resnet_lab.bench.config import Mode
from resnet_lab.bench.interleaved_timing import Rotation, moved
from resnet_lab.bench.peers import peer
from resnet_lab.core.errors import ConfigError
from resnet_lab.device import Placement, choose, compile_for_training, optimize_for_inference
from resnet_lab.device.compiled_code import keep_compiled_code
from resnet_lab.device.compiling import MODES as MODES_OF_TORCH
from resnet_lab.device.compiling import Mode as CompileMode
from resnet_lab.device.compiling import own_code
from resnet_lab.device.kernels import with_kernels
from resnet_lab.network.builder import assemble
from resnet_lab.network.cost import measure
from resnet_lab.network.model import ResNet
from resnet_lab.network.plugins import Registry
from resnet_lab.network.recomputation import recompute_activations
from resnet_lab.network.spec import ModelSpec
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.learner import Learner
from resnet_lab.train.optimisation import make_loss

MODES: dict[Mode, str] = {
    "latency": "inference of one image",
    "infer": "inference of a batch",
    "train": "training step",
}
INPUTS = 4
CONTRASTS = (2.0, 1.0, 0.5, 0.25)
"""Factors of the images whose outputs are compared before anything is timed: noise alone comes out all alike."""

TOLERANCE = {"fp32": 1e-3, "tf32": 2e-2, "fp16": 2e-2, "bf16": 1e-1}
"""Tolerance between two ways of computing the same, by significand, relative to the spread between images. Measured on
ResNets of 20 to 152 layers, with ReLU or GELU and with or without CBAM: at most 3e-6 in fp32, 0.005 in fp16 where
nothing overflowed, 0.07 in bf16, and 1 or more for images that are black."""


class DifferentError(Exception):
    """An arm whose outputs are not what they should be; the text has the deviation."""


def placement_of(arm: BenchArm, device: str, registry: Registry, *, training: bool = False) -> Placement:
    """Placement of an arm on a device, with one precision for all modes; raises `ConfigError` like `device.choose`.

    Args:
        training: whether the precision has to be one in which the network is trained, if it was asked for.
    """
    strides = measure(arm.spec, registry).oversized_strides if training or arm.precision == "auto" else ()
    return choose(device, arm.precision, arm.compile, arm.channels_last, strides)


def network_of(arm: BenchArm, registry: Registry, device: str | None = None) -> nn.Module:
    """The arm's network, newly made; a peer's with our initial weights where it has the same parameters.

    Args:
        device: `meta` for counting.

    Raises:
        InexpressibleError: the peer has no such network.
    """
    if arm.maker == "resnet-lab":
        return assemble(arm.spec, registry, device=device).model
    with torch.device(device or "cpu"):
        theirs = peer(arm.maker, arm.spec)
    if device is None:
        ours = assemble(arm.spec, registry).model.state_dict()
        if shares_weights(theirs, ours):
            theirs.load_state_dict(ours)
    return theirs


class NetworkCache:
    """Networks of arms, each initialised once however many arms, modes and copies it is timed in."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._made: dict[tuple[str, ModelSpec], nn.Module] = {}
        self._outputs: dict[ModelSpec, Tensor] = {}

    def of(self, arm: BenchArm) -> nn.Module:
        """The arm's network on the CPU, as `network_of` makes it; not to be changed."""
        key = (arm.maker, arm.spec)
        if key not in self._made:
            self._made[key] = network_of(arm, self.registry)
        return self._made[key]

    def reference(self, arm: BenchArm) -> Tensor | None:
        """Outputs of our network, in float32 on the CPU; None for a peer with other parameters."""
        ours = self.of(replace(arm, maker="resnet-lab"))
        if arm.maker != "resnet-lab" and not shares_weights(self.of(arm), ours.state_dict()):
            return None
        if arm.spec not in self._outputs:
            ours = deepcopy(ours)
            _without_bias(ours)
            with torch.inference_mode():
                self._outputs[arm.spec] = ours.eval()(_checked(arm))
        return self._outputs[arm.spec]


def shares_weights(model: nn.Module, weights: dict[str, Tensor]) -> bool:
    """Whether the network takes these weights, name by name and shape by shape."""
    own = model.state_dict()
    return own.keys() == weights.keys() and all(own[name].shape == weights[name].shape for name in own)


def images(arm: BenchArm, number: int, placement: Placement, count: int = 1) -> list[Tensor]:
    """Batches of noise (number, C, S, S) on the device, the same for all arms of one size."""
    draw = torch.Generator().manual_seed(0)
    shape = (number, arm.spec.in_channels, arm.spec.input_size, arm.spec.input_size)
    return [placement.layout(torch.randn(shape, generator=draw)) for _ in range(count)]


class InferenceCall:
    """A forward pass: ours as `predict` and `eval` run it, a peer as its users do, its weights cast to the type."""

    def __init__(self, arm: BenchArm, model: nn.Module, placement: Placement, batch: int) -> None:
        self._inputs = Rotation(images(arm, batch, placement, INPUTS))
        self._placement = placement
        self._network: nn.Module
        if arm.maker == "resnet-lab":
            self._network = optimize_for_inference(model, placement, batch)
        else:
            self._network = _as_users_run_it(model, placement)
        self()

    @torch.inference_mode()
    def __call__(self) -> Tensor:
        """Outputs (N, K) of the next inputs."""
        with self._placement.products():
            output: Tensor = self._network(self._inputs())
        return output

    def shift(self) -> None:
        """Implements `Timed.shift`; what is compiled has its weights built in."""
        if self._placement.compile == "off":
            moved(self._network)

    def outputs(self, x: Tensor) -> Tensor:
        """Float32 outputs (N, K) of given images."""
        with torch.inference_mode(), self._placement.products():
            return self._network(x).float()  # type: ignore[no-any-return]


class CompiledPeer(nn.Module):
    """A peer compiled for the shape of its batches alone, as ours is (`device.inference.Frozen`)."""

    def __init__(self, network: nn.Module, mode: CompileMode) -> None:
        super().__init__()
        keep_compiled_code()
        self.network = network
        self._call = torch.compile(own_code(network), fullgraph=True, dynamic=False, mode=MODES_OF_TORCH[mode])

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self._call(x)
        return output


class _Peer(nn.Module):
    """Casts its input, as a user's loop does."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.network(x.to(self.dtype))
        return output


def _as_users_run_it(model: nn.Module, placement: Placement) -> nn.Module:
    network = _Peer(placement.place(model.to(placement.dtype)).requires_grad_(False).eval(), placement.dtype).eval()
    if placement.compile == "off":
        return network
    return CompiledPeer(network, "max" if placement.compile == "max" else "on")


class TrainingCall:
    """A whole step: forward, cross-entropy, backward, Adam; the program's own, for peers too.

    Attributes:
        kernels: of plugins that the network runs.
    """

    def __init__(self, arm: BenchArm, model: nn.Module, placement: Placement, batch: int) -> None:
        num_classes = arm.spec.head.num_classes
        config = TrainConfig(lr=1e-3, batch_size=batch)
        labels = np.arange(batch, dtype=np.int64) % num_classes
        self.kernels = placement.kernels
        self._model = placement.place(model).train()
        self._inputs = Rotation(images(arm, batch, placement, INPUTS))
        self._labels = torch.from_numpy(labels).to(placement.device)
        called = self._model
        if placement.compile != "off":
            called = compile_for_training(self._model, placement, arm.spec.hash, self._inputs().shape)
        loss = make_loss(config, labels, num_classes, placement.device)
        self._learner = Learner(self._model, called, loss, config, placement)
        self()

    def __call__(self) -> Tensor:
        """Outputs (N, K) of the step."""
        return self._learner.step(self._inputs(), self._labels, 1e-3)[2]

    def shift(self) -> None:
        """Implements `Timed.shift`."""
        moved(self._model)


def ready(arm: BenchArm, mode: Mode, networks: NetworkCache, device: str) -> InferenceCall | TrainingCall:
    """The arm's call for a mode, run once, and its outputs checked.

    Raises:
        InexpressibleError: a peer that has no such network.
        DifferentError: outputs that are not those of the network in float32.
        ConfigError: the device or precision is not there, or compiling is not possible.
    """
    registry = networks.registry
    placement = placement_of(arm, device, registry, training=mode == "train")
    if placement.compile == "auto":
        raise ConfigError("compile auto lets each arm choose for itself; bench it as off, on, or both: off,on")
    model = deepcopy(networks.of(arm))
    batch = 1 if mode == "latency" else arm.batch
    if mode == "train":
        if arm.maker == "resnet-lab" and arm.has_kernels:
            placement = with_kernels(model, placement, registry.kernels.values())
        if arm.recomputes and isinstance(model, ResNet):
            recompute_activations(model)
        return TrainingCall(arm, model, placement, batch)
    reference = networks.reference(arm)
    if reference is not None:
        _without_bias(model)
    call = InferenceCall(arm, model, placement, batch)
    if reference is not None:
        _require_close(call.outputs(placement.layout(_checked(arm))).cpu(), reference, placement.precision)
    return call


def _checked(arm: BenchArm) -> Tensor:
    return images(arm, len(CONTRASTS), choose("cpu", "fp32"))[0] * torch.tensor(CONTRASTS).view(-1, 1, 1, 1)


def _without_bias(model: nn.Module) -> None:
    """Outputs without the classifier's bias, beside which small ones of the images would not count."""
    classifier = getattr(model, "fc", None)
    if isinstance(classifier, nn.Linear):
        nn.init.zeros_(classifier.bias)


def _require_close(outputs: Tensor, reference: Tensor, precision: str) -> None:
    """Raise `DifferentError` where outputs (N, K) are not those in float32."""
    spread = (reference - reference.mean(0)).abs().max().clamp_min(torch.finfo(torch.float32).tiny)
    apart = float((outputs - reference).abs().max() / spread)
    if not apart <= TOLERANCE[precision]:
        raise DifferentError(
            f"its outputs differ from the network's in float32 by {apart:.2g} of what images differ by, more than "
            f"{TOLERANCE[precision]:g}: it is not timed"
        )
