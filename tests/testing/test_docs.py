"""Output of the kit that docs/plugins.md prints, and the page's worked plugin."""

import re
from pathlib import Path

import pytest

from resnet_lab.network.kinds import KINDS
from resnet_lab.network.plugins import load
from resnet_lab.plugin_api import API_VERSION
from resnet_lab.testing import check
from resnet_lab.testing.checking import checks_of

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
WORKED = re.search(r"## Worked example.*?```python\n(.*?)```", PAGE, re.DOTALL)


def printed(heading: str) -> dict[str, str]:
    """The first table after some words: names and what stands beside them."""
    table = re.search(r"\| check \|.*?\n\n", PAGE[PAGE.index(heading) :], re.DOTALL)
    assert table is not None
    return dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", table.group(), flags=re.MULTILINE))


def test_the_tables_are_the_kit_s() -> None:
    modules = [each for kind in KINDS if KINDS[kind].places for each in checks_of(kind)]
    assert printed("## The checks") == {each.name: each.about for each in modules}
    assert printed("For data sets:") == {each.name: each.about for each in checks_of("dataset")}
    assert printed("For trackers:") == {each.name: each.about for each in checks_of("tracker")}
    assert f"API_VERSION` is {API_VERSION}." in PAGE


@pytest.mark.slow
def test_the_worked_plugin_passes_as_printed(tmp_path: Path) -> None:
    assert WORKED is not None
    code = WORKED.group(1)
    assert len([line for line in code.splitlines() if line.strip()]) <= 21
    file = tmp_path / "loud.py"
    file.write_text(code)
    report = check("attention", "loud", registry=load(only=(), files=[file]))
    assert report.passed, str(report)
    assert {each.check for each in report.results if each.status == "skipped"} <= {"cuda"}
