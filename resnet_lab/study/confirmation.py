"""A study file of what a search found, against the baseline."""

from collections.abc import Mapping
from typing import Any

import tomli_w

from resnet_lab.core.errors import printable
from resnet_lab.recipes.recipe import Tables
from resnet_lab.study.plan import Plan

HEAD = """\
# What a search found, against the baseline, at seeds that it did not see.
# It was chosen on the validation part at one seed, among {tried}: this tests whether it holds.
"""


def confirming(
    tables: Mapping[str, Any], base: Tables, plan: Plan, baseline: Mapping[str, Any], found: Mapping[str, Any]
) -> str:
    """The text of a file that `study run` takes.

    Args:
        tables: that the search was read from.
        base: the experiment that they give; where it has no gain of initial weights, another than a new study's.
        baseline, found: values of each arm, by the keys of factors.
    """
    left_out = ("factors", "search", "fraction")
    about = {key: value for key, value in tables.get("study", {}).items() if key not in left_out}
    about |= {"name": f"{plan.name}-confirm", "first_seed": plan.first_seed + 1}
    about["arms"] = {"baseline": dict(baseline), "found": dict(found)}
    train = {"init_gain": base["train"].get("init_gain", "activation"), **tables.get("train", {})}
    searched = ", ".join([*plan.factors, *plan.search])
    content = tomli_w.dumps({**tables, "train": train, "study": about})
    return HEAD.format(tried=f"values of {printable(searched)}") + content
