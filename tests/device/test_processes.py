import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torch.distributed import HashStore, TCPStore  # type: ignore[attr-defined]

from resnet_lab.core.errors import ConfigError, DataError, ResNetLabError, RunError, error_of
from resnet_lab.device import Placement
from resnet_lab.device import processes as room
from resnet_lab.device.processes import LOST, Agreement, ProcessError, Processes, begin, first_to_say, is_first
from resnet_lab.train.tally import DivergedError
from tests.torchrun import torchrun

T = TypeVar("T")


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The second of two processes on one machine, with the store that torchrun would keep."""
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    for name, value in {
        "RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0, "GROUP_WORLD_SIZE": 1,
        "TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_RESTART_COUNT": 0, "TORCHELASTIC_USE_AGENT_STORE": True,
        "MASTER_ADDR": "localhost", "MASTER_PORT": store.port,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    yield monkeypatch
    del store  # which lives until here


def everywhere(
    work: Callable[[Processes], T], machines: int = 1, each: int = 2, lasting: HashStore | None = None
) -> list[T | BaseException]:
    """Results of `work` in every process: threads here, which share a store as processes do."""
    store, lasting = HashStore(), lasting or HashStore()
    world = [
        Processes(rank, machines * each, rank % each, rank // each, machines, "cpu", store, lasting)
        for rank in range(machines * each)
    ]
    with ThreadPoolExecutor(len(world)) as pool:
        futures = [pool.submit(work, processes) for processes in world]
        return [future.exception() or future.result() for future in futures]


def test_without_torchrun_a_process_is_alone() -> None:
    with begin("cpu") as processes:
        rows = torch.rand(3, 2)
        assert (processes.rank, processes.world_size, processes.device) == (0, 1, "cpu")
        assert processes.is_first
        assert is_first()
        assert first_to_say("anything")
        assert processes.from_first(lambda: {"a": [1, 2]}) == {"a": [1, 2]}
        assert processes.total(rows) is rows
        assert processes.gather_in_order(rows, 3) is rows
        assert [Agreement(processes)(number) for number in (0, 15)] == [0, 15]
        assert processes.run_folder(Path("runs/new")) == (Path("runs/new"), False)


def test_rank_0_works_for_all() -> None:
    worked: list[int] = []

    def work(processes: Processes) -> list[Any]:
        return [processes.from_first(lambda: worked.append(processes.rank) or ["x", len(worked)]) for _ in range(2)]

    assert everywhere(work) == [[["x", 1], ["x", 2]]] * 2
    assert worked == [0, 0]


class OfAPlugin(DataError):
    """A class that the program does not have; only its base has a meaning elsewhere."""


@pytest.mark.parametrize("kind", [DataError, ConfigError, DivergedError, ResNetLabError])
def test_an_error_on_rank_0_ends_all_alike(kind: type[ResNetLabError]) -> None:
    def work(processes: Processes) -> None:
        def fail() -> None:
            raise kind("a.jpg: not an image")

        processes.from_first(fail)

    errors = everywhere(work)
    assert [(type(error), str(error)) for error in errors] == [(kind, "a.jpg: not an image")] * 2


def test_an_error_of_a_plugin_s_own_class_arrives_as_the_program_s() -> None:
    def work(processes: Processes) -> None:
        def fail() -> None:
            raise OfAPlugin("a.jpg: not an image")

        processes.from_first(fail)

    assert [type(error) for error in everywhere(work)] == [OfAPlugin, DataError]


def test_a_class_that_another_process_names_is_looked_up_and_never_imported() -> None:
    for name in ("os.system", "SystemExit", "KeyError", "OfAPlugin", "resnet_lab.core.errors.ConfigError"):
        assert type(error_of([name], "text")) is ResNetLabError
    assert type(error_of(["SystemExit", "RunError", "DataError"], "text")) is RunError


def test_a_bug_on_rank_0_ends_all() -> None:
    first, other = everywhere(lambda processes: processes.from_first(lambda: 1 // 0))
    assert isinstance(first, ZeroDivisionError)
    assert isinstance(other, ProcessError)
    assert str(other) == "rank 0 has ended (ZeroDivisionError: integer division or modulo by zero)"


def test_the_first_of_each_machine_goes_ahead() -> None:
    order: list[str] = []
    slow = Event()

    def work(processes: Processes) -> None:
        with processes.first_ahead():
            if processes.machine == 1 and processes.local_rank == 0:
                slow.wait(0.2)
            order.append("first" if processes.local_rank == 0 else "other")

    assert everywhere(work, machines=2, each=2) == [None] * 4
    assert order == ["first", "first", "other", "other"]


def test_what_fails_on_one_machine_ends_all() -> None:
    went_on: list[int] = []

    def work(processes: Processes) -> None:
        with processes.first_ahead():
            if processes.machine == 1:
                raise DataError("/data is not there")
        went_on.append(processes.rank)

    assert [str(error) for error in everywhere(work, machines=2, each=2)] == ["/data is not there"] * 4
    assert went_on == []


def test_a_restart_resumes_in_the_first_folder(tmp_path: Path) -> None:
    lasting = HashStore()
    first = everywhere(lambda p: p.run_folder(tmp_path / f"first {p.rank}"), lasting=lasting)
    assert first == [(tmp_path / "first 0", False)] * 2
    before_it_was_made = everywhere(lambda p: p.run_folder(tmp_path / "second"), lasting=lasting)
    assert before_it_was_made == first
    (tmp_path / "first 0").mkdir()
    again = everywhere(lambda p: p.run_folder(tmp_path / "third"), lasting=lasting)
    assert again == [(tmp_path / "first 0", True)] * 2


def test_an_older_folder_is_never_resumed(tmp_path: Path) -> None:
    lasting = HashStore()
    for _ in range(2):
        assert everywhere(lambda p: p.run_folder(tmp_path), lasting=lasting) == [(tmp_path, False)] * 2


def test_a_start_is_distinguished_from_earlier_ones() -> None:
    store, names = HashStore(), []
    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            late = [pool.submit(room._meet, store, rank, 3) for rank in (1, 2)]
            names.append({room._meet(store, 0, 3), *(future.result(20) for future in late)})
    assert [len(each) for each in names] == [1, 1, 1]
    assert len(set.union(*names)) == 3


def test_a_message_is_reported_once_per_start(launched: pytest.MonkeyPatch) -> None:
    assert [first_to_say("no such folder"), first_to_say("no such folder"), first_to_say("other")] == [
        True,
        False,
        True,
    ]
    launched.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert first_to_say("no such folder")


def test_a_message_is_reported_where_the_store_is_gone(launched: pytest.MonkeyPatch) -> None:
    launched.setattr(room, "PATIENCE", timedelta(seconds=0.1))
    launched.setenv("MASTER_PORT", "9")
    assert [first_to_say("bad"), first_to_say("bad")] == [True, True]


def test_who_is_first_is_known_before_all_meet(launched: pytest.MonkeyPatch) -> None:
    assert not is_first()
    launched.setenv("RANK", "0")
    assert is_first()


@pytest.mark.parametrize(
    ("requested", "gpus", "here", "expected"),
    [("cuda", 2, 2, "cuda:1"), ("cuda:3", 4, 1, "cuda:3"), ("cpu", 0, 2, "cpu")],
)
def test_each_process_takes_its_own_device(
    launched: pytest.MonkeyPatch, requested: str, gpus: int, here: int, expected: str
) -> None:
    launched.setenv("LOCAL_WORLD_SIZE", str(here))
    _have_gpus(launched, gpus)
    assert str(room._own_device(requested)) == expected


@pytest.mark.parametrize(
    ("requested", "gpus", "text"),
    [
        (
            "cuda",
            1,
            "2 processes were started on a machine with 1 GPUs; give torchrun --nproc-per-node 1, or the training "
            "--device cpu",
        ),
        ("cuda:0", 2, "device 'cuda:0' is one GPU for 2 processes; write cuda, and each takes its own"),
    ],
)
def test_gpus_that_do_not_suffice(launched: pytest.MonkeyPatch, requested: str, gpus: int, text: str) -> None:
    _have_gpus(launched, gpus)
    with pytest.raises(ConfigError) as caught, begin(requested):
        pass
    assert str(caught.value) == text


def _have_gpus(patch: pytest.MonkeyPatch, number: int) -> None:
    patch.setattr(room, "choose", lambda requested: Placement(torch.device(requested), torch.float32, "a test"))
    patch.setattr(torch.cuda, "device_count", lambda: number)


def test_rows_of_another_number_are_refused() -> None:
    with pytest.raises(ValueError, match="process 1 of 2 has 3 of 5 rows, not 2"):
        Processes(1, 2).gather_in_order(torch.zeros(3, 1), 5)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Results of two processes at their first start and, after one of them was killed, at the second."""
    folder = tmp_path_factory.mktemp("together")
    done = torchrun("tests.two_processes", folder, restarts=1)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    found = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    return {**found, "lost": (folder / "lost").read_text(), "stderr": done.stderr}


STARTS = ["0.0", "0.1", "1.0", "1.1"]


@pytest.mark.slow
@pytest.mark.parametrize("who", STARTS)
def test_rows_come_in_order(found: dict[str, Any], who: str) -> None:
    assert found[who]["in order"] == [np.arange(2 * total).reshape(total, 2).tolist() for total in (1, 2, 5, 6)]


@pytest.mark.slow
@pytest.mark.parametrize("who", STARTS)
def test_totals(found: dict[str, Any], who: str) -> None:
    assert found[who]["total"] == [3, 1]
    assert found[who]["least"] == 6


@pytest.mark.slow
@pytest.mark.parametrize("who", STARTS)
def test_all_hear_of_a_signal_at_one_step(found: dict[str, Any], who: str) -> None:
    assert found[who]["heard"] == [0, 0, 0, 0, 15, 0]


@pytest.mark.slow
@pytest.mark.parametrize("who", STARTS)
def test_cores_are_shared_out(found: dict[str, Any], who: str) -> None:
    assert found[who]["threads"] == max(1, len(os.sched_getaffinity(0)) // 2)


@pytest.mark.slow
@pytest.mark.parametrize("start", [0, 1])
def test_a_common_error_is_reported_by_one(found: dict[str, Any], start: int) -> None:
    printed = [found[f"{start}.{rank}"]["printed"] for rank in (0, 1)]
    assert sorted(each[0] for each in printed) == [False, True]
    assert [each[1] for each in printed] == [True, True]


@pytest.mark.slow
def test_a_lost_process_ends_the_others_with_a_sentence(found: dict[str, Any]) -> None:
    assert "gloo/transport" in found["lost"]
    assert f"ProcessError: {LOST}" in found["stderr"]


@pytest.mark.slow
def test_a_restart_finds_the_run_folder(found: dict[str, Any]) -> None:
    assert [(found[who]["run"], found[who]["again"]) for who in STARTS] == [("run 0 0", False)] * 2 + [
        ("run 0 0", True)
    ] * 2


def test_an_experimental_device_is_for_one_process(launched: pytest.MonkeyPatch) -> None:
    launched.setattr(room, "choose", lambda requested: Placement(torch.device(requested), torch.float32, ""))
    with pytest.raises(ConfigError) as failure:
        room._own_device("mps")
    assert str(failure.value) == ("device 'mps' is for one process; start it without torchrun, or with --device cpu")
