"""Records as `benchmarks/fuzz_records.py` mutates them, a few hundred here and 10,000 in its long check."""

from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import pytest

from resnet_lab.core.errors import RunError

fuzz_records = pytest.importorskip("benchmarks.fuzz_records", reason="benchmarks are not in this copy")


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return fuzz_records.Records(tmp_path_factory.mktemp("records"))


@pytest.mark.slow
def test_mutated_records_are_read_or_refused(records: Any) -> None:
    before = getrusage(RUSAGE_SELF).ru_maxrss / 1024
    figures = fuzz_records.fuzz(records, 400, seed=1, limit=20)
    assert figures["failures"] == []
    assert sum(sum(kind.values()) for kind in figures["kinds"].values()) == 400
    assert all(kind["refused"] >= 5 for kind in figures["kinds"].values())
    assert sum(kind.get("read", 0) for kind in figures["kinds"].values()) > 20
    assert figures["reasons"] > 40
    assert figures["peak_rss_mib"] - before < 1024


def test_what_goes_wrong_is_seen(records: Any) -> None:
    path, reader = records.readers["bench.json"]
    for fault, message in (
        (lambda path: {}["a"], "KeyError"),
        (lambda path: (path.parent / "marker").write_text(""), "AssertionError: open"),
        (lambda path: (path.parent / "made").mkdir(), "AssertionError: os.mkdir"),
    ):
        records.readers["bench.json"] = (path, fault)
        figures = fuzz_records.fuzz(records, 10, seed=1)
        assert [failure["error"].startswith(message) for failure in figures["failures"] if "error" in failure] == [True]
        for made in ("marker", "made"):
            there = records.folder / made
            there.rmdir() if there.is_dir() else there.unlink(missing_ok=True)

    def long(path: Path) -> None:
        raise RunError("x" * 3000)

    records.readers["bench.json"] = (path, long)
    assert [failure["record"] for failure in fuzz_records.fuzz(records, 10, seed=1)["failures"]] == ["bench.json"]
    records.readers["bench.json"] = (path, reader)
