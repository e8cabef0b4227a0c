"""Work of two processes for tests/device/test_processes.py; run by torchrun with a folder for their results."""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from resnet_lab.device.processes import Agreement, Processes, begin, first_to_say


def main(folder: Path) -> None:
    start = os.environ["TORCHELASTIC_RESTART_COUNT"]
    with begin("cpu") as processes:
        found = look_around(processes, folder)
        (folder / f"{start}.{processes.rank}.json").write_text(json.dumps(found))
        if start == "0":
            lose_one(processes, folder)


def look_around(processes: Processes, folder: Path) -> dict[str, object]:
    run, again = processes.run_folder(folder / f"run {processes.rank} {os.environ['TORCHELASTIC_RESTART_COUNT']}")
    agreement = Agreement(processes)
    heard = [agreement(15 if (step, processes.rank) == (3, 1) else 0) for step in range(6)]
    if processes.is_first and not again:
        run.mkdir()
    return {
        "run": run.name,
        "again": again,
        "heard": heard,
        "threads": torch.get_num_threads(),
        "total": processes.total(torch.tensor([1.5, processes.rank])).tolist(),
        "least": processes.least(7 - processes.rank),
        "in order": [in_order(processes, total) for total in (1, 2, 5, 6)],
        "printed": [first_to_say("bad for all"), first_to_say(f"bad for {processes.rank}")],
    }


def in_order(processes: Processes, total: int) -> list[list[float]]:
    rows = torch.arange(2.0 * total).view(total, 2)
    return processes.gather_in_order(rows[processes.rank :: processes.world_size], total).tolist()


def lose_one(processes: Processes, folder: Path) -> None:
    """The second process is killed while the first waits for it."""
    processes.total(torch.ones(1))
    if processes.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun may be quicker to end this one than it is to notice
    try:
        processes.total(torch.ones(1))
    except RuntimeError as error:
        (folder / "lost").write_text(str(error))
        raise


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
