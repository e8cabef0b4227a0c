"""Component under test in the cases that its hook promises. Legend: N batch, C channels, H W pixels."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import torch
from torch import Tensor, nn

from resnet_lab.core.errors import SpecError
from resnet_lab.network.builder import assemble
from resnet_lab.network.initialisation import initialise
from resnet_lab.network.kinds import KINDS
from resnet_lab.network.parts import make_stem
from resnet_lab.network.registry import Entry, Registry
from resnet_lab.network.spec import BlockSpec, Component, HeadSpec, ModelSpec, StageSpec, StemConv, StemSpec
from resnet_lab.testing.results import BreachError

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
class ComponentUnderTest:
    """A component, and how to make modules of it."""

    entry: Entry
    component: Component
    registry: Registry

    @property
    def kind(self) -> str:
        """Kind of the component."""
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
        make = MAKERS.get(self.kind)
        if make is not None:
            module = make(self, case.arguments, chance)
        else:
            module = self.registry.bind(self.kind, self.component, "check")(*case.arguments)
        if not isinstance(module, nn.Module):
            raise BreachError(f"the factory gave {type(module).__name__}, not a torch.nn.Module", str(case))
        initialise(module, seed, {})
        return module.eval()

    def cases(self) -> list[Case]:
        """Cases that the hook promises, the smallest first."""
        return sorted(self._cases(), key=lambda case: torch.Size(case.shape).numel())

    @cached_property
    def plain(self) -> Case:
        """An ordinary case with even sides, for the checks that are not about shapes: 2 images of 8x8."""
        return self._accepted(sorted(self._ordinary(), key=lambda case: -torch.Size(case.shape).numel()))

    @cached_property
    def small(self) -> Case:
        """One of few values, for finite differences: 2 images of 4x4."""
        height, width = (side // 2 for side in PLAIN)
        case = self._accepted([case for case in self._ordinary() if case.shape[1] >= 8 or self._of_images])
        rows, columns = (-(-side // 2) for side in case.expected[2:])
        return replace(case, shape=(2, case.shape[1], height, width), expected=(2, case.expected[1], rows, columns))

    @property
    def _of_images(self) -> bool:
        """Whether its input has few channels whatever it is, or any number."""
        return self.entry.row.output == "reduced" or not self.entry.row.given

    @cached_property
    def _reduction(self) -> int:
        """Factor by which a stem divides the size, seen on a large image."""
        side = 64
        (arguments, words), *_ = _ways(self.entry)
        shape = (1, arguments[0], side, side)
        case = Case(arguments, shape, shape, words)
        with torch.no_grad():
            return int(side // self.fresh(case)(case.input()).shape[2])

    def _pooled_channels(self, arguments: tuple[int, ...]) -> int:
        """Channels that a pool states, or those that it is given."""
        shape = (1, *arguments, 1, 1)
        try:
            return int(getattr(self.fresh(Case(arguments, shape, shape, "")), "out_channels", arguments[0]))
        except SpecError:
            return arguments[0]

    def _cases(self) -> Iterator[Case]:
        for (height, width), batch in product(SIZES, (1, 2)):
            for arguments, words in _ways(self.entry):
                values = dict(zip(self.entry.row.given, arguments, strict=False))
                for channels in CHANNELS if not arguments else (arguments[0],):
                    out_channels = values.get("out_channels", channels)
                    if self.entry.row.output == "pooled":
                        out_channels = self._pooled_channels(arguments)
                    by = {
                        "same": 1, "strided": values.get("stride", 1), "pooled": max(height, width),
                        "reduced": self._reduction if self.entry.row.output == "reduced" else 1,
                    }[self.entry.row.output]  # fmt: skip
                    expected = (batch, out_channels, -(-height // by), -(-width // by))
                    yield Case(arguments, (batch, channels, height, width), expected, words)

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


def _ways(entry: Entry) -> Iterator[tuple[tuple[int, ...], str]]:
    """Arguments that a factory of a kind may be given, but for `parts`, and the same in words."""
    given = tuple(name for name in entry.row.given if name != "parts")
    for values in _values(entry, given):
        yield values, ", ".join(f"{name} {value}" for name, value in zip(given, values, strict=True))


def _values(entry: Entry, given: tuple[str, ...]) -> Iterator[tuple[int, ...]]:
    match given:
        case ():
            yield ()
        case ("channels",):
            yield from ((channels,) for channels in CHANNELS)
        case ("channels", "stride"):
            yield from ((channels, 2) for channels in CHANNELS)
        case ("in_channels", "out_channels"):
            yield from ((3, 8), (1, 8), (3, 64))
        case ("in_channels", "out_channels", "stride"):
            yield from ((3, 8, 1), (3, 3, 2), (8, 16, 2), (16, 16, 2))
        case ("in_channels", "out_channels", "stride", "groups", "bias"):
            yield from _convolutions(entry)
        case ("in_channels", "width", "out_channels", "stride"):
            for channels in ((3, 3, 3), (8, 8, 16), (16, 4, 16), (8, 4, 16)):
                yield from ((*channels, stride) for stride in (1, 2))
        case _:
            raise NotImplementedError(f"no cases for a kind that is given ({', '.join(given)})")


def _convolutions(entry: Entry) -> Iterator[tuple[int, ...]]:
    """Arguments that a factory with these traits is given."""
    for stride in (1, 2):
        yield from ((channels, channels, stride, 1, False) for channels in (1, 3, 8))
        yield 8, 8, stride, 1, True
        if entry.trait("mixes_channels"):
            yield from ((3, 8, stride, 1, False), (8, 4, stride, 1, False))
        if entry.trait("takes_groups"):
            yield 8, 8, stride, 2, False


def _block(tested: ComponentUnderTest, arguments: tuple[int, ...], chance: int) -> nn.Module:
    spec = one_block(tested.component, *arguments)
    return assemble(spec, tested.registry, seed=chance).model.get_submodule("layer1.0")


def _shortcut(tested: ComponentUnderTest, arguments: tuple[int, ...], chance: int) -> nn.Module:
    in_channels, out_channels, stride = arguments
    basic = Component(name="basic")
    spec = one_block(basic, in_channels, out_channels, out_channels, stride).modified(shortcut=tested.component)
    return assemble(spec, tested.registry, seed=chance).model.get_submodule("layer1.0.downsample")


def _stem(tested: ComponentUnderTest, arguments: tuple[int, ...], chance: int) -> nn.Module:
    in_channels, out_channels = arguments
    spec = one_block(Component(name="basic"), out_channels, out_channels, out_channels, 1)
    return make_stem(spec.modified(stem=tested.component, in_channels=in_channels), tested.registry)


MAKERS = {"block": _block, "shortcut": _shortcut, "stem": _stem}
"""Makers of `parts` for the kinds that are given them."""


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
    return spec if kind is None else spec.modified(**{KINDS[kind].slot: component})  # type: ignore[arg-type]
