"""A study file of what a search found, against the baseline."""

import json
import re
from collections.abc import Mapping
from typing import Any

from resnet_lab.core.errors import printable
from resnet_lab.study.plan import Plan

HEAD = """\
# What a search found, against the baseline, at seeds that it did not see.
# It was chosen on the validation part at one seed, among {tried}: this says whether it holds.
"""

_BARE = re.compile(r"[A-Za-z0-9_-]+")


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
    return HEAD.format(tried=f"values of {printable(searched)}") + as_toml({**tables, "study": about})


def as_toml(tables: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """Tables of texts, numbers, truth values, lists of these, and tables, as TOML."""
    values = {key: value for key, value in tables.items() if not isinstance(value, Mapping)}
    inner = {key: value for key, value in tables.items() if isinstance(value, Mapping)}
    text = "".join(f"{_key(key)} = {_value(value)}\n" for key, value in values.items())
    if path and (values or not inner):
        text = f"\n[{'.'.join(map(_key, path))}]\n{text}"
    return text + "".join(as_toml(value, (*path, key)) for key, value in inner.items())


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False)  # texts, numbers and truth values are written alike
