"""A component as text: `cbam(reduction=8)`, for some stages `cbam@3,4`, and lists of these."""

import ast
import math
import re
import warnings
from collections.abc import Sequence
from typing import Any, Self, TypeAlias

from pydantic import model_serializer, model_validator

from resnet_lab.core.comma_list import comma_list
from resnet_lab.core.errors import SpecError
from resnet_lab.core.records import Record, repr_of

ParameterValue: TypeAlias = bool | int | float | str

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST = 1000
_TRUTH = {"true": True, "false": False, "True": True, "False": False}


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
        problem = f"component {repr_of(text)} is not of the form name or name(key=value, ...)"
        if len(text) > _LONGEST:
            raise SpecError(f"{problem} of at most {_LONGEST} letters")
        try:
            with warnings.catch_warnings(action="ignore"):  # of Python's own about what is refused below
                tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
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
"""Any way to write a component: `"cbam@3,4"`, a `Component`, or several of these, of which the last wins."""


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


def parse_assignment(text: str) -> tuple[Component, tuple[int, ...] | None]:
    """Read `cbam`, `cbam(reduction=8)` or `cbam@3,4`: the component, and its stages (0: the stem; None: everywhere).

    Raises:
        SpecError: text of another form.
    """
    if len(parts := comma_list(text[:_LONGEST])) > 1 and all(_NAME.match(part) for part in parts):
        raise SpecError(
            f"{repr_of(text)} has {len(parts)} components where one belongs; give each by itself, as "
            f"{repr_of(parts[0])} and {repr_of(parts[1])}: an option is repeated, and a file or a call has a list"
        )
    component, at, stages = text.rpartition("@")
    if not at:
        return Component.parse(text), None
    targets = tuple(0 if part == "stem" else _stage_number(part, text) for part in comma_list(stages))
    return Component.parse(component), targets


def _stage_number(text: str, whole: str) -> int:
    if not (text.strip().isascii() and text.strip().isdigit() and int(text) > 0):
        raise SpecError(f"{whole!r}: after @ come stage numbers from 1, or stem, separated by commas; got {text!r}")
    return int(text) if len(text.strip()) < 10 else 10**9


def assignments(choice: Choice | None, slot: str) -> list[tuple[Component, tuple[int, ...] | None]]:
    """Components of a choice with the stages that each goes to; raises `SpecError` like `parse_assignment`."""
    if choice is None:
        return []
    if isinstance(choice, Component):
        return [(choice, None)]
    if isinstance(choice, str):
        return [parse_assignment(choice)]
    if isinstance(choice, Sequence):
        return [assignment for item in choice for assignment in assignments(item, slot)]
    raise SpecError(f"{slot} must be a component, written as text, or a list of them, got {choice!r}")
