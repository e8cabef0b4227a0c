"""A study file of what a search found, against the baseline."""

from collections.abc import Mapping
from typing import Any

import tomli_w

from resnet_lab.core.errors import printable
from resnet_lab.study.plan import Plan

HEAD = """\
# What a search found, against the baseline, at seeds that it did not see.
# It was chosen on the validation part at one seed, among {tried}: this tests whether it holds.
"""


def confirming(tables: Mapping[str, Any], plan: Plan, baseline: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """The text of a file that `study run` takes.

    Args:
        tables: that the search was read from.
        baseline, found: values of each arm, by the keys of factors.
    """
    left_out = ("factors", "search", "fraction")
    about = {key: value for key, value in tables.get("study", {}).items() if key not in left_out}
    about |= {"name": f"{plan.name}-confirm", "first_seed": plan.first_seed + 1}
    about["arms"] = {"baseline": dict(baseline), "found": dict(found)}
    searched = ", ".join([*plan.factors, *plan.search])
    return HEAD.format(tried=f"values of {printable(searched)}") + tomli_w.dumps({**tables, "study": about})
