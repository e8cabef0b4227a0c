"""Results of checks, as text and as JSON."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from textwrap import shorten
from typing import Any, Literal

Status = Literal["passed", "failed", "skipped"]


class BreachError(Exception):
    """A contract that a component breaks.

    Attributes:
        what: happened.
        case: the smallest one in which it did.
        hint: what usually mends it.
    """

    def __init__(self, what: str, case: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what, self.case, self.hint = what, case, hint


class NotCheckedError(Exception):
    """A check that cannot run here; the text has the reason."""


@dataclass(frozen=True)
class Result:
    """Result of one check.

    Attributes:
        text: what was wrong, why it was skipped, or what was measured.
        case: in which a failure shows, the smallest that was found.
        hint: what usually mends it.
    """

    check: str
    status: Status
    text: str = ""
    case: str = ""
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.check}: {self.status}" + (f": {self.text}" if self.text else "")
        return text + (f" [{self.case}]" if self.case else "") + (f"; hint: {self.hint}" if self.hint else "")


@dataclass(frozen=True)
class Report:
    """All checks of one component.

    Attributes:
        source: the distribution or file that it comes from, with version.
    """

    kind: str
    component: str
    source: str
    results: tuple[Result, ...]

    @property
    def failures(self) -> tuple[Result, ...]:
        """Results of checks that failed."""
        return tuple(result for result in self.results if result.status == "failed")

    @property
    def passed(self) -> bool:
        """Whether none failed."""
        return not self.failures

    def of(self, check: str) -> Result:
        """The result of one check, by its name."""
        return next(result for result in self.results if result.check == check)

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        return {
            "kind": self.kind,
            "component": self.component,
            "source": self.source,
            "passed": self.passed,
            "checks": [asdict(result) for result in self.results],
        }

    def __str__(self) -> str:
        return "\n".join([f"{self.kind} {self.component} ({self.source})", *(f"  {each}" for each in self.results)])


def in_a_line(error: BaseException) -> str:
    """First line of an exception; torch's have many."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {shorten(lines[0], 200)}" if lines else type(error).__name__


@contextmanager
def breach_if_raised(case: str, hint: str = "", what: str = "raises") -> Iterator[None]:
    """Turn whatever third-party code raises in here into a `BreachError`."""
    try:
        yield
    except (BreachError, NotCheckedError):
        raise
    except Exception as error:
        raise BreachError(f"{what} {in_a_line(error)}", case, hint) from error
