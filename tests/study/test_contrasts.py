from itertools import product

import numpy as np
import pandas as pd
import pytest
from statsmodels.formula.api import ols

from resnet_lab.study.contrasts import arm_contrasts, factorial_contrasts

FACTORS = {"act": ("relu", "gelu"), "conv": ("dense", "depthwise"), "attn": ("none", "se", "cbam")}
ARMS = [dict(zip(FACTORS, levels, strict=True)) for levels in product(*FACTORS.values())]


def test_two_by_two_by_hand() -> None:
    """Scores 1, 2 (b), 3 (a), 7 (both): a makes 2 and 5, in the mean 3.5; b 1 and 4: 2.5; together 3 more."""
    factors = {"f": ("0", "a"), "g": ("0", "b")}
    arms = [dict(zip(factors, levels, strict=True)) for levels in product(*factors.values())]
    found = {each.name: each.weights @ [1, 2, 3, 7] for each in factorial_contrasts(factors, arms)}
    assert found == pytest.approx({"f a": 3.5, "g b": 2.5, "f a x g b": 3})


def test_effects_are_those_of_a_linear_model() -> None:
    """Main effects from ordinary least squares with sum-coded factors; interactions from treatment coding."""
    scores = np.random.default_rng(0).normal(size=len(ARMS))
    table = pd.DataFrame({name: [arm[name] for arm in ARMS] for name in FACTORS} | {"y": scores})
    model = ols("y ~ C(act, Sum) * C(conv, Sum) * C(attn, Sum)", table).fit()
    found = {each.name: float(each.weights @ scores) for each in factorial_contrasts(FACTORS, ARMS)}
    predicted = {
        (act, conv, attn): model.predict(pd.DataFrame({"act": [act], "conv": [conv], "attn": [attn]}))[0]
        for act, conv, attn in product(*FACTORS.values())
    }

    def mean(**levels: str) -> float:
        named = {tuple(zip(FACTORS, key, strict=True)): value for key, value in predicted.items()}
        return float(np.mean([value for key, value in named.items() if levels.items() <= dict(key).items()]))

    assert found["attn cbam"] == pytest.approx(mean(attn="cbam") - mean(attn="none"))
    assert found["act gelu"] == pytest.approx(mean(act="gelu") - mean(act="relu"))
    together = mean(act="gelu", attn="se") - mean(act="gelu", attn="none")
    apart = mean(act="relu", attn="se") - mean(act="relu", attn="none")
    assert found["act gelu x attn se"] == pytest.approx(together - apart)
    assert len(found) == 1 + 1 + 2 + 1 + 2 + 2


def test_weights_sum_to_zero() -> None:
    for each in (*factorial_contrasts(FACTORS, ARMS), *arm_contrasts("abc")):
        assert each.weights.sum() == pytest.approx(0)


def test_aliases_of_half_a_factorial() -> None:
    """The half of 2 x 2 x 2 with an even number of changes: each main effect is another pair's interaction."""
    factors = dict.fromkeys("fgh", ("0", "1"))
    arms = [dict(zip(factors, levels, strict=True)) for levels in product("01", repeat=3) if levels.count("1") % 2 == 0]
    found = {each.name: each for each in factorial_contrasts(factors, arms)}
    assert {name: each.aliases for name, each in found.items()} == {
        "f 1": ("g 1 x h 1",), "g 1": ("f 1 x h 1",), "h 1": ("f 1 x g 1",),
    }  # fmt: skip
    scores = np.array([0.0, 1.0, 1.0, 0.0])  # of 000, 011, 101, 110
    assert found["h 1"].weights @ scores == pytest.approx(1)


def test_arms_against_the_first() -> None:
    found = arm_contrasts(["base", "x", "y"])
    assert [(each.name, each.kind, each.weights.tolist()) for each in found] == [
        ("x", "arm", [-1, 1, 0]), ("y", "arm", [-1, 0, 1]),
    ]  # fmt: skip


def test_a_factor_of_one_level_asks_nothing() -> None:
    assert factorial_contrasts({"act": ("relu",)}, [{"act": "relu"}]) == []
