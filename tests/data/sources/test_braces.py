from time import process_time

import pytest

from resnet_lab.core.errors import DataError
from resnet_lab.data.sources.braces import MAX_SHARDS, _count, expanded

PATTERNS = (
    "a.tar", "a-{000..099}.tar", "a{1..3}", "{a..c}", "index{,.backup}", "python{2.{5..7},3.{2,3}}", "{07..10}",
    "{a..g..2}", "{4..1}", "{2..-1}", r"{1\{2,3}", "x{1}y", "{{1..3},b}{c,d}", "{a,b", "a}b", "a,b", "{1..10..3}",
    "{1..2}::{a,b,c}", r"\{1..3\}", "{}", "{a..C}", "{1..5..0}", "{A..z}", "{{1..2}}",
)  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_as_many_as_the_library_expands_to(pattern: str) -> None:
    shards = pytest.importorskip("webdataset.shardlists", reason="needs the package webdataset")
    try:
        wanted = shards.expand_urls(pattern)
    except ValueError:
        with pytest.raises(DataError, match=r": the braces do not match; close each that is open$"):
            expanded(pattern)
        return
    assert sum(_count(part, "") for part in pattern.split("::")) == len(wanted)
    assert list(expanded(pattern)) == wanted


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        (
            "{000000..999999999}.tar",
            "wds:{000000..999999999}.tar: 1,000,000,000 shards, and a set has at most 100,000",
        ),
        ("{0..99}{0..99}{0..99}", "wds:{0..99}{0..99}{0..99}: 1,000,000 shards, and a set has at most 100,000"),
        ("{1..60000}::{1..60000}", "wds:{1..60000}::{1..60000}: 120,000 shards, and a set has at most 100,000; write "),
        ("${HOME}/a.tar", "wds:${HOME}/a.tar: variables in the names of shards are not read; write the value itself"),
        ("{" * 40 + "}" * 40, f"wds:{'{' * 40}{'}' * 40}: braces within braces, deeper than 16"),
        ("x" * 5000, "'wds:xxxxx"),
        ("{" * 5000, "'wds:{{{{{"),
    ],
)
def test_what_would_be_too_many(pattern: str, problem: str) -> None:
    start = process_time()
    with pytest.raises(DataError) as failure:
        expanded(pattern)
    assert str(failure.value).startswith(problem)
    assert len(str(failure.value)) < 300
    assert process_time() - start < 5


def test_as_many_as_there_may_be() -> None:
    assert _count(f"{{1..{MAX_SHARDS}}}", "") == MAX_SHARDS
