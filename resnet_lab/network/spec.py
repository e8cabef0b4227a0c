"""Architectures as data: frozen, typed, hashable, and readable where torch is not installed.

A `ModelSpec` is a stem, a tuple of stages and a head. A stage repeats one block; a block names its components, one of
each kind that stands in blocks (`kinds`). `builder.build` alone turns the names into modules.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    create_model,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from resnet_lab.core.errors import SpecError, nearest
from resnet_lab.core.records import Malformed, Record, parse_json, repr_of, validated
from resnet_lab.network.component import Choice as Choice
from resnet_lab.network.component import Component as Component
from resnet_lab.network.component import ParameterValue as ParameterValue
from resnet_lab.network.component import assignments
from resnet_lab.network.component import parse_assignment as parse_assignment
from resnet_lab.network.kinds import KINDS, Kind, Place, of_networks, placed

FORMAT = 1
"""Version of the JSON layout; a reader refuses a newer one."""

S = TypeVar("S", bound="_Extended")

MAX_BLOCKS = 1024
"""Blocks of a network, in all stages; the deepest published ResNet has 600."""

Channels = Annotated[int, Field(ge=1, le=2**16, strict=True)]
InChannels = Annotated[int, Field(ge=1, le=1024, strict=True)]
Kernel = Annotated[int, Field(ge=1, le=255, strict=True)]
Stride = Annotated[int, Field(ge=1, le=64, strict=True)]
Depth = Annotated[int, Field(ge=1, le=MAX_BLOCKS, strict=True)]
Side = Annotated[int, Field(ge=1, le=8192, strict=True)]
"""Side of images, in pixels."""
Classes = Annotated[int, Field(ge=1, le=10**6, strict=True)]
Probability = Annotated[float, Field(ge=0, lt=1)]


class _Extended(Record):
    """A record with fields that came later: at their defaults they are left out of JSON, so that the text and the hash
    of a spec that does without them stay what they were.
    """

    later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = serialise(self)
        for name in self.later:
            if getattr(self, name) == type(self).model_fields[name].default:
                data.pop(name, None)
        return data


def _with_kinds_of(place: Place, *later: str) -> Callable[[type[S]], type[S]]:
    """Give a record a field for each kind that stands in a place and is not a field yet; `later` fields came so too."""

    def extended(record: type[S]) -> type[S]:
        added = {
            kind.key: (Component, default(kind.name)) for kind in placed(place) if kind.key not in record.model_fields
        }
        made: type[S] = create_model(  # type: ignore[call-overload]
            record.__name__, __base__=record, __module__=record.__module__, __doc__=record.__doc__, **added
        )
        made.later = frozenset({*later, *added})
        return made

    return extended


def default(kind: str) -> Component:
    """Default component of a network for a kind."""
    return Component.parse(KINDS[kind].default)


class StemConv(Record):
    """One convolution of the stem; all but the last are followed by a norm and an activation of their own."""

    out_channels: Channels
    kernel_size: Kernel
    stride: Stride


STEMS: Mapping[str, tuple[tuple[tuple[int, int, int], ...], bool]] = {
    "plain": (((8, 7, 2),), True),
    "deep": (((4, 3, 2), (4, 3, 1), (8, 3, 1)), True),
    "deep_tiered": (((3, 3, 2), (4, 3, 1), (8, 3, 1)), True),
    "cifar": (((8, 3, 1),), False),
}
"""Stems of the papers: eighths of the channels that each convolution has, its size and stride; whether a max pool
follows."""


def listed_stem(name: str, channels: int) -> tuple[tuple[StemConv, ...], bool]:
    """The convolutions of one of `STEMS` for a number of channels, and whether a 3x3/2 max pool follows."""
    rows, max_pool = STEMS[name]
    convs = (
        StemConv(out_channels=max(1, channels * part // 8), kernel_size=size, stride=by) for part, size, by in rows
    )
    return tuple(convs), max_pool


def _last_channels(convs: Any) -> Any:
    """Output channels of the last of the stem's convolutions, whatever a file has in their place."""
    last = convs[-1] if isinstance(convs, list | tuple) and convs else None
    return last.get("out_channels") if isinstance(last, Mapping) else getattr(last, "out_channels", None)


@_with_kinds_of("stem", "kind", "out_channels")
class StemSpec(_Extended):
    """Layers before the first stage.

    It is a list of convolutions, norm, activation, and a 3x3/2 max pool or none; or a component `kind` that gives
    `out_channels`. `plain`, `deep`, `deep_tiered` and `cifar` without parameters are such lists and become them: equal
    networks have equal specs.
    """

    convs: tuple[StemConv, ...] = Field(default=(), max_length=16)
    max_pool: bool = True
    act: Component = default("activation")
    norm: Component = default("norm")
    kind: Component | None = None
    out_channels: Channels | None = None

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, data: Any) -> Any:
        kind = data.get("kind") if isinstance(data, Mapping) else None
        if isinstance(kind, str):
            kind = Component.parse(kind)
        if not isinstance(kind, Component):
            return data
        channels = data.get("out_channels") or _last_channels(data.get("convs"))
        rest = {key: value for key, value in data.items() if key not in ("convs", "max_pool", "kind", "out_channels")}
        if kind.name in STEMS and not kind.parameters and type(channels) is int and channels > 0:
            convs, max_pool = listed_stem(kind.name, channels)
            return {**rest, "convs": convs, "max_pool": max_pool}
        return {**rest, "kind": kind, "out_channels": channels}

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.convs) == (self.kind is not None) or (self.kind is None) != (self.out_channels is None):
            raise PydanticCustomError("stem", "A stem has either convs, or a kind and out_channels")
        return self

    @property
    def channels(self) -> int:
        """That it gives to the first stage."""
        return self.out_channels or self.convs[-1].out_channels


@_with_kinds_of("block")
class BlockSpec(_Extended):
    """One residual block: its kind, and a component of every kind that stands in blocks."""

    kind: Component
    conv: Component = default("convolution")
    act: Component = default("activation")
    norm: Component = default("norm")
    attn: Component = default("attention")
    shortcut: Component = default("shortcut")
    dropout: Probability = 0.0


class StageSpec(_Extended):
    """`depth` equal blocks; the first has the stride. `width` counts the channels inside the residual branch.

    `dilation` is that of the 3x3 convolutions; the first of them has that of the stage before, as in torchvision.
    """

    later = frozenset({"dilation"})
    depth: Depth
    width: Channels
    out_channels: Channels
    stride: Stride
    block: BlockSpec
    dilation: Stride = 1


@_with_kinds_of("head")
class HeadSpec(_Extended):
    """Global pool, dropout, linear classifier."""

    num_classes: Classes
    dropout: Probability = 0.0


class ModelSpec(_Extended):
    """A whole network. Equal specs build equal networks.

    `drop_path` is the probability of stochastic depth (arXiv:1603.09382) at the last block; it is 0 at the first, and
    linear between.
    """

    later = frozenset({"drop_path"})
    format: Literal[1] = 1
    name: str
    in_channels: InChannels = 3
    input_size: Side = 224
    stem: StemSpec
    stages: tuple[StageSpec, ...] = Field(min_length=1, max_length=64)
    head: HeadSpec
    drop_path: Probability = 0.0

    @model_validator(mode="after")
    def _of_bounded_depth(self) -> Self:
        if (blocks := sum(stage.depth for stage in self.stages)) > MAX_BLOCKS:
            raise PydanticCustomError(
                "blocks", "The stages should have at most {most} blocks in all, not {blocks}",
                {"most": MAX_BLOCKS, "blocks": blocks},
            )  # fmt: skip
        return self

    def to_json(self) -> str:
        """JSON text that `from_json` reads back to an equal spec."""
        return json.dumps(self.model_dump(mode="json"), indent=2)

    @classmethod
    def from_json(cls, text: str, where: str = "spec") -> Self:
        """Read the text of `to_json`.

        Raises:
            SpecError: not JSON, another format version, an unknown key, or a value out of range.
        """
        try:
            data = parse_json(text)
        except Malformed as error:
            raise SpecError(f"{where}: {error}") from None
        return cls.from_dict(data, where)

    @classmethod
    def from_dict(cls, data: Any, where: str = "spec") -> Self:
        """Read what `to_json` wrote, already parsed; raises like `from_json`."""
        if not isinstance(data, Mapping):
            raise SpecError(f"{where}: a spec is a table of keys, got {type(data).__name__}")
        version = data.get("format", FORMAT)
        if isinstance(version, int) and version > FORMAT:
            raise SpecError(
                f"{where}: spec format {version} is newer than this resnet-lab reads ({FORMAT}); upgrade resnet-lab"
            )
        return validated(cls, data, where, SpecError)

    @property
    def hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the canonical JSON, the name left out."""
        content = self.model_dump(mode="json", exclude={"name"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def modified(
        self,
        *,
        dropout: float | None = None,
        head_dropout: float | None = None,
        drop_path: float | None = None,
        dilate: Sequence[int] | None = None,
        widen: float | None = None,
        num_classes: int | None = None,
        in_channels: int | None = None,
        input_size: int | None = None,
        name: str | None = None,
        **components: Choice | None,
    ) -> Self:
        """This network with the parts that are given replaced.

        A component is given by the slot of its kind (`act`, `conv`, `attn`, ...), written `name`, `name(key=value)` or,
        for some stages only, `name@3,4`; `act` and `norm` also apply to the stem, unless stages are named without
        `stem` among them. Of several, the later ones win. Stages of `dilate` get stride 1, and they and those behind
        them are dilated by what they had (arXiv:1511.07122), so that the last map is larger. `widen` multiplies the
        channels of stem and stages (k of arXiv:1605.07146), rounded to whole ones.

        Raises:
            SpecError: text of another form, a stage that does not exist, or a value out of range.
            TypeError: a name that is none of these.
        """
        for slot in components:
            if slot not in CHANGES:
                raise TypeError(f"modified() got an unexpected keyword argument {slot!r}; {nearest(slot, CHANGES)}")
        data = self.model_dump()
        for kind in of_networks():
            for component, targets in assignments(components.get(kind.slot), kind.slot):
                for table in self._tables(data, kind, component, targets):
                    table[kind.key] = str(component)
        for stage in data["stages"]:
            _set(stage["block"], dropout=dropout)
        _dilate(data["stages"], dilate or (), self.name)
        if widen is not None:
            _widen(data, widen)
        _set(data["head"], num_classes=num_classes, dropout=head_dropout)
        _set(data, in_channels=in_channels, input_size=input_size, name=name, drop_path=drop_path)
        return validated(type(self), data, self.name, SpecError)

    def _tables(
        self, data: dict[str, Any], kind: Kind, component: Component, targets: tuple[int, ...] | None
    ) -> list[dict[str, Any]]:
        """Tables of `data` that a component goes into; stages are counted from 1, and 0 is the stem."""
        places = {0: data["stem"]} if "stem" in kind.places else {}
        if "block" in kind.places:
            places |= {number: stage["block"] for number, stage in enumerate(data["stages"], 1)}
        if targets is None:
            return [*places.values(), *([data["head"]] if "head" in kind.places else [])]
        for target in targets:
            if target not in places:
                place = "the stem" if target == 0 else f"stage {target}"
                where = [f"stages 1 to {len(self.stages)}"] if "block" in kind.places else []
                where += ["stem"] if 0 in places else []
                remedy = f"it can go to {' and '.join(where)}" if where else "leave out what follows @"
                raise SpecError(f"{component}: {self.name} has no such part in {place}; {remedy}")
        return [places[target] for target in targets]


CHANGES = (
    *(kind.slot for kind in of_networks()),
    "dropout", "head_dropout", "drop_path", "dilate", "widen", "num_classes", "in_channels", "input_size", "name",
)  # fmt: skip
"""Changes that `ModelSpec.modified` takes."""


def chosen(record: Record, kind: str) -> Any:
    """The component of a kind in a record of one of its places; None of a stem that is a list of convolutions."""
    return getattr(record, KINDS[kind].key)


def of_stem_alone(spec: ModelSpec) -> list[tuple[Kind, Component]]:
    """Norm and activation of the stem that are neither the default nor in any stage, so that they were meant for it."""
    found = [(kind, chosen(spec.stem, kind.name)) for kind in placed("stem") if "block" in kind.places]
    return [
        (kind, component)
        for kind, component in found
        if component not in {default(kind.name), *(chosen(stage.block, kind.name) for stage in spec.stages)}
    ]


def _dilate(stages: list[dict[str, Any]], numbers: Sequence[int], name: str) -> None:
    """Give these stages, counted from 1, a dilation for their stride."""
    if isinstance(numbers, str) or not all(type(number) is int and 1 <= number <= len(stages) for number in numbers):
        raise SpecError(f"dilate must be a list of stages of {name}, from 1 to {len(stages)}, got {numbers!r}")
    removed = 1
    for number, stage in enumerate(stages, 1):
        if number in numbers:
            removed *= stage["stride"]
            stage["stride"] = 1
        stage["dilation"] = stage.get("dilation", 1) * removed


def _widen(data: dict[str, Any], factor: float) -> None:
    """Multiply the channels of the stem and of all stages."""
    if type(factor) not in (int, float) or not 0 < factor < 2**16:
        raise SpecError(f"widen must be a number above 0 and below {2**16}, such as 2 or 0.5, got {repr_of(factor)}")
    stem = data["stem"]
    for table in (stem, *stem["convs"], *data["stages"]):
        for key in {"width", "out_channels"} & table.keys():
            if table[key] is not None:
                table[key] = max(1, round(table[key] * factor))


def _set(table: dict[str, Any], **values: Any) -> None:
    table.update((key, value) for key, value in values.items() if value is not None)
