"""All measurements that need a GPU: items in order of worth, in three parts of nine minutes at most.

usage: python benchmarks/gpu_day.py --part 1 --out OUT.json [--deadline SECONDS] [--rehearse] [--list] [NAME ...]

An item runs in a process of its own. One that no longer fits before the deadline is skipped, one that takes twice what
it is estimated to is ended, and one that raises or crashes is recorded; the day goes on. OUT.json is written after each
item, with what an item had measured before it was ended. Ratios are printed as they come, and those that are aimed at
once more at the end.
`--rehearse` runs the same on the processor, with tiny sizes and without the compiler: its figures mean nothing.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic
from typing import Any, TypeAlias

from resnet_lab.core.errors import RunError
from resnet_lab.core.files import write_atomically

DEADLINE = 540.0
PATIENCE = 2
"""Times its estimate that an item may take."""

GRACE = 5.0
"""Seconds that an item has to end by itself."""

OUTPUT = 20_000
"""Characters of a failed item's output that are kept."""

PRINTED = ("ratios", "notes")
"""What items find that is printed, and collected at the beginning of the file."""

Found: TypeAlias = dict[str, Any]


class Skipped(Exception):
    """What an item needs is not there; the text says what."""


@dataclass(frozen=True)
class Item:
    """A measurement.

    Attributes:
        part: of the day.
        seconds: that it is estimated to take.
        measure: given the sizes, yields what it finds, piece by piece; its first line of documentation says what.
            Lists under `PRINTED` grow, all else is replaced.
    """

    part: int
    seconds: float
    measure: Callable[[Any], Iterator[Found]]

    @property
    def name(self) -> str:
        return self.measure.__name__.replace("_", "-")

    @property
    def shows(self) -> str:
        return (self.measure.__doc__ or "").partition("\n")[0]


@dataclass
class Outcome:
    """What came of an item: `done`, `failed`, `skipped: why`, `ended: why` or `not run`."""

    result: str = "not run"
    seconds: float = 0.0
    found: Found = field(default_factory=dict)
    output: str = ""


def carried_out(item: Item, sizes: Any, limit: float) -> Outcome:
    """Run an item in a process of its own, for so many seconds at most."""
    with tempfile.TemporaryDirectory() as folder:
        record, log = Path(folder, "found.json"), Path(folder, "log")
        process = get_context("spawn").Process(target=_measure, args=(item.measure, sizes, record, log))
        start = monotonic()
        result = ""
        try:
            process.start()
            process.join(limit)
            if process.is_alive():
                result = f"ended: it was not done after {limit:.0f} s"
        except KeyboardInterrupt:
            result = "ended: interrupted"
        finally:
            _end(process)
        seconds = round(monotonic() - start, 1)
        content = json.loads(record.read_text()) if record.exists() else {}
        if not result:
            result = content.get("result") or f"failed: its process ended with exit code {process.exitcode}"
        output = log.read_text(errors="replace")[-OUTPUT:] if log.exists() and not result.startswith("done") else ""
        return Outcome(result, seconds, content.get("found", {}), output)


def _measure(measure: Callable[[Any], Iterator[Found]], sizes: Any, record: Path, log: Path) -> None:
    """In the item's process: write all that is found so far after each piece of it."""
    with suppress(PermissionError):
        os.setsid()  # so that what it starts ends with it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream.fileno())
    found: Found = {}
    result = "done"
    try:
        for piece in measure(sizes):
            lists = {key: found.get(key, []) + piece[key] for key in PRINTED if key in piece}
            found |= piece | lists
            write_atomically(record, json.dumps({"found": found}).encode())
    except Skipped as reason:
        result = f"skipped: {reason}"
    except Exception as error:
        traceback.print_exc()
        result = f"failed: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    write_atomically(record, json.dumps({"found": found, "result": result}).encode())


def _end(process: BaseProcess) -> None:
    """End a process and all that it started."""
    if process.pid is None:
        return
    for number, wait in ((signal.SIGTERM, GRACE), (signal.SIGKILL, None)):
        with suppress(ProcessLookupError, PermissionError):  # what it started may be there when it is not
            os.killpg(process.pid, number)
        if process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)
        process.join(wait)


def main(arguments: list[str] | None = None, items: Sequence[Item] = (), sizes: Any = None) -> int:
    """The exit code: 1 where an item failed or was ended, 130 where the day was interrupted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="of items; all of the part by default")
    parser.add_argument("--part", type=int, choices=(1, 2, 3), help="of the day; all by default")
    parser.add_argument("--deadline", type=float, default=DEADLINE, help=f"seconds in all; {DEADLINE:.0f} by default")
    parser.add_argument("--out", type=Path, help="write what is found as JSON, after each item")
    parser.add_argument("--rehearse", action="store_true", help="on the processor, with tiny sizes")
    parser.add_argument("--list", action="store_true", help="name the items and what they measure, and run none")
    options = parser.parse_args(arguments)
    start = monotonic()
    if not items:
        from gpu_items import ITEMS, REAL, TINY  # beside this file

        items, sizes = ITEMS, TINY if options.rehearse else REAL
    known = {item.name: item for item in items}
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"unknown item {unknown[0]!r}; known: {', '.join(known)}")
    chosen = [known[name] for name in options.names] or list(items)
    chosen = [item for item in chosen if options.part in (None, item.part)]
    if options.list:
        for item in chosen:
            print(f"part {item.part}, {item.seconds:.0f} s: {item.name}: {item.shows}")
        return 0
    if options.out is None:
        parser.error("name the file to write with --out")
    if not options.deadline > 0:
        parser.error(f"--deadline must be above 0, got {options.deadline:g}")
    outcomes = {item.name: Outcome() for item in chosen}
    about = {
        "began": datetime.now(UTC).isoformat(timespec="seconds"), "part": options.part, "deadline": options.deadline,
        "rehearsal": options.rehearse,
    }  # fmt: skip
    try:
        write(options.out, about, chosen, outcomes)
    except RunError as error:
        parser.error(str(error))
    try:
        with _interruptible():
            for item in chosen:
                left = options.deadline - (monotonic() - start)
                if item.seconds > left:
                    outcome = Outcome(
                        f"skipped: it takes about {item.seconds:.0f} s, and {max(0, left):.0f} s are left"
                    )
                else:
                    outcome = carried_out(item, sizes, min(left, PATIENCE * item.seconds))
                outcomes[item.name] = outcome
                write(options.out, about, chosen, outcomes)
                report(item, outcome)
                if outcome.result == "ended: interrupted":
                    return 130
    except KeyboardInterrupt:  # between two items
        write(options.out, about, chosen, outcomes)
        return 130
    summarise(outcomes)
    return int(any(outcome.result.startswith(("failed", "ended")) for outcome in outcomes.values()))


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM is taken as Ctrl-C is."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def write(path: Path, about: Found, items: Sequence[Item], outcomes: dict[str, Outcome]) -> None:
    """Write all that came of the items so far; what is printed of all of them once more, by itself."""
    content = {
        **about,
        **{key: [each for outcome in outcomes.values() for each in outcome.found.get(key, [])] for key in PRINTED},
        "items": {
            item.name: {"shows": item.shows, "estimate": item.seconds, **vars(outcomes[item.name])} for item in items
        },
    }
    write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())


def report(item: Item, outcome: Outcome) -> None:
    """Print what came of an item, its ratios and its notes."""
    print(f"{item.name}: {outcome.result} in {outcome.seconds:.0f} s", flush=True)
    for ratio in outcome.found.get("ratios", []):
        print(f"  {in_words(ratio)}", flush=True)
    for note in outcome.found.get("notes", []):
        print(f"  {note}", flush=True)
    if outcome.output and not outcome.result.startswith("skipped"):
        print("  | " + outcome.output.strip()[-2000:].replace("\n", "\n  | "), flush=True)


def summarise(outcomes: dict[str, Outcome]) -> None:
    """Print once more what is aimed at, and what was not measured to its end."""
    print("\nAims:", flush=True)
    for outcome in outcomes.values():
        for ratio in outcome.found.get("ratios", []):
            if ratio["at_least"] is not None:
                print(f"  {in_words(ratio)}", flush=True)
    for name, outcome in outcomes.items():
        if outcome.result != "done":
            print(f"{name}: {outcome.result}", flush=True)


def in_words(ratio: Found) -> str:
    """A ratio with interval, number of rounds and aim."""
    interval = "no interval" if ratio["interval"] is None else "{:.3f} to {:.3f}".format(*ratio["interval"])
    aim = "" if ratio["at_least"] is None else f"; aim {ratio['at_least']:g}: {ratio['met']}"
    return f"{ratio['what']}: {ratio['ratio']:.3f} ({interval}, n = {ratio['n']}){aim}"


if __name__ == "__main__":
    from gpu_day import main as main_of_module  # whose classes are those that the items import

    sys.exit(main_of_module())
