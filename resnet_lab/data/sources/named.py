"""Sources that a library knows by name: `torchvision:CIFAR10`, `hf:mnist(label=digit)`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from resnet_lab.core.errors import DataError, SpecError, nearest
from resnet_lab.network.spec import Component, ParameterValue


@dataclass(frozen=True)
class Named:
    """A library's short name, a data set's name in it, and parameters."""

    library: str
    name: str
    parameters: Mapping[str, ParameterValue]

    @classmethod
    def parse(cls, library: str, text: str) -> Self:
        """Read `NAME` or `NAME(key=value, ...)`; values are numbers, truth values, words, or quoted texts.

        Raises:
            DataError: the text is not of that form.
        """
        name, bracket, rest = text.partition("(")
        try:
            call = Component.parse(f"x{bracket}{rest}")
        except SpecError:
            call = None
        if call is None or not name.strip():
            raise DataError(
                f"{library}:{text} is not of the form {library}:NAME or {library}:NAME(key=value, ...); "
                "quote a path as a value"
            )
        return cls(library, name.strip(), dict(call.parameters))

    def having(self, **parameters: ParameterValue) -> Self:
        """The same with some parameters changed."""
        return replace(self, parameters={**self.parameters, **parameters})

    def require_known(self, known: Mapping[str, object] | set[str]) -> None:
        """Raise `DataError` for a parameter that is not among the known."""
        for key in self.parameters:
            if key not in known:
                raise DataError(f"{self}: no parameter {key!r}; {nearest(key, known)}")

    def __str__(self) -> str:
        call = Component(name="x", parameters=tuple(sorted(self.parameters.items())))
        return f"{self.library}:{self.name}{str(call).removeprefix('x')}"
