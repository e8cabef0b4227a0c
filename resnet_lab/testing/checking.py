"""All checks in order, and their results for one component."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch

from resnet_lab.core.errors import PluginError, nearest
from resnet_lab.network.component import Component
from resnet_lab.network.kinds import KINDS, of_networks
from resnet_lab.network.plugins import default_registry, load
from resnet_lab.network.registry import Entry, Owner, Registry
from resnet_lab.testing import data_sets, networks, shapes, storing, tracing, trackers, values
from resnet_lab.testing.component_under_test import ComponentUnderTest
from resnet_lab.testing.data_sets import DataSetUnderTest
from resnet_lab.testing.results import BreachError, NotCheckedError, Report, Result, in_a_line
from resnet_lab.testing.trackers import TrackerUnderTest

Compiler: TypeAlias = Literal["aot_eager", "inductor"]
"""Backends of torch.compile: the first traces alone, and needs no C++ compiler."""

FOLLOWS = "not before this passes:"
UNREGISTERED = Owner("not registered", "-")


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        run: gives what was measured; raises `BreachError` or `NotCheckedError`.
        needs: checks without which it would only repeat their failure.
        only: kinds that it is for; empty for all that are modules.
    """

    name: str
    run: Callable[[Any], str]
    needs: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    @property
    def about(self) -> str:
        """Description of a check, in one line."""
        return (self.run.__doc__ or "").splitlines()[0]


SAME = ("shapes", "determinism", "input_kept")
"""Checks without which outputs cannot be compared."""

MODULE_CHECKS = (
    Check("shapes", shapes.shapes),
    Check("fixed_state", storing.fixed_state, ("shapes",)),
    Check("determinism", values.determinism, ("shapes", "fixed_state")),
    Check("input_kept", values.input_kept, ("shapes",), tuple(kind.name for kind in of_networks() if kind.input_kept)),
    Check("elementwise", shapes.elementwise, SAME, tuple(kind.name for kind in of_networks() if kind.elementwise)),
    Check("traits", shapes.traits, SAME, tuple(kind.name for kind in of_networks() if kind.traits)),
    Check("dtype", values.dtype, SAME),
    Check("channels_last", values.channels_last, SAME),
    Check("gradient", values.gradient, (*SAME, "dtype")),
    Check("parameters", values.parameters, SAME),
    Check("train_eval", values.train_eval, SAME),
    Check("autocast", values.autocast, SAME),
    Check("initial_weights", storing.initial_weights, ("shapes",)),
    Check("state_dict", storing.state_dict, SAME),
    Check("deep_copy", storing.deep_copy, SAME),
    Check("spec", storing.spec, (*SAME, "initial_weights")),
    Check("compile", tracing.compile_of("aot_eager"), SAME),
    Check("export", tracing.export, ("compile",)),
    Check("onnx", tracing.onnx, ("export",)),
    Check("network", networks.network, ("shapes", "input_kept")),
    Check("parts", networks.parts, ("network",), tuple(kind.name for kind in of_networks() if kind.applies_parts)),
    Check("macs", networks.macs, ("shapes", "compile")),
    Check("cuda", values.cuda, SAME),
    Check("cost", networks.cost, ("network", "macs")),
)

DATA_CHECKS = (
    Check("classes", data_sets.classes),
    Check("labels", data_sets.labels),
    Check("paths", data_sets.paths),
    Check("decoding", data_sets.decoding),
    Check("determinism", data_sets.determinism),
    Check("spec", data_sets.spec, ("determinism",)),
)

TRACKER_CHECKS = (
    Check("course", trackers.course),
    Check("resumption", trackers.resumption, ("course",)),
    Check("config_kept", trackers.config_kept, ("course",)),
    Check("randomness", trackers.randomness, ("course",)),
    Check("spec", trackers.spec, ("course",)),
)

Tested: TypeAlias = ComponentUnderTest | DataSetUnderTest | TrackerUnderTest

WITHOUT_PLACE: Mapping[str, tuple[tuple[Check, ...], type[DataSetUnderTest | TrackerUnderTest]]] = {
    "dataset": (DATA_CHECKS, DataSetUnderTest),
    "tracker": (TRACKER_CHECKS, TrackerUnderTest),
}
"""Checks of the kinds that are no part of a network, and what they are made of."""


def checks_of(kind: str, compiler: Compiler = "aot_eager") -> tuple[Check, ...]:
    """The checks of a kind, in order."""
    if kind in WITHOUT_PLACE:
        return WITHOUT_PLACE[kind][0]
    chosen = (check for check in MODULE_CHECKS if not check.only or kind in check.only)
    return tuple(
        replace(check, run=tracing.compile_of(compiler)) if check.name == "compile" else check for check in chosen
    )


def check(
    kind: str,
    component: str | Callable[..., Any],
    *,
    registry: Registry | None = None,
    traits: Mapping[str, bool] | None = None,
    skip: Mapping[str, str] | None = None,
    compiler: Compiler = "aot_eager",
    on_result: Callable[[Result], None] = lambda result: None,
) -> Report:
    """Check that a component keeps its hook's contract, and all else that the program does with components.

    Args:
        kind: one of `network.kinds.KINDS`, such as `attention`.
        component: a registered name, with parameters perhaps (`simam(epsilon=1e-3)`), or a factory.
        registry: where names are looked up; by default the program's own and those of installed plugins.
        traits: of a factory, as they would be registered.
        skip: checks that are not made, each with the reason.
        compiler: the backend of torch.compile.
        on_result: called with each result as it comes.

    Raises:
        SpecError: no such component, or parameters that it does not have.
        PluginError: a factory that could not be registered, or names that are no checks.
    """
    checks = Checks(under_test(kind, component, registry, traits), skip or {}, compiler)
    for name in checks.names:
        on_result(checks.result(name))
    return checks.report()


class Checks:
    """The checks of one component, each made once, when it is first asked for."""

    def __init__(self, tested: Tested, skip: Mapping[str, str], compiler: Compiler = "aot_eager") -> None:
        self._tested, self._skip = tested, skip
        self._checks = {each.name: each for each in checks_of(tested.entry.kind, compiler)}
        self._results: dict[str, Result] = {}
        for name in skip:
            if name not in self._checks:
                raise PluginError(f"there is no check {name!r} of {tested.entry.kind}s; {nearest(name, self._checks)}")

    @property
    def names(self) -> list[str]:
        """Names of the checks, in order."""
        return list(self._checks)

    def result(self, name: str) -> Result:
        """Result of a check; those that it needs are run before it."""
        if name not in self._results:
            self._results[name] = self._made(self._checks[name])
        return self._results[name]

    def report(self) -> Report:
        """All of them."""
        entry = self._tested.entry
        results = tuple(self.result(name) for name in self.names)
        return Report(entry.kind, str(self._tested.component), str(entry.owner), results)

    def _made(self, each: Check) -> Result:
        if each.name in self._skip:
            return Result(each.name, "skipped", self._skip[each.name])
        if each.name == "cuda" and not torch.cuda.is_available():
            return Result(each.name, "skipped", "there is no CUDA device")
        for need in (need for need in each.needs if need in self._checks):
            before = self.result(need)
            if before.status == "failed" or before.text.startswith(FOLLOWS):
                return Result(each.name, "skipped", f"{FOLLOWS} {need}")
        try:
            with torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore"):
                return Result(each.name, "passed", each.run(self._tested))
        except NotCheckedError as reason:
            return Result(each.name, "skipped", str(reason))
        except BreachError as breach:
            return Result(each.name, "failed", breach.what, breach.case, breach.hint)
        except Exception as error:
            return Result(each.name, "failed", f"raises {in_a_line(error)}")


def under_test(
    kind: str,
    component: str | Callable[..., Any],
    registry: Registry | None = None,
    traits: Mapping[str, bool] | None = None,
) -> Tested:
    """Component under test; raises like `check`."""
    if kind not in KINDS:
        raise PluginError(f"unknown kind {kind!r} of component; {nearest(kind, KINDS)}")
    if isinstance(component, str):
        wanted = Component.parse(component)
        registry = registry or default_registry()
        entry = registry.get(kind, wanted.name, "check")
        entry.bind(dict(wanted.parameters), "check")
    else:
        registry = load(only=(), files=())
        name = "checked_" + "".join(letter if letter.isalnum() else "_" for letter in component.__name__.lower())
        entry, wanted = Entry(kind, name, component, UNREGISTERED, traits or {}), Component(name=name)
        entry.check()
        registry.add([entry])
    made = WITHOUT_PLACE[kind][1] if kind in WITHOUT_PLACE else ComponentUnderTest
    return made(entry, wanted, registry)
