"""Architectures as data: frozen, typed, hashable, and readable where torch is not installed.

A `ModelSpec` is a stem, a tuple of stages and a head. A stage repeats one block; a block names its components
(3x3 convolution, activation, norm, attention). `builder.build` alone turns the names into modules.
"""

import ast
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from resnet_lab.core.errors import SpecError

FORMAT = 1
"""Version of the JSON layout; a reader refuses a newer one."""

ParameterValue: TypeAlias = bool | int | float | str

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
T = TypeVar("T", bound=BaseModel)

_TRUTH = {"true": True, "false": False, "True": True, "False": False}

Count = Annotated[int, Field(ge=1, strict=True)]
Probability = Annotated[float, Field(ge=0, lt=1)]


class Record(BaseModel):
    """Base of the specs: immutable, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Component(Record):
    """A component's name with the parameters that differ from its defaults, written `cbam(reduction=8)`."""

    name: str
    parameters: tuple[tuple[str, ParameterValue], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `name` or `name(key=value, ...)`; values are numbers, `true`, `false`, or words.

        Raises:
            SpecError: the text is not of that form.
        """
        problem = f"component {text!r} is not of the form name or name(key=value, ...)"
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError):
            raise SpecError(problem) from None
        if isinstance(tree, ast.Name):
            called, keywords = tree, []
        elif isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and not tree.args:
            called, keywords = tree.func, tree.keywords
        else:
            raise SpecError(problem)
        if not _NAME.fullmatch(called.id):
            raise SpecError(f"component name {called.id!r} must be lower case letters, digits and underscores")
        parameters: dict[str, ParameterValue] = {}
        for keyword in keywords:
            if keyword.arg is None or keyword.arg in parameters:
                raise SpecError(problem)
            parameters[keyword.arg] = _literal(keyword.value, problem)
        return cls.model_validate({"name": called.id, "parameters": tuple(sorted(parameters.items()))})

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        if isinstance(data, str):
            parsed = cls.parse(data)
            return {"name": parsed.name, "parameters": parsed.parameters}
        return data

    @model_serializer
    def __str__(self) -> str:
        if not self.parameters:
            return self.name
        return f"{self.name}({', '.join(f'{key}={_written(value)}' for key, value in self.parameters)})"


Choice: TypeAlias = str | Component | Sequence[str | Component]
"""What a caller may write for a component: `"cbam@3,4"`, a `Component`, or several of these, the later ones winning."""


def _literal(node: ast.expr, problem: str) -> ParameterValue:
    if isinstance(node, ast.Name):
        return _TRUTH.get(node.id, node.id)
    try:
        value = ast.literal_eval(node)
    except ValueError:
        raise SpecError(problem) from None
    if isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise SpecError(problem)


def _written(value: ParameterValue) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and _WORD.fullmatch(value) and value not in _TRUTH:
        return value
    return repr(value)


class StemConv(Record):
    """One convolution of the stem; all but the last are followed by a norm and an activation of their own."""

    out_channels: Count
    kernel_size: Count
    stride: Count


class StemSpec(Record):
    """What stands before the first stage: convolutions, norm, activation, and a 3x3/2 max pool or none."""

    convs: tuple[StemConv, ...] = Field(min_length=1)
    max_pool: bool = True
    act: Component = Component(name="relu")
    norm: Component = Component(name="batch")


def _known_shortcut(shortcut: Component) -> Component:
    if shortcut.name not in ("projection", "zero_pad", "pooled_projection"):
        raise PydanticCustomError("shortcut", "Input should be 'projection', 'zero_pad' or 'pooled_projection'")
    for name, value in shortcut.parameters:
        if shortcut.name != "zero_pad" or name != "zeros":
            raise PydanticCustomError("shortcut", "Only zero_pad has a parameter, and that is zeros")
        if value not in ("end", "both"):
            raise PydanticCustomError("shortcut", "The zeros of a zero_pad should stand at 'end' or 'both'")
    return shortcut


class BlockSpec(Record):
    """One residual block.

    `shortcut` is what carries the input where the shape changes: `projection` (a strided 1x1 convolution, option B
    of He et al. 2015, section 3.3), `zero_pad` (strided identity with zero channels appended, option A), or
    `pooled_projection` (2x2 average pool, then a 1x1 convolution: ResNet-D, arXiv:1812.01187, figure 2c).
    `zero_pad(zeros=both)` puts half of the zero channels before the others, as some public code does.
    """

    kind: Component
    conv: Component = Component(name="dense")
    act: Component = Component(name="relu")
    norm: Component = Component(name="batch")
    attn: Component = Component(name="none")
    shortcut: Annotated[Component, AfterValidator(_known_shortcut)] = Component(name="projection")
    dropout: Probability = 0.0


class StageSpec(Record):
    """`depth` equal blocks; the first has the stride. `width` counts the channels inside the residual branch."""

    depth: Count
    width: Count
    out_channels: Count
    stride: Count
    block: BlockSpec


class HeadSpec(Record):
    """Global average pool, dropout, linear classifier."""

    num_classes: Count
    dropout: Probability = 0.0


class ModelSpec(Record):
    """A whole network. Equal specs build equal networks."""

    format: Literal[1] = 1
    name: str
    in_channels: Count = 3
    input_size: Count = 224
    stem: StemSpec
    stages: tuple[StageSpec, ...] = Field(min_length=1)
    head: HeadSpec

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
            data = json.loads(text)
        except ValueError as error:
            raise SpecError(f"{where}: not JSON: {error}") from None
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
        return validated(cls, data, where)

    @property
    def hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the canonical JSON, the name left out."""
        content = self.model_dump(mode="json", exclude={"name"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def modified(
        self,
        *,
        block: Choice | None = None,
        conv: Choice | None = None,
        act: Choice | None = None,
        norm: Choice | None = None,
        attn: Choice | None = None,
        shortcut: Choice | None = None,
        dropout: float | None = None,
        head_dropout: float | None = None,
        num_classes: int | None = None,
        in_channels: int | None = None,
        input_size: int | None = None,
        name: str | None = None,
    ) -> Self:
        """This network with the parts that are given replaced.

        A component is written `name`, `name(key=value)` or, for some stages only, `name@3,4`; `act` and `norm` also
        apply to the stem, unless stages are named without `stem` among them. Of several, the later ones win.

        Raises:
            SpecError: text of another form, a stage that does not exist, or a value out of range.
        """
        data = self.model_dump()
        parts = {"kind": block, "conv": conv, "act": act, "norm": norm, "attn": attn, "shortcut": shortcut}
        for slot, choice in parts.items():
            for component, targets in _assignments(choice, slot):
                for target in self._targets(component, targets, slot):
                    (data["stem"] if target == 0 else data["stages"][target - 1]["block"])[slot] = str(component)
        for stage in data["stages"]:
            _set(stage["block"], dropout=dropout)
        _set(data["head"], num_classes=num_classes, dropout=head_dropout)
        _set(data, in_channels=in_channels, input_size=input_size, name=name)
        return validated(type(self), data, self.name)

    def _targets(self, component: Component, targets: tuple[int, ...] | None, slot: str) -> Sequence[int]:
        """Stages a component goes to, counted from 1; 0 is the stem."""
        has_stem_slot = slot in StemSpec.model_fields
        last = len(self.stages)
        if targets is None:
            return range(0 if has_stem_slot else 1, last + 1)
        for target in targets:
            if target > last or (target == 0 and not has_stem_slot):
                place = "the stem" if target == 0 else f"stage {target}"
                allowed = f"stages 1 to {last}" + (" and stem" if has_stem_slot else "")
                raise SpecError(f"{component}: {self.name} has no such part in {place}; it can go to {allowed}")
        return targets


def _set(table: dict[str, Any], **values: Any) -> None:
    table.update((key, value) for key, value in values.items() if value is not None)


def _assignments(choice: Choice | None, slot: str) -> list[tuple[Component, tuple[int, ...] | None]]:
    if choice is None:
        return []
    if isinstance(choice, Component):
        return [(choice, None)]
    if isinstance(choice, str):
        return [parse_assignment(choice)]
    if isinstance(choice, Sequence):
        return [assignment for item in choice for assignment in _assignments(item, slot)]
    raise SpecError(f"{slot} must be a component, written as text, or a list of them, got {choice!r}")


def parse_assignment(text: str) -> tuple[Component, tuple[int, ...] | None]:
    """Read `cbam`, `cbam(reduction=8)` or `cbam@3,4`: the component, and its stages (0: the stem; None: everywhere).

    Raises:
        SpecError: text of another form.
    """
    component, at, stages = text.rpartition("@")
    if not at:
        return Component.parse(text), None
    targets = tuple(0 if part.strip() == "stem" else _stage_number(part, text) for part in stages.split(","))
    return Component.parse(component), targets


def _stage_number(text: str, whole: str) -> int:
    if not (text.strip().isascii() and text.strip().isdigit() and int(text) > 0):
        raise SpecError(f"{whole!r}: after @ come stage numbers from 1, or stem, separated by commas; got {text!r}")
    return int(text)


def validated(model: type[T], data: Any, where: str, error: type[Exception] = SpecError) -> T:
    """`data` as a `model`, or `error` with one sentence: where, got, allowed."""
    try:
        return model.model_validate(data)
    except ValidationError as failure:
        first = failure.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if str(part) != "constrained-int")  # one of a union
        got = "" if first["type"] == "missing" else f", got {first['input']!r}"
        allowed = ""
        if first["type"] == "extra_forbidden":
            allowed = " (unknown key; check its spelling, or upgrade resnet-lab)"
        raise error(f"{where}: {key}: {first['msg'][0].lower()}{first['msg'][1:]}{got}{allowed}") from None
