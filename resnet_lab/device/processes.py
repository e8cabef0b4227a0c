"""Processes that work together, one per device, as torchrun starts them. Legend: N rows over all processes.

Two ways lead from one process to another: messages through torchrun's store, which may wait for as long as another
works and which a signal interrupts; and collectives of torch.distributed, for tensors. What is called here by one
process has to be called by all, in the same order.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from itertools import count
from pathlib import Path
from time import sleep
from typing import Any, TypeVar
from uuid import uuid4

import torch
from torch import Tensor, distributed
from torch.distributed import HashStore, TCPStore  # type: ignore[attr-defined]  # documented, not in __all__
from torch.distributed.distributed_c10d import PrefixStore, Store, Work

from resnet_lab.core.errors import ConfigError, ResNetLabError, error_of, kinds_of
from resnet_lab.core.processor import allowed_cores
from resnet_lab.device import choose
from resnet_lab.device.accelerators import EXPERIMENTAL

T = TypeVar("T")

LOST = (
    "another of the processes that torchrun started has ended, and its report says which; what was saved last is "
    "whole: resume from it with `resnet-lab train --resume`"
)

POLL = 0.02
"""Seconds between two looks into the store."""

PATIENCE = timedelta(seconds=5)
"""Timeout for a store that may be gone already."""


class ProcessError(ResNetLabError):
    """Processes that cannot come together, or have lost one of them."""


@dataclass(frozen=True, eq=False)
class Processes:
    """The processes at work, as one of them sees them; by default it is alone.

    Attributes:
        rank: of this process, from 0.
        world_size: number of processes.
        local_rank: of this process on its machine.
        machine: number of its machine, from 0.
        device: that it works on, as `device.choose` takes it.
        store: where the messages of this start are.
        lasting: the same store, with what earlier starts left in it.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    machine: int = 0
    machines: int = 1
    device: str = "auto"
    store: Store = field(default_factory=HashStore)
    lasting: Store = field(default_factory=HashStore)
    _calls: Iterator[int] = field(default_factory=count)

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which writes and logs."""
        return self.rank == 0

    def from_first(self, make: Callable[[], T]) -> T:
        """Broadcast what `make` returns on rank 0, where alone it runs while the others wait; of JSON's types.

        Raises:
            ResNetLabError: in every process the same, of the same class, where `make` raises one.
            ProcessError: where `make` raises something else on rank 0.
        """
        key = f"from first {next(self._calls)}"
        if self.is_first:
            with self._answering(key) as answer:
                answer.append(make())
        return self._answer(key)  # type: ignore[no-any-return]

    @contextmanager
    def first_ahead(self) -> Iterator[None]:
        """Run the body first on local rank 0 of each machine, and then on all others.

        For what leaves something on the disk, so that the others find it there.

        Raises:
            ResNetLabError: in every process the same, where it fails in a first one, as `from_first` has it.
        """
        key = f"ahead {next(self._calls)}"
        if self.local_rank == 0:
            with self._answering(f"{key} of {self.machine}") as answer:
                answer.append(None)
                yield
        for machine in range(self.machines):
            self._answer(f"{key} of {machine}")
        if self.local_rank != 0:
            yield

    def run_folder(self, proposed: Path) -> tuple[Path, bool]:
        """The folder to train in, and whether to resume what is there.

        It is rank 0's proposal. When torchrun has restarted all processes because one was lost, it is the
        proposal of the start before, however the new one is called; what existed before torchrun started is not ours.
        """

        def choose_folder() -> tuple[str, bool]:
            if self.lasting.check(["run folder"]):
                folder = Path(self.lasting.get("run folder").decode())
                return str(folder), folder.exists()
            if not os.path.lexists(proposed):
                self.lasting.set("run folder", str(proposed.absolute()))
            return str(proposed), False

        folder, again = self.from_first(choose_folder)
        return Path(folder), again

    def total(self, x: Tensor) -> Tensor:
        """Sum over all processes; has no gradient, and does not wait for the device."""
        if self.world_size == 1:
            return x
        x = x.detach().clone()
        distributed.all_reduce(x)
        return x

    def least(self, number: int) -> int:
        """The least that any process has."""
        if self.world_size == 1:
            return number
        x = torch.tensor(number)
        distributed.all_reduce(x, distributed.ReduceOp.MIN)
        return int(x)

    def gather_in_order(self, rows: Tensor, total: int) -> Tensor:
        """All N = `total` rows, shape (N, ...), of which each process has every `world_size`-th from its rank on."""
        if len(rows) != (mine := len(range(self.rank, total, self.world_size))):
            raise ValueError(f"process {self.rank} of {self.world_size} has {len(rows)} of {total} rows, not {mine}")
        if self.world_size == 1:
            return rows
        padded = rows.new_zeros((-(-total // self.world_size), *rows.shape[1:]))
        padded[:mine] = rows
        shares = [torch.empty_like(padded) for _ in range(self.world_size)]
        distributed.all_gather(shares, padded)
        return torch.stack(shares, 1).flatten(0, 1)[:total]

    @contextmanager
    def _answering(self, key: str) -> Iterator[list[Any]]:
        """Sends the others what is put into the list, or the error."""
        answer: list[Any] = []
        try:
            yield answer
        except BaseException as error:
            if isinstance(error, ResNetLabError):
                self.store.set(key, json.dumps({"error": str(error), "kinds": kinds_of(error)}))
            else:
                self.store.set(key, json.dumps({"failure": f"{type(error).__name__}: {error}"}))
            raise
        self.store.set(key, json.dumps({"result": answer[0]}))

    def _answer(self, key: str) -> Any:
        _await(self.store, [key])
        answer = json.loads(self.store.get(key))
        if "error" in answer:
            raise error_of(answer["kinds"], answer["error"])
        if "failure" in answer:
            raise ProcessError(f"rank 0 has ended ({answer['failure']})")
        return answer["result"]


class Agreement:
    """Something that all processes learn at the same step, without waiting for each other or for a device.

    At each step every process sends a number, and receives the greatest that any sent at the step before: a signal that
    reaches one process stops all of them at one step.
    """

    def __init__(self, processes: Processes) -> None:
        self._alone = processes.world_size == 1
        self._pending: tuple[Tensor, Work] | None = None

    def __call__(self, number: int) -> int:
        if self._alone:
            return number
        agreed = 0
        if self._pending is not None:
            sent, work = self._pending
            work.wait()
            agreed = int(sent)  # on the CPU: no device is waited for
        sent = torch.tensor(number)
        self._pending = sent, distributed.all_reduce(sent, distributed.ReduceOp.MAX, async_op=True)
        return agreed


@contextmanager
def begin(device: str = "auto") -> Iterator[Processes]:
    """Join the processes that torchrun started, and leave them at the end; without torchrun this process is alone.

    Each process of a machine takes its own GPU, and its part of the machine's cores. Tensors on GPUs go by NCCL, others
    by gloo.

    Args:
        device: as requested, as `device.choose` takes it.

    Raises:
        ConfigError: there are fewer GPUs than processes, or one is wished for by several.
        ProcessError: the processes cannot connect, or while this is entered one of them is lost.
    """
    if not _launched():
        yield Processes(device=device)
        return
    rank, world_size, local_rank, machine, machines = (
        int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "GROUP_RANK", "GROUP_WORLD_SIZE")
    )
    own = _own_device(device)
    with _part_of_the_cores():
        try:
            lasting = _open_store()
            store = PrefixStore(_meet(lasting, rank, world_size), lasting)
            _join(PrefixStore("group", store), rank, world_size, own)
        except RuntimeError as error:
            raise ProcessError(f"the processes cannot connect: {str(error).splitlines()[0]}") from error
        try:
            yield Processes(rank, world_size, local_rank, machine, machines, str(own), store, lasting)
        except BaseException as error:
            if own.type == "cpu":  # on a GPU that would wait for processes that may be gone
                distributed.destroy_process_group()
            if _means_loss(error):
                raise ProcessError(LOST) from error
            raise
        distributed.destroy_process_group()


def is_first() -> bool:
    """Whether this process is the first, or alone; known before `begin`."""
    return not _launched() or os.environ["RANK"] == "0"


def first_to_say(text: str) -> bool:
    """Whether no other process has come with a message, so that it is this one's to print.

    Errors common to all are reported once; errors of one by that one. Good before, within and after
    `begin`.
    """
    if not _launched():
        return True
    key = f"reported {os.environ['TORCHELASTIC_RESTART_COUNT']} {sha256(text.encode()).hexdigest()}"
    try:
        return _open_store(PATIENCE).add(key, 1) == 1
    except RuntimeError:
        return True  # better twice than never


def _launched() -> bool:
    return distributed.is_torchelastic_launched()


def _open_store(timeout: timedelta | None = None) -> Store:
    """The store that torchrun keeps at MASTER_ADDR, or rank 0 where torchrun is configured not to."""
    kept = os.environ["TORCHELASTIC_USE_AGENT_STORE"] == "True"
    return TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=not kept and timeout is None and os.environ["RANK"] == "0",
        timeout=timeout or timedelta(minutes=30),
    )


def _meet(store: Store, rank: int, world_size: int) -> str:
    """A name for this start, known to the processes that live in it.

    The store still holds what earlier starts left there, and torchrun's count of restarts is each machine's own: so the
    rank 0 invents a name, and a process that finds its own mark among the answers knows that it is current.
    """
    mark = uuid4().hex
    if rank == 0:
        store.set("start", mark)
        keys = [f"{mark} {other}" for other in range(1, world_size)]
        _await(store, keys)
        store.set(f"{mark} all", " ".join(store.get(key).decode() for key in keys))
        return mark
    while True:
        _await(store, ["start"])
        start = store.get("start").decode()
        store.set(f"{start} {rank}", mark)
        if store.check([f"{start} all"]) and mark in store.get(f"{start} all").decode():
            return start
        sleep(POLL)


def _await(store: Store, keys: list[str]) -> None:
    """Wait in small steps, since torch does not react to signals; torchrun ends those who wait for the dead."""
    while keys and not store.check(keys):
        sleep(POLL)


def _join(store: Store, rank: int, world_size: int, device: torch.device) -> None:
    if device.type == "cpu":
        distributed.init_process_group("gloo", store=store, rank=rank, world_size=world_size)
        return
    torch.cuda.set_device(device)
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl", store=store, rank=rank, world_size=world_size, device_id=device
    )


def _own_device(requested: str) -> torch.device:
    device, here = choose(requested).device, int(os.environ["LOCAL_WORLD_SIZE"])
    if device.type == "cpu":
        return device
    if device.type in EXPERIMENTAL:
        raise ConfigError(f"device {requested!r} is for one process; start it without torchrun, or with --device cpu")
    if device.index is not None:
        if here > 1:
            raise ConfigError(
                f"device {requested!r} is one GPU for {here} processes; write cuda, and each takes its own"
            )
        return device
    if here > (there := torch.cuda.device_count()):
        raise ConfigError(
            f"{here} processes were started on a machine with {there} GPUs; give torchrun --nproc-per-node {there}, or "
            "the training --device cpu"
        )
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


@contextmanager
def _part_of_the_cores() -> Iterator[None]:
    """Share the cores out: where the user sets nothing, torchrun gives each process one thread."""
    before = torch.get_num_threads()
    if os.environ.get("OMP_NUM_THREADS", "1") == "1":
        torch.set_num_threads(max(1, allowed_cores() // int(os.environ["LOCAL_WORLD_SIZE"])))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _means_loss(error: BaseException) -> bool:
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and "gloo/transport" in str(error)
    )
