"""The checks as a test of a plugin's own suite."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from resnet_lab.testing.checking import Checks, checks_of, under_test


def conformance(
    kind: str,
    component: str | Callable[..., Any],
    *,
    traits: Mapping[str, bool] | None = None,
    skip: Mapping[str, str] | None = None,
) -> Callable[..., None]:
    """A test function with one test for each check, for a plugin's own suite::

        from resnet_lab.testing import conformance

        test_conforms = conformance("attention", "simam")

    The arguments are those of `check`, and so are the errors, raised by the tests.
    """
    import pytest

    @cache
    def checks() -> Checks:  # made by the first test rather than while tests are collected
        return Checks(under_test(kind, component, traits=traits), skip or {})

    @pytest.mark.parametrize("check", [each.name for each in checks_of(kind)])
    def test_conforms(check: str) -> None:
        result = checks().result(check)
        if result.status == "skipped":
            pytest.skip(result.text)
        if result.status == "failed":
            pytest.fail(str(result), pytrace=False)

    return test_conforms
