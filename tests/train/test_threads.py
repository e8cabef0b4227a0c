"""Threads of a training: as asked for, as it began, and as many as others leave cores free."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from resnet_lab.device.threads import threads_each, using_threads
from resnet_lab.network import zoo
from resnet_lab.network.plugins import default_registry
from resnet_lab.study.executing import local
from resnet_lab.study.running import run_study
from resnet_lab.study.trials import StudyFolder
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.interruption import Interrupted
from resnet_lab.train.training import resume, train
from tests.cli.conftest import cli as cli
from tests.study.small import Listening, study
from tests.train.test_progressive_size import Kept

SPEC = zoo.get("resnet20").modified(input_size=8, in_channels=1)
CONFIG = TrainConfig(epochs=1, batch_size=256, precision="fp32", device="cpu", compile="off", threads=3)


class Counting(Kept):
    """Notes the threads of each step."""

    def __init__(self, stop_after: int = 0) -> None:
        super().__init__(stop_after)
        self.threads: set[int] = set()

    def step(self, *arguments) -> None:  # type: ignore[no-untyped-def]
        self.threads.add(torch.get_num_threads())
        super().step(*arguments)


def test_those_that_are_asked_for_are_used_recorded_and_resumed(tmp_path: Path) -> None:
    before, counting = torch.get_num_threads(), Counting(2)
    with pytest.raises(Interrupted):
        train(SPEC, "digits", CONFIG, folder=tmp_path / "run", watcher=counting, curves=False)
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert (counting.threads, record["device"]["threads"]) == ({3}, 3)
    resumed = Counting()
    with using_threads(1):
        resume(tmp_path / "run", watcher=resumed, curves=False)
    assert resumed.threads == {3}
    assert torch.get_num_threads() == before


def test_more_than_there_are_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Interrupted):
        train(SPEC, "digits", CONFIG, folder=tmp_path / "run", watcher=Kept(2), curves=False)
    monkeypatch.setattr("resnet_lab.train.training.allowed_cores", lambda: 2)
    kept = Kept()
    resume(tmp_path / "run", watcher=kept, curves=False)
    assert "3 threads as at the start, for the same bits; with 2 cores it takes longer" in kept.notes


def test_more_than_cores_are_warned_of_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_lab.train.training.allowed_cores", lambda: 2)
    kept = Kept()
    train(SPEC, "digits", CONFIG, folder=tmp_path / "run", watcher=kept, curves=False)
    assert "3 threads for 2 cores wait for each other, which can be many times slower" in kept.notes


def test_none_leaves_torch_as_it_is(tmp_path: Path) -> None:
    counting = Counting()
    with using_threads(2):
        config = CONFIG.model_copy(update={"threads": None})
        train(SPEC, "digits", config, folder=tmp_path / "run", watcher=counting, curves=False)
    assert counting.threads == {2}


@pytest.mark.parametrize(
    ("busy", "options", "used"), [(0.1, (), 8), (5.2, (), 3), (7.9, (), 1), (5.2, ("--deterministic",), 8)]
)
def test_the_command_leaves_busy_cores_to_others(
    cli: Callable, monkeypatch: pytest.MonkeyPatch, busy: float, options: tuple[str, ...], used: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.setattr("resnet_lab.train.free_threads.busy_cores", lambda: busy)
    quick = ("--size", 8, "--epochs", 1, "--batch-size", 256, "--precision", "fp32", "--compile", "off")
    with using_threads(8):
        code, _, err = cli("train", *quick, *options, "--device", "cpu", "--out", "run")
    assert code == 0, err
    assert json.loads(Path("run/run.json").read_text())["device"]["threads"] == used
    sentence = (
        f"other programs keep {busy:.1f} of 8 cores busy: training with {used} of 8 threads (--threads N); threads "
        "without a core of their own can make it many times slower"
    )
    assert (sentence in re.sub(r"\s+", " ", err)) == (busy > 1)


def test_the_environment_decides_where_it_says(cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("resnet_lab.train.free_threads.busy_cores", partial(pytest.fail, "looked for load"))
    quick = ("--size", 8, "--epochs", 1, "--batch-size", 256, "--precision", "fp32", "--compile", "off")
    assert cli("train", *quick, "--device", "cpu", "--out", "run").code == 0
    assert cli("train", *quick, "--device", "cpu", "--threads", 0, "--out", "other").err == (
        "resnet-lab: train: threads: input should be greater than or equal to 1, got 0\n"
    )


def test_trials_of_a_study_have_the_same_number(tmp_path: Path) -> None:
    """Also where it goes on with other threads, and processes that would need more cores than there are."""
    folder, chosen, listening = StudyFolder(tmp_path / "study"), study(), Listening()
    with using_threads(2):
        number = threads_each(1)
        run_study(chosen.first(1), folder, default_registry(), listening, **vars(local(1)))
    with using_threads(1):
        run_study(chosen, folder, default_registry(), listening, **vars(local(1)))
    records = [json.loads(path.read_text()) for path in folder.trials.glob("*/run.json")]
    assert len(records) == 4
    assert {record["device"]["threads"] for record in records} == {number}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("threads", "sentence"),
    [
        (1, "trials of this study have 1 thread each, all alike, and 1 core is there"),
        (2, "trials of this study have 2 threads each, all alike, and 2 cores are there"),
    ],
)
def test_processes_of_a_study_share_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, sentence: str
) -> None:
    folder, chosen, listening = StudyFolder(tmp_path / "study"), study(train={"threads": threads}), Listening()
    monkeypatch.setattr("resnet_lab.study.executing.allowed_cores", lambda: threads)
    folder.note(chosen)
    run_study(chosen, folder, default_registry(), listening, **vars(local(3)))
    assert f"1 at a time: {sentence}" in listening.notes
    records = [json.loads(path.read_text()) for path in folder.trials.glob("*/run.json")]
    assert {record["device"]["threads"] for record in records} == {threads}


@pytest.mark.parametrize(("seconds", "said"), [(0.36, True), (0.11, False)])
def test_an_emulated_precision_is_timed_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, said: bool
) -> None:
    config, kept = CONFIG.model_copy(update={"precision": "bf16", "threads": None}), Kept()
    train(SPEC, "digits", config, folder=tmp_path / "hardware", watcher=kept, curves=False)
    assert not any("emulates" in note for note in kept.notes)
    monkeypatch.setattr("resnet_lab.train.preparation.computes_bf16", lambda device: False)
    monkeypatch.setattr(
        "resnet_lab.device.trial_step.seconds_of_step",
        lambda network, placement, x: seconds if placement.dtype == torch.bfloat16 else 0.1,
    )
    train(SPEC, "digits", config, folder=tmp_path / "emulated", watcher=kept, curves=False)
    sentence = "a step takes 3.6 times as long in bf16, which this processor emulates, as in fp32 (--precision fp32)"
    assert (sentence in kept.notes) == said
    weights = [(tmp_path / name / "best.safetensors").read_bytes() for name in ("hardware", "emulated")]
    assert weights[0] == weights[1]
