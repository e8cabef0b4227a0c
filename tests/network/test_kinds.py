"""The table of kinds against what it speaks of."""

import re
from pathlib import Path
from typing import Any

import pytest

from resnet_lab.network import hookspecs, zoo
from resnet_lab.network.kinds import AUGMENTATION, KINDS, kind_of, of_networks, placed
from resnet_lab.network.plugins import load
from resnet_lab.network.spec import CHANGES, BlockSpec, HeadSpec, StemSpec, chosen, default

BUILT_IN = load(only=(), files=())
PACKAGE = Path(hookspecs.__file__).parents[1]


@pytest.mark.parametrize("kind", KINDS.values(), ids=str)
def test_a_row_is_whole(kind) -> None:
    assert kind_of(kind.name) is kind
    assert getattr(hookspecs, kind.hook).__doc__
    given = ", ".join(kind.given)
    assert f"`factory({given})" in getattr(hookspecs, kind.hook).__doc__
    assert BUILT_IN.names(kind.name)
    if kind.places:
        assert kind.default in BUILT_IN.names(kind.name)
        assert kind.hint
    for side in ("", "test_"):
        assert (PACKAGE / f"scaffold/templates/{side}{kind.name}.py.j2").is_file()


def test_identifiers_of_kinds_are_unique() -> None:
    rows = (*KINDS.values(), AUGMENTATION)
    for attribute in ("name", "slot", "option", "hook", "words"):
        values = [getattr(kind, attribute) for kind in rows]
        assert len(set(values)) == len(values), attribute


def test_every_kind_has_a_field_in_its_places() -> None:
    for place, record in (("stem", StemSpec), ("block", BlockSpec), ("head", HeadSpec)):
        assert {kind.key for kind in placed(place)} <= set(record.model_fields)
    spec = zoo.get("resnet18")
    assert all(chosen(spec.head, kind.name) == default(kind.name) for kind in placed("head"))
    assert {kind.slot for kind in of_networks()} <= set(CHANGES)


def test_kinds_are_listed_in_one_place() -> None:
    """No module but the table has three or more of their names or slots in a row."""
    names = "|".join({*KINDS, *(kind.slot for kind in KINDS.values())})
    several = re.compile(rf"""(['"](?:--)?(?:{names})['"]\s*(?::[^,]*)?,\s*){{3}}""")
    assert several.search('FACTORS = ("model", "depth", "act", "conv", "norm", "attn", "block")')
    found: dict[str, Any] = {
        str(path.relative_to(PACKAGE)): match.group()
        for path in PACKAGE.rglob("*.py")
        if (match := several.search(path.read_text()))
    }
    # the order of words in a sentence, and makers for the kinds whose factories are given `parts`
    assert found.keys() == {"report/network.py", "testing/component_under_test.py"}
