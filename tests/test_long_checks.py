"""The script of the checks that are too long for every change."""

import json
import sys
from pathlib import Path

import pytest

long_checks = pytest.importorskip("benchmarks.long_checks", reason="benchmarks are not in this copy")

ROOT = Path(__file__).parents[1]


def says(text: str, code: int) -> tuple[str, ...]:
    return (sys.executable, "-c", f"print({text!r}); raise SystemExit({code})")


def test_passes_and_failures_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checks = (
        long_checks.Check("good", "all is well", says("fine", 0)),
        long_checks.Check("bad", "nothing is", says("broken at 3", 1)),
        long_checks.Check("missed", "tests that find no images", (*says("1 passed, 1 skipped in 0.1s", 0), "pytest")),
    )
    assert long_checks.main(["--out", str(tmp_path / "out.json")], checks) == 1
    shown = capsys.readouterr().out
    assert [f"{word} in" in shown for word in ("passed", "failed", "skipped")] == [True] * 3
    assert "broken at 3" in shown
    assert "fine" not in shown
    content = json.loads((tmp_path / "out.json").read_text())
    assert [(row["name"], row["result"], row["output"].strip()) for row in content["checks"]] == [
        ("good", "passed", "fine"), ("bad", "failed", "broken at 3"),
        ("missed", "skipped", "1 passed, 1 skipped in 0.1s"),
    ]  # fmt: skip
    assert content["machine"]["type"] == "cpu"
    assert long_checks.main(["good"], checks) == 0


def test_an_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        long_checks.main(["intervalls"])
    assert end.value.code == 2
    assert "unknown check 'intervalls'; known: combinations, intervals, " in capsys.readouterr().err


def test_an_interrupted_run_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(check: object, folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(long_checks, "carried_out", interrupted)
    assert long_checks.main(["intervals", "--out", str(tmp_path / "out.json")]) == 130
    assert [row["result"] for row in json.loads((tmp_path / "out.json").read_text())["checks"]] == ["not run"]


def test_every_long_test_is_run() -> None:
    mark = "pytest.mark." + "long"
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py") if mark in path.read_text()}
    assert files == {check.command[-1] for check in long_checks.CHECKS if "pytest" in check.command}
