"""The script of all measurements that need a GPU."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

gpu_day = pytest.importorskip("benchmarks.gpu_day", reason="benchmarks are not in this copy")

ROOT = Path(__file__).parents[1]
RATIO = {"what": "a over b", "ratio": 1.5, "interval": (1.4, 1.6), "n": 15, "at_least": 1.35, "met": "met"}


@pytest.fixture
def items(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return import_module("gpu_items")


def good(sizes: int) -> Iterator[dict[str, Any]]:
    """What is good."""
    yield {"given": sizes, "ratios": [RATIO]}
    yield {"more": True, "ratios": [{**RATIO, "interval": None, "at_least": None}]}


def raising(sizes: int) -> Iterator[dict[str, Any]]:
    """What raises."""
    yield {"before": 1}
    print("printed")
    raise ValueError("not like this\nat all")


def killed(sizes: int) -> Iterator[dict[str, Any]]:
    """What crashes."""
    yield {"before": 1}
    os.kill(os.getpid(), signal.SIGKILL)


def missing(sizes: int) -> Iterator[dict[str, Any]]:
    """What needs something."""
    yield {}
    raise gpu_day.Skipped("timm is not installed")


def endless(sizes: int) -> Iterator[dict[str, Any]]:
    """What hangs."""
    yield {}
    time.sleep(600)


def interrupting(sizes: int) -> Iterator[dict[str, Any]]:
    """What is interrupted."""
    yield {"before": 1}
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(600)


# Items, each in a process of its own


def test_what_an_item_finds_is_put_together() -> None:
    outcome = gpu_day.carried_out(gpu_day.Item(1, 1, good), 3, 300)
    assert (outcome.result, outcome.output) == ("done", "")
    assert outcome.found["given"] == 3
    assert outcome.found["more"] is True
    assert [ratio["interval"] for ratio in outcome.found["ratios"]] == [[1.4, 1.6], None]


def test_an_item_that_raises_is_recorded_with_its_traceback_and_what_it_found() -> None:
    outcome = gpu_day.carried_out(gpu_day.Item(1, 1, raising), 3, 300)
    assert outcome.result == "failed: ValueError: not like this"
    assert outcome.found == {"before": 1}
    assert outcome.output.startswith("printed\n")
    assert 'raise ValueError("not like this' in outcome.output


def test_an_item_that_crashes_leaves_what_it_found() -> None:
    outcome = gpu_day.carried_out(gpu_day.Item(1, 1, killed), 3, 300)
    assert outcome.result == "failed: its process ended with exit code -9"
    assert outcome.found == {"before": 1}


def test_an_item_that_lacks_something_is_skipped() -> None:
    outcome = gpu_day.carried_out(gpu_day.Item(1, 1, missing), 3, 300)
    assert outcome.result == "skipped: timm is not installed"


def test_an_item_that_hangs_is_ended() -> None:
    outcome = gpu_day.carried_out(gpu_day.Item(1, 1, endless), 3, 0.2)
    assert outcome.result == "ended: it was not done after 0 s"


def test_a_signal_ends_the_day_and_leaves_what_was_found(tmp_path: Path) -> None:
    before, out = signal.getsignal(signal.SIGTERM), tmp_path / "out.json"
    items = (gpu_day.Item(1, 1000, interrupting), gpu_day.Item(1, 1, good))
    assert gpu_day.main(["--out", str(out), "--deadline", "2000"], items) == 130
    found = json.loads(out.read_text())["items"]
    assert [row["result"] for row in found.values()] == ["ended: interrupted", "not run"]
    assert found["interrupting"]["found"] == {"before": 1}
    assert signal.getsignal(signal.SIGTERM) == before


# The day


class Pretended:
    """Items that take as long as they say, by a clock of their own."""

    def __init__(self, out: Path) -> None:
        self.now, self.out = 1000.0, out
        self.limits: list[float] = []
        self.seen: list[list[str]] = []
        self.came: dict[str, str] = {}

    def __call__(self, item: Any, sizes: object, limit: float) -> Any:
        self.limits.append(limit)
        self.seen.append([row["result"] for row in json.loads(self.out.read_text())["items"].values()])
        self.now += item.seconds
        return gpu_day.Outcome(self.came.get(item.name, "done"), item.seconds, {"ratios": [RATIO]})


@pytest.fixture
def day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretended:
    pretended = Pretended(tmp_path / "out.json")
    monkeypatch.setattr(gpu_day, "carried_out", pretended)
    monkeypatch.setattr(gpu_day, "monotonic", lambda: pretended.now)
    return pretended


def test_what_no_longer_fits_is_skipped(day: Pretended, capsys: pytest.CaptureFixture[str]) -> None:
    items = (gpu_day.Item(1, 10, good), gpu_day.Item(1, 50, raising), gpu_day.Item(1, 8, killed))
    assert gpu_day.main(["--out", str(day.out), "--deadline", "20"], items) == 0
    content = json.loads(day.out.read_text())
    skipped = "skipped: it takes about 50 s, and 10 s are left"
    assert [row["result"] for row in content["items"].values()] == ["done", skipped, "done"]
    assert day.limits == [20, 10]  # twice the estimate, or what is left
    assert day.seen == [["not run"] * 3, ["done", skipped, "not run"]]
    assert len(content["ratios"]) == 2
    shown = capsys.readouterr().out
    assert "good: done in 10 s\n  a over b: 1.500 (1.400 to 1.600, n = 15); aim 1.35: met\n" in shown
    assert shown.endswith(f"aim 1.35: met\nraising: {skipped}\n")


@pytest.mark.parametrize("result", ["failed: ValueError", "ended: it was not done after 2 s"])
def test_the_day_goes_on_after_a_failure(day: Pretended, result: str) -> None:
    day.came["raising"] = result
    items = (gpu_day.Item(1, 1, raising), gpu_day.Item(2, 1, good), gpu_day.Item(2, 1, missing))
    assert gpu_day.main(["--out", str(day.out)], items) == 1
    assert [row["result"] for row in json.loads(day.out.read_text())["items"].values()] == [result, "done", "done"]
    assert gpu_day.main(["--out", str(day.out), "--part", "2"], items) == 0
    assert list(json.loads(day.out.read_text())["items"]) == ["good", "missing"]
    assert gpu_day.main(["--out", str(day.out), "missing"], items) == 0
    assert list(json.loads(day.out.read_text())["items"]) == ["missing"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["godo", "--out", "a"], "unknown item 'godo'; known: good, raising"),
        (["good"], "name the file to write with --out"),
        (["good", "--out", "a", "--deadline", "-5"], "--deadline must be above 0, got -5"),
        (["good", "--out", "a", "--deadline", "nan"], "--deadline must be above 0, got nan"),
        (["good", "--out", "absent/a.json"], "absent/a.json: cannot be written"),
    ],
)
def test_wrong_arguments(capsys: pytest.CaptureFixture[str], arguments: list[str], text: str) -> None:
    with pytest.raises(SystemExit) as end:
        gpu_day.main(arguments, (gpu_day.Item(1, 1, good), gpu_day.Item(1, 1, raising)))
    assert end.value.code == 2
    assert text in capsys.readouterr().err


# Its items


def test_every_part_fits_its_deadline(items: ModuleType) -> None:
    parts = [item.part for item in items.ITEMS]
    assert parts == sorted(parts)
    for part in (1, 2, 3):
        assert sum(item.seconds for item in items.ITEMS if item.part == part) <= gpu_day.DEADLINE


def test_a_ratio_by_hand(items: ModuleType) -> None:
    """Of six values the extremes hold the median in 97% of cases, of five in 94%."""
    found = items.ratio("a over b", [2, 4, 6, 8, 10, 12, 14], [2, 2, 2, 2, 2, 2], 1.0)
    assert (found["ratio"], found["interval"], found["n"], found["met"]) == (3.5, (1.0, 6.0), 6, "met")
    assert items.ratio("a over b", [3, 3, 3, 3, 3, 3], [2] * 6, 1.6)["met"] == "missed"
    assert items.ratio("a over b", [3, 3, 3, 3, 3, 4], [2] * 6, 1.6)["met"] == "undecided"
    few = items.ratio("a over b", [3] * 5, [2] * 5, 1.4)
    assert (few["interval"], few["met"]) == (None, "undecided")
    assert gpu_day.in_words(few) == "a over b: 1.500 (no interval, n = 5); aim 1.4: undecided"
    assert items.ratio("a over b", [3], [2])["quartiles"] is None


def test_the_fastest_arms_are_compared_round_by_round(items: ModuleType) -> None:
    rows = [
        {"name": name, "infer": {"median_ms": median, "samples_ms": samples}}
        for name, median, samples in (("a", 2.0, [2.0] * 6), ("b", 5.0, [5.0] * 6), ("c", 3.0, [3.0, 4.0] * 4))
    ]
    [found] = items.faster("net", rows[:1], rows[1:], "infer", 1.05)
    assert (found["what"], found["ratio"], found["n"]) == ("net: a over c", 1.75, 6)
    assert items.faster("net", [], rows, "infer") == []


def test_arms_with_kernels_and_without(items: ModuleType) -> None:
    from resnet_lab.network.builtin.attentions import CBAM
    from resnet_lab.network.plugins import load
    from resnet_lab.network.registry import Kernels, Owner

    class Quick(CBAM):
        @staticmethod
        def suits(module: CBAM) -> bool:
            return True

    registry = load(only=(), files=())
    plain = items.arms_of([items.REAL.spec], {"attn": ["none", "cbam"]}, peers=["timm"])
    assert not any(arm.has_kernels for arm in items.with_kernels(plain, registry))
    assert len(items.with_kernels(plain, registry)) == len(plain)
    registry.add([], [Kernels(CBAM, Quick, Owner("quick", "1"))])
    arms = items.with_kernels(plain, registry)
    assert [arm.name for arm in arms] == ["none", "none (timm)", "cbam", "cbam (timm)", "cbam with kernels"]
    assert [arm.has_kernels for arm in arms] == [False] * 4 + [True]
    assert arms[-1].spec == arms[2].spec


def test_waits_are_counted_by_torch_s_own_warnings(items: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []
    monkeypatch.setattr("torch.cuda.set_sync_debug_mode", modes.append)
    with items.seen_waits() as found:
        assert modes == ["warn"]
        for _ in range(2):
            warnings.warn("called a synchronizing CUDA operation (Triggered internally)", UserWarning, stacklevel=1)
        warnings.warn("Synchronization debug mode is a prototype feature", UserWarning, stacklevel=1)
    assert modes == ["warn", "default"]
    assert list(found.values()) == [2]
    assert next(iter(found)).startswith(__file__)


@pytest.mark.long
def test_items_are_rehearsed_on_the_processor(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    options = ["--rehearse", "--deadline", "3600", "--out", str(out)]
    command = [sys.executable, "benchmarks/gpu_day.py", *options, "resnet50-training", "end-to-end"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    content = json.loads(out.read_text())
    assert done.returncode == 0, content
    assert content["rehearsal"] is True
    assert [row["result"] for row in content["items"].values()] == ["done", "done"]
    compared = {ratio["what"] for ratio in content["ratios"]}
    assert any(what.startswith("resnet18, train: compiled over compiled (") for what in compared)
    assert "resnet18, epochs: streamed over synthetic" in compared
    for ratio in content["ratios"]:
        assert ratio["n"] == 2
        assert ratio["what"] in done.stdout
