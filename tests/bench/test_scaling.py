import numpy as np
import pytest

from resnet_lab.bench.arms import arms_of
from resnet_lab.bench.scaling import exponents
from resnet_lab.network import zoo
from tests.bench.results_by_hand import result

R18 = zoo.get("resnet18")


def test_a_power_is_found() -> None:
    """Times of 3 size^2, each round at another speed of the machine."""
    speeds = np.array([1.0, 1.3, 0.9, 1.1, 1.0, 1.2])
    arms = arms_of([R18], {}, sizes=[32, 64, 96])
    results = [result(arm, (3 * arm.spec.input_size**2 * speeds).tolist(), [1.0] * 6) for arm in arms]
    (found,) = exponents(results, "infer")
    assert (found.quantity, found.values) == ("size", (32, 64, 96))
    assert found.exponent == pytest.approx(2)
    assert found.interval == pytest.approx((2, 2))
    assert found.misfit == pytest.approx(1)


def test_arms_may_have_other_numbers_of_rounds() -> None:
    arms = arms_of([R18], {}, sizes=[32, 64, 96])
    rounds = {32: 7, 64: 6, 96: 9}
    results = [
        result(arm, [float(arm.spec.input_size)] * (number := rounds[arm.spec.input_size]), [1.0] * number)
        for arm in arms
    ]
    (found,) = exponents(results, "infer")
    assert found.exponent == pytest.approx(1)


def test_what_is_no_power_shows() -> None:
    arms = arms_of([R18], {}, batches=[1, 2, 4])
    times = {1: 10.0, 2: 10.0, 4: 40.0}
    (found,) = exponents([result(arm, [times[arm.batch]] * 6, [1.0] * 6) for arm in arms], "infer")
    assert found.quantity == "batch"
    assert found.exponent == pytest.approx(1)
    assert found.misfit == pytest.approx(
        2 ** (2 / 3)
    )  # the line goes through 8, 16, 32 times 10^(...): by least squares


def test_depths_are_compared_where_blocks_are_alike() -> None:
    arms = arms_of([zoo.get(name) for name in ("resnet50", "resnet101", "resnet152")], {})
    depths = {"resnet50": 50, "resnet101": 101, "resnet152": 152}
    (found,) = exponents([result(arm, [float(depths[arm.spec.name])] * 6, [1.0] * 6) for arm in arms], "infer")
    assert (found.quantity, found.values, found.exponent) == ("depth", (50, 101, 152), pytest.approx(1))


def test_two_values_or_other_networks_have_no_exponent() -> None:
    arms = arms_of([R18], {"act": ["relu", "gelu"]}, sizes=[32, 64])
    assert exponents([result(arm, [1.0] * 6, [1.0] * 6) for arm in arms], "infer") == []
    assert exponents([result(arm, [1.0] * 6, [1.0] * 6) for arm in arms], "train") == []
