import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom

from resnet_lab.core.errors import RunError
from resnet_lab.core.processor import allowed_cores
from resnet_lab.network.plugins import default_registry
from resnet_lab.study import costs
from resnet_lab.study.costs import kept_costs, measure_costs
from resnet_lab.study.design import Arm
from resnet_lab.study.trials import StudyFolder
from tests.bench.short import shorten
from tests.study.small import study

CLASSES = 10
BATCH = 16


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    folder = StudyFolder(tmp_path_factory.mktemp("costs"))
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        assert measure_costs(arms(), CLASSES, folder, default_registry()) is None
    return folder


def arms(**changes: Any) -> Sequence[Arm]:
    return study(train={"batch_size": BATCH, **changes}).arms


def test_figures_are_the_bench_s(measured: StudyFolder) -> None:
    found = kept_costs(arms(), CLASSES, measured)
    assert found is not None
    rows = {row["name"]: row for row in json.loads(measured.bench.read_text())["arms"]}
    for name in ("none", "eca"):
        for mode, images in {"latency": 1, "infer": BATCH, "train": BATCH}.items():
            cost = found.of(name, mode)  # type: ignore[arg-type]
            assert cost is not None
            samples = rows[name][mode]["samples_ms"]
            assert cost.median_ms == np.median(samples)
            assert cost.images == images
            assert cost.images_a_second == pytest.approx(1000 * images / np.median(samples))
            assert cost.ratio == pytest.approx(np.median(np.divide(samples, rows["none"][mode]["samples_ms"])))
            assert cost.interval_ms is not None
            low, high = (sorted(samples).index(end) for end in cost.interval_ms)
            assert low + high == len(samples) - 1  # symmetric order statistics, which hold the median in 95%
            assert binom.cdf(low, len(samples), 0.5) <= 0.025 < binom.cdf(low + 1, len(samples), 0.5)
    assert found.of("absent", "train") is None
    assert found.machine["type"] == "cpu"


def test_changed_arms_are_measured_again(measured: StudyFolder) -> None:
    other = study(train={"batch_size": BATCH}, factors={"attn": ["none", "se"]})
    assert kept_costs(other.arms, CLASSES, measured) is None
    assert kept_costs(arms(batch_size=128), CLASSES, measured) is None
    assert kept_costs(arms(), CLASSES + 1, measured) is None


@pytest.mark.parametrize(
    ("was", "asked", "taken"),
    [
        ("off", "off", True), (False, "off", True), ("on", "on", True), (True, "on", True), ("off", "auto", True),
        ("off", "on", False), (False, "on", False), (True, "max", False), ("on", "off", False),
    ],
)  # fmt: skip
def test_costs_timed_eager_are_not_those_of_compiled_arms(
    tmp_path: Path, measured: StudyFolder, was: str | bool, asked: str, taken: bool
) -> None:
    content = json.loads(measured.bench.read_text())
    for row in content["arms"]:
        row["compile"] = was
    folder = StudyFolder(tmp_path)
    folder.bench.write_text(json.dumps(content))
    assert (kept_costs(arms(compile=asked), CLASSES, folder) is not None) == taken


def test_costs_in_another_layout_or_precision_are_others(measured: StudyFolder) -> None:
    row = json.loads(measured.bench.read_text())["arms"][0]
    for same, other in (
        ({"channels_last": row["channels_last"]}, {"channels_last": not row["channels_last"]}),
        ({"precision": row["precision"]}, {"precision": "fp32" if row["precision"] != "fp32" else "bf16"}),
    ):
        assert kept_costs(arms(**same), CLASSES, measured) is not None
        assert kept_costs(arms(**other), CLASSES, measured) is None


def test_one_of_several_measures(tmp_path: Path, measured: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    folder = StudyFolder(tmp_path)
    content = json.loads(measured.bench.read_text())

    def bench(*arguments: object, **options: object) -> None:
        calls.append(threading.get_ident())

    monkeypatch.setattr(costs, "bench", bench)
    monkeypatch.setattr(costs, "as_json", lambda found, device: content)
    threads = [
        threading.Thread(target=measure_costs, args=(arms(), CLASSES, folder, default_registry())) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_they_are_measured_with_the_threads_of_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "bench", lambda *arguments, **options: torch.get_num_threads())
    monkeypatch.setattr(costs, "as_json", lambda found, device: {"timed": found, "written": torch.get_num_threads()})
    cores, before = allowed_cores(), torch.get_num_threads()
    for asked, expected in ((1, 1), (2, min(2, cores)), (1000, cores), (None, min(before, cores))):
        folder = StudyFolder(tmp_path / str(asked))
        assert measure_costs(arms(threads=asked), CLASSES, folder, default_registry()) is None
        assert json.loads(folder.bench.read_text()) == {"timed": expected, "written": expected}
        assert torch.get_num_threads() == before


def test_arms_that_cannot_be_timed_are_reported(tmp_path: Path) -> None:
    problem = measure_costs(arms(precision="fp16"), CLASSES, StudyFolder(tmp_path), default_registry())
    assert problem is not None
    assert problem.startswith("costs are not measured: ")
    assert "fp16" in problem


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda content: content["machine"].clear(), "machine.type: field required"),
        (lambda content: content["machine"].pop("name"), "machine.name: field required"),
        (lambda content: content["machine"].update(threads="2"),
         "machine.threads: input should be a valid integer, got '2'"),
        (lambda content: content["machine"].update(more=[]),
         "machine.more.str: input should be a valid string, got []"),
        (lambda content: content["arms"].append({**content["arms"][0]}), "the arm 'none' is listed twice"),
    ],
)  # fmt: skip
def test_a_file_of_another_form(
    tmp_path: Path, measured: StudyFolder, change: Callable[[dict[str, Any]], object], problem: str
) -> None:
    content = json.loads(measured.bench.read_text())
    change(content)
    folder = StudyFolder(tmp_path)
    folder.bench.write_text(json.dumps(content))
    with pytest.raises(RunError) as failure:
        kept_costs(arms(), CLASSES, folder)
    assert str(failure.value) == f"{folder.bench}: damaged: {problem}; restore the file, or measure again"


def test_a_damaged_file(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    folder.bench.write_text("{}")
    with pytest.raises(RunError, match="not a result of `resnet-lab bench --out`"):
        kept_costs(arms(), CLASSES, folder)
