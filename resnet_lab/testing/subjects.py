"""What is checked: a component in the cases that its hook promises. Legend: N batch, C channels, H W pixels."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import torch
from torch import Tensor, nn

from resnet_lab.core.errors import SpecError
from resnet_lab.network.builder import assemble
from resnet_lab.network.initialisation import initialise
from resnet_lab.network.plugins import Entry, Registry
from resnet_lab.network.spec import BlockSpec, Component, HeadSpec, ModelSpec, StageSpec, StemConv, StemSpec
from resnet_lab.testing.results import BreachError

SLOTS = {"activation": "act", "convolution": "conv", "norm": "norm", "attention": "attn", "block": "block"}
"""What `ModelSpec.modified` calls each kind."""

REPLACED = {
    "activation": "relu", "convolution": "dense", "norm": "batch", "attention": "none", "block": "basic"
}  # fmt: skip
"""The built-in that a component of each kind stands in the place of."""

SIZES = ((1, 1), (7, 5), (9, 9), (8, 8))
CHANNELS = (1, 3, 8, 64)
PLAIN = (8, 8)


@dataclass(frozen=True)
class Case:
    """One way in which the program may call a component.

    Attributes:
        arguments: of its factory.
        shape: of the input, (N, C, H, W).
        expected: shape of the output.
    """

    arguments: tuple[int, ...]
    shape: tuple[int, ...]
    expected: tuple[int, ...]
    words: str

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        return f"{self.words}, input {size}" if self.words else f"input {size}"

    def input(self, seed: int = 0) -> Tensor:
        """Standard normal values of the case's shape, float32."""
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True, eq=False)
class Subject:
    """A component, and how to make modules of it."""

    entry: Entry
    component: Component
    registry: Registry

    @property
    def kind(self) -> str:
        """Of the component."""
        return self.entry.kind

    def make(self, case: Case, seed: int = 0) -> nn.Module:
        """A module in evaluation mode, initialised as in a network, then shaken, lest a zero hide what follows it.

        Raises:
            SpecError: the component refuses the case.
        """
        module = self.fresh(case, seed)
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.is_floating_point():
                    parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.1)
        return module

    def fresh(self, case: Case, seed: int = 0, chance: int = 0) -> nn.Module:
        """A module in evaluation mode as the program initialises it under `seed`.

        Args:
            chance: seed of torch's generator while the module is made, which should leave no trace.
        """
        torch.default_generator.manual_seed(chance)
        if self.kind == "block":
            in_channels, width, out_channels, stride = case.arguments
            spec = one_block(self.component, in_channels, width, out_channels, stride)
            module = assemble(spec, self.registry, seed=chance).model.get_submodule("layer1.0")
        else:
            make = self.registry.bind(self.kind, self.component, "check")
            module = make(*case.arguments)
        if not isinstance(module, nn.Module):
            raise BreachError(f"the factory gave {type(module).__name__}, not a torch.nn.Module", str(case))
        initialise(module, seed, {})
        return module.eval()

    def cases(self) -> list[Case]:
        """Those that the hook promises, the smallest first."""
        return sorted(_cases(self.entry), key=lambda case: torch.Size(case.shape).numel())

    @cached_property
    def plain(self) -> Case:
        """An ordinary case with even sides, for the checks that are not about shapes: 2 images of 8x8."""
        return self._accepted(sorted(self._ordinary(), key=lambda case: -torch.Size(case.shape).numel()))

    @cached_property
    def small(self) -> Case:
        """One of few values, for finite differences: 2 images of 4x4."""
        height, width = (side // 2 for side in PLAIN)
        case = self._accepted([case for case in self._ordinary() if case.shape[1] >= 8 or self.kind == "activation"])
        channels, stride = case.shape[1], PLAIN[0] // case.expected[2]
        return replace(
            case,
            shape=(2, channels, height, width),
            expected=(2, case.expected[1], height // stride, width // stride),
        )

    def _ordinary(self) -> list[Case]:
        return [case for case in self.cases() if case.shape[0] == 2 and case.shape[2:] == PLAIN]

    def _accepted(self, cases: list[Case]) -> Case:
        for case in cases:
            try:
                self.fresh(case)
            except SpecError:
                continue
            return case
        raise BreachError("the component refuses every number of channels that was tried", str(cases[-1]))


def _cases(entry: Entry) -> Iterator[Case]:
    for (height, width), batch in product(SIZES, (1, 2)):
        if entry.kind in ("activation", "norm", "attention"):
            for channels in CHANNELS:
                shape = (batch, channels, height, width)
                named = entry.kind != "activation"
                yield Case((channels,) if named else (), shape, shape, f"channels {channels}" if named else "")
        else:
            for arguments, words in _convolutions(entry) if entry.kind == "convolution" else _blocks():
                stride = arguments[2] if entry.kind == "convolution" else arguments[3]
                out_channels = arguments[1] if entry.kind == "convolution" else arguments[2]
                expected = (batch, out_channels, -(-height // stride), -(-width // stride))
                yield Case(arguments, (batch, arguments[0], height, width), expected, words)


def _convolutions(entry: Entry) -> Iterator[tuple[tuple[int, ...], str]]:
    """Arguments that a factory with these traits is given."""
    for stride in (1, 2):
        yield from (_convolution(channels, channels, stride) for channels in (1, 3, 8))
        yield _convolution(8, 8, stride, bias=True)
        if entry.traits.get("mixes_channels", True):
            yield from (_convolution(3, 8, stride), _convolution(8, 4, stride))
        if entry.traits.get("takes_groups", True):
            yield _convolution(8, 8, stride, groups=2)


def _convolution(
    in_channels: int, out_channels: int, stride: int, *, groups: int = 1, bias: bool = False
) -> tuple[tuple[int, ...], str]:
    words = f"in_channels {in_channels}, out_channels {out_channels}, stride {stride}, groups {groups}, bias {bias}"
    return (in_channels, out_channels, stride, groups, bias), words


def _blocks() -> Iterator[tuple[tuple[int, ...], str]]:
    for channels in ((3, 3, 3), (8, 8, 16), (16, 4, 16), (8, 4, 16)):
        for stride in (1, 2):
            in_channels, width, out_channels = channels
            words = f"in_channels {in_channels}, width {width}, out_channels {out_channels}, stride {stride}"
            yield (*channels, stride), words


def one_block(kind: Component, in_channels: int, width: int, out_channels: int, stride: int) -> ModelSpec:
    """A network of a 1x1 stem and a single block."""
    stage = StageSpec(
        depth=1, width=width, out_channels=out_channels, stride=stride, block=BlockSpec(kind=kind)
    )  # fmt: skip
    stem = StemSpec(convs=(StemConv(out_channels=in_channels, kernel_size=1, stride=1),), max_pool=False)
    return ModelSpec(name="one block", input_size=8, stem=stem, stages=(stage,), head=HeadSpec(num_classes=2))


def small_network(block: str, kind: str | None = None, component: Component | str = "") -> ModelSpec:
    """Two stages of one block each, 32 and 64 wide, at 16x16 pixels: of built-ins, but for one component.

    Args:
        block: `basic` or `bottleneck`, whose shapes are taken.
    """
    widening = 4 if block == "bottleneck" else 1
    stages = tuple(
        StageSpec(
            depth=1, width=width, out_channels=width * widening, stride=stride,
            block=BlockSpec(kind=Component(name=block)),
        )
        for width, stride in ((32, 1), (64, 2))
    )  # fmt: skip
    stem = StemSpec(convs=(StemConv(out_channels=32, kernel_size=3, stride=1),), max_pool=False)
    spec = ModelSpec(
        name=f"small {block}", input_size=16, stem=stem, stages=stages, head=HeadSpec(num_classes=10)
    )  # fmt: skip
    return spec if kind is None else spec.modified(**{SLOTS[kind]: component})  # type: ignore[arg-type]
