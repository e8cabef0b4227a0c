"""Mutate records and read each: whatever a file holds, it is read or refused with a sentence, and nothing else happens.

usage: python -m benchmarks.fuzz_records [--records 10000] [--seed 0] [--out OUT.json]

The records are those of a training, a study and a search, made at the start. Each mutant takes the place of its file,
and all that the program makes of such a file is asked for. `mutant(records, name, number, seed)` gives it again.
"""

import argparse
import faulthandler
import json
import os
import re
import struct
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

import torch

from benchmarks.fuzz_images import context
from resnet_lab.bench import results
from resnet_lab.core.errors import PluginWarning, ResNetLabError
from resnet_lab.core.history import read_history
from resnet_lab.data.sources import open_images
from resnet_lab.data.split import from_csv_as_far_as_there
from resnet_lab.device import choose
from resnet_lab.evaluation.opened_run import OpenedRun, Sources
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.evaluation.run_summary import look_at
from resnet_lab.export.card import model_card
from resnet_lab.export.exported_model import ExportedModel as Exported
from resnet_lab.export.privacy import public_record
from resnet_lab.network import checkpoint, zoo
from resnet_lab.network.cost import measure
from resnet_lab.network.plugins import load, require_files
from resnet_lab.network.spec import ModelSpec
from resnet_lab.report.run_words import class_parts, configuration, provenance, remarks, sentence
from resnet_lab.study import search
from resnet_lab.study.design import study_from
from resnet_lab.study.results import findings
from resnet_lab.study.trials import StudyFolder, carry_out, trials_of
from resnet_lab.train.progress import TrainingWatcher
from resnet_lab.train.record import recorded_choices, require_plugins

SECONDS = 2
MEMORY = 2**30
GIVEN_UP = 60

TABLES: dict[str, Any] = {
    "study": {"factors": {"attn": ["none", "eca"]}, "seeds": 1},
    "model": {"model": "resnet20", "input_size": 8},
    "data": {"source": "digits"},
    "train": {"epochs": 1, "batch_size": 256, "device": "cpu", "precision": "fp32", "compile": "off"},
}
TOUCHING = ("os.", "shutil.", "subprocess.", "socket.", "tempfile.", "pickle.", "urllib.", "ctypes.dlopen")
HARMLESS = frozenset({"os.listdir", "os.scandir", "os.walk", "os.fwalk"})
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

NUMBERS = (
    "-1", "0", "1", "3", "1e999", "-1e-400", "NaN", "-Infinity", str(2**31), str(2**40), str(2**63), "1e18", "0.5",
    "1" * 30, "9" * 5000, "-" + "8" * 100_000,
)  # fmt: skip
TEXTS = (
    "", "\0", "a\nb", "\x1b[31m", "\u202e", "\ud800", "\U0001f600" * 50, "x" * 100_000, "../../..", "/etc/passwd",
    "none", "cbam(reduction=0)", "eca(gamma=1e-300)", "eca(kernel_size=99999999)", "((((" * 100, "{" * 3000,
    "wds:{000000..999999999}.tar", "wds:${HOME}", "wds:pipe:touch marker", "resnet50", "-" * 900 + "1", "%s", "nan",
)  # fmt: skip

SEALED = {"weights": "resnet_lab", "predictions": "resnet_lab_predictions"}
"""Keys of the descriptions that are sealed."""


class Records:
    """A training, a study and a search, and how each of their files is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        torch.set_num_threads(1)
        self.registry, self.placement = load(only=[]), choose("cpu", "fp32", "off")
        study = study_from(TABLES, "study")
        self.study = StudyFolder(folder / "study")
        self.study.note(study)
        self.trial = trials_of(study)[0]
        carry_out(study, self.trial, self.study, self.registry, TrainingWatcher())
        self.run = self.study.run(self.trial)
        plugin = folder / "marking.py"
        plugin.write_text(f"open({str(folder / 'marker')!r}, 'w').close()\n")
        named = [{"path": str(plugin), "source": ""}]
        record = self.run.read()
        self.run.write({**record, "plugin_files": named})
        (folder / "search").mkdir()
        space = {
            **TABLES,
            "study": {**TABLES["study"], "search": {"train.lr": {"low": 1e-4, "high": 0.1, "log": True}}},
        }
        (folder / "search" / search.NOTED).write_text(json.dumps({"format": 1, "tables": space, "plugin_files": named}))
        self.images = open_images("digits", self.registry)
        self.summary = look_at(OpenedRun(self.run.folder, Sources(self.registry)), self.placement)
        metadata, tensors = checkpoint.read(self.run.best)
        model = checkpoint.restore(metadata, tensors, "", self.registry)
        self.exported = Exported(self.run.best, metadata, model, self.registry, self.run)
        arm = {
            "name": "a", "maker": "ours", "spec_hash": "0" * 16, "batch": 1, "dtype": "float32", "channels_last": False,
            "compile": False, "problem": None,
            "infer": {
                "median_ms": 1.0, "ratio": 1.0, "interval": [0.9, 1.1], "verdict": "same", "samples_ms": [0.9, 1.1],
            },
        }  # fmt: skip
        bench = {"format": 1, "arms": [arm], "machine": {"type": "cpu", "name": "a", "threads": 1, "torch": "2"}}
        (folder / "bench.json").write_text(json.dumps({**bench, "remarks": []}))
        (folder / "network.json").write_text(zoo.get("resnet20").to_json())
        predictions = folder / "predictions.safetensors"
        self.run.predictions("test").replace(predictions)  # or each report would resample them
        self.readers: dict[str, tuple[Path, Callable[[Path], object]]] = {
            "run.json": (self.run.record, self._run),
            "study.json": (self.study.design, self._study),
            "search.json": (folder / "search" / search.NOTED, self._search),
            "outcome": (self.study.trials / f"{self.trial.name}.json", self._outcome),
            "splits.csv": (self.run.splits, self._splits),
            "metrics.csv": (self.run.metrics, self._metrics),
            "weights": (self.run.best, self._weights),
            "predictions": (predictions, Predictions.read),
            "bench.json": (folder / "bench.json", self._bench),
            "network.json": (folder / "network.json", self._network),
        }
        self.contents = {name: path.read_bytes() for name, (path, _) in self.readers.items()}
        self.sealed = {
            name: checkpoint.read_sealed(self.readers[name][0], key, 1, name) for name, key in SEALED.items()
        }
        for name in self.readers:
            self.read(name, self.contents[name])

    def read(self, name: str, content: bytes) -> None:
        """Put a content in the place of a file, and read it; the file is then as it was."""
        path, reader = self.readers[name]
        path.write_bytes(content)
        try:
            with warnings.catch_warnings(action="ignore", category=PluginWarning), untouched():
                reader(path)
        finally:
            path.write_bytes(self.contents[name])

    def _run(self, path: Path) -> None:
        record = self.run.read()
        public_record(record)
        spec = ModelSpec.from_dict(record["spec"], str(path))
        summary = replace(self.summary, record=record, spec=spec)
        sentence(summary), list(remarks(summary)), provenance(summary), configuration(record), class_parts(summary)
        recorded_choices(self.run)
        require_plugins(record, self.registry, "")
        model_card(self.exported)
        require_named(record.get("plugin_files") or (), self.registry)

    def _study(self, path: Path) -> None:
        study = self.study.study()
        measure(study.arms[0].spec, self.registry)
        assert len(trials_of(study)) == len(study.arms) * study.plan.seeds
        findings(study, self.study, self.registry)
        require_named(self.study.plugin_files(), self.registry)

    def _search(self, path: Path) -> None:
        space = search.noted(path.parent)
        measure(space.arm(space.baseline).spec, self.registry)
        require_named(search.plugin_files(path.parent), self.registry)

    def _outcome(self, path: Path) -> None:
        self.study.state(self.trial)
        findings(self.study.study(), self.study, self.registry)

    def _splits(self, path: Path) -> None:
        from_csv_as_far_as_there(path, self.images)
        self.run.training_images(self.images.classes)
        model_card(self.exported)

    def _metrics(self, path: Path) -> None:
        summary = replace(self.summary, history=read_history(self.run))
        sentence(summary), list(remarks(summary))

    def _weights(self, path: Path) -> None:
        metadata, tensors = checkpoint.read(path)
        checkpoint.restore(metadata, tensors, str(path), self.registry)

    def _bench(self, path: Path) -> None:
        content = results.read(path)
        results.diff(content, content, ("old", "new"))

    def _network(self, path: Path) -> None:
        measure(zoo.read(path), self.registry)


def require_named(files: Any, registry: Any) -> None:
    """Refuse named files as commands do: they are never there, so this refuses wherever one is named."""
    try:
        require_files(files, registry, "the record")
    except ResNetLabError as error:
        if "is never loaded by itself" not in str(error):
            raise


_touched: list[str] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _touched is None:
        return
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
    if writes or (event.startswith(TOUCHING) and event not in HARMLESS):
        _touched.append(f"{event} {str(arguments)[:200]}")


@contextmanager
def untouched() -> Iterator[None]:
    """Fails where a file is written, a process started or a connection made meanwhile."""
    global _touched
    if not getattr(sys, "_resnet_lab_watched", False):
        sys.addaudithook(_watch)
        sys._resnet_lab_watched = True  # type: ignore[attr-defined]
    _touched = []
    try:
        yield
    finally:
        touched, _touched = _touched, None
        assert not touched, touched[0]


def fuzz(records: Records, number: int, seed: int, limit: float = SECONDS) -> dict[str, Any]:
    """Read that many mutants; how many were read or refused, and what went wrong."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in records.readers}
    reasons: Counter[str] = Counter()
    failures: list[dict[str, Any]] = []
    slowest, seconds = ("", -1), [0.0]
    names = list(records.readers)
    files = set(records.folder.rglob("*"))
    Path("/proc/self/clear_refs").write_text("5")  # begins a new peak
    for each in range(number):
        name = names[each % len(names)]
        faulthandler.dump_traceback_later(GIVEN_UP, exit=True)
        content = mutant(records, name, each, seed)
        start = perf_counter()
        try:
            records.read(name, content)
            counts[name]["read"] += 1
        except ResNetLabError as error:
            counts[name]["refused"] += 1
            text = str(error)
            if len(text) > 2000 or "\n" in text:
                failures.append({"record": name, "number": each, "sentence": text[:300]})
            reasons[re.sub(r"\d+", "n", text.rpartition("/")[2])[:60]] += 1
        except Exception as error:
            failures.append({"record": name, "number": each, "error": f"{type(error).__name__}: {error}"[:300]})
        took = perf_counter() - start
        faulthandler.cancel_dump_traceback_later()
        if took > max(seconds):
            slowest = (name, each)
        if took > limit:
            failures.append({"record": name, "number": each, "seconds": round(took, 2)})
        seconds.append(took)
    if appeared := set(records.folder.rglob("*")) ^ files:
        failures.append({"files": sorted(map(str, appeared))})
    return {
        "records": number,
        "seed": seed,
        "kinds": {name: dict(count) for name, count in counts.items()},
        "failures": failures,
        "slowest_seconds": round(max(seconds), 3),
        "slowest": slowest,
        "peak_rss_mib": round(peak_memory() / 2**20, 1),
        "reasons": len(reasons),
    }


def peak_memory() -> int:
    """Bytes of this process that were resident at most."""
    return int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) * 1024


def mutant(records: Records, name: str, number: int, seed: int) -> bytes:
    """The file of that number: a sound one after one to three mutations."""
    random = Random(f"{seed} {name} {number}")
    if random.random() < 0.02:
        return records.contents[random.choice(list(records.contents))]
    if name in records.sealed and random.random() < 0.6:
        content = resealed(records, name, random)
    elif name in records.sealed and random.random() < 0.5:
        content = with_other_header(records.contents[name], random)
    elif name.endswith(".csv"):
        content = other_table(records.contents[name], random)
    elif name not in records.sealed and random.random() < 0.85:
        content = other_json(json.loads(records.contents[name]), random)
    else:
        content = records.contents[name]
    if content == records.contents[name] or random.random() < 0.1:
        raw = bytearray(content)
        random.choice(BYTES)(raw, random)
        content = bytes(raw)
    return content


def other_json(content: Any, random: Random) -> bytes:
    """JSON text with some of its values, keys and structure changed."""
    raws: dict[str, str] = {}
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        content = changed(content, random, raws)
        content = json.loads(text := json.dumps(content))  # in which nothing is there twice, to be changed at once
        if len(text) > 500_000:
            break
    text = json.dumps(content, indent=random.choice((None, 1)))
    for mark, raw in raws.items():
        text = text.replace(f'"{mark}"', raw, 10)
    if random.random() < 0.05:  # a key twice
        text = re.sub(r'"(\w+)": ', r'"\1": null, "\1": ', text, count=1)
    return text.encode("utf-8", "surrogatepass")


def changed(content: Any, random: Random, raws: dict[str, str]) -> Any:
    """The content with one mutation; raw texts, which JSON cannot say as values, are left as marks."""
    places = list(containers(content))
    if not places:
        return foreign(random, raws)
    table = random.choice(places)
    keys: list[Any] = list(table) if isinstance(table, dict) else list(range(len(table)))
    if not keys or random.random() < 0.02:
        return foreign(random, raws)
    key = random.choice(keys)
    what = random.randrange(9)
    if what == 0:
        del table[key]
    elif what == 1 and isinstance(table, dict):
        table[random.choice((f"{key}x", key[:-1], "", random.choice(TEXTS), key.upper()))] = table.pop(key)
    elif what == 2 and isinstance(table, list):
        table.extend([table[key]] * times(random.choice((1, 2, 1000)), table[key]))
    elif what == 3:
        other = random.choice(places)
        table[key] = json.loads(json.dumps(other))
    elif what == 4 and isinstance(table, dict):
        number = times(random.choice((1, 20_000)), table[key])
        table.update({f"{key}{each}": table[key] for each in range(number)})
    else:
        table[key] = foreign(random, raws)
    return content


def times(number: int, value: Any) -> int:
    """So many, or what makes 2 MB of a value."""
    return min(number, 1 + 2_000_000 // len(json.dumps(value)))


def containers(content: Any) -> Iterator[Any]:
    """Every table and list, without recursion."""
    waiting = [content]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict | list):
            yield each
            waiting.extend(each.values() if isinstance(each, dict) else each[:100])


def foreign(random: Random, raws: dict[str, str]) -> Any:
    """A value that does not belong there."""
    what = random.randrange(7)
    if what <= 1:
        return random.choice(TEXTS)
    if what <= 3:
        raw = random.choice(NUMBERS)
    elif what == 4:
        depth = random.choice((3, 60, 70, 1000, 100_000))
        raw = random.choice(("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "[" * depth))
    else:
        return random.choice((None, True, False, [], {}, [None], {"a": 1}, [[]], "1", 1.5, [1, "a"]))
    mark = f"mark {len(raws)} of {random.random()}"
    raws[mark] = raw
    return mark


def other_table(content: bytes, random: Random) -> bytes:
    """A CSV text with rows and values changed."""
    rows = [line.split(",") for line in content.decode().splitlines()]
    for _ in range(random.choice((1, 1, 3))):
        row = random.choice(rows[:1] + rows)
        place = random.randrange(len(row)) if row else 0
        what = random.randrange(6)
        if what == 0 and row:
            del row[place]
        elif what == 1:
            row.insert(place, random.choice(TEXTS).replace("\ud800", "?"))
        elif what == 2:
            rows.insert(random.randrange(len(rows)), random.choice(rows))
        elif what == 3:
            rows.remove(row)
            rows = rows or [[]]
        elif row:
            row[place] = random.choice((*NUMBERS, *TEXTS, '"', "val")).replace("\ud800", "?")
    return "\n".join(map(",".join, rows)).encode()


def resealed(records: Records, name: str, random: Random) -> bytes:
    """A sealed file whose description was changed and which was sealed again."""
    from safetensors.torch import save

    header, tensors = records.sealed[name]
    key = SEALED[name]
    text = other_json(json.loads(json.dumps(header)), random).decode("utf-8", "replace")
    tensors = dict(tensors)
    if random.random() < 0.2:
        some = random.choice(list(tensors))
        tensors[random.choice((some, f"{some}x"))] = random.choice(
            (tensors[some].flatten()[:0], tensors[some].double())
        )
    try:
        content = json.loads(text)
        content["digest"] = checkpoint._digest(content, tensors)
        text = json.dumps(content)
    except (ValueError, TypeError, RecursionError):
        pass
    return save(tensors, {key: text})


def with_other_header(content: bytes, random: Random) -> bytes:
    """A safetensors file whose table of tensors was changed."""
    (length,) = struct.unpack("<Q", content[:8])
    header = other_json(json.loads(content[8 : 8 + length]), random)
    length = random.choice((len(header), len(header), len(header), 0, 2**63, len(header) - 1))
    return struct.pack("<Q", length) + header + content[8 + struct.unpack("<Q", content[:8])[0] :]


def flip(content: bytearray, random: Random) -> None:
    """Some bits, anywhere."""
    for _ in range(random.choice((1, 2, 8, 64))):
        if content:
            content[random.randrange(min(len(content), 20_000))] ^= 1 << random.randrange(8)


def truncate(content: bytearray, random: Random) -> None:
    """The end is lost."""
    del content[random.randrange(len(content) + 1) :]


def cut(content: bytearray, random: Random) -> None:
    """A piece is lost."""
    start = random.randrange(len(content) + 1)
    del content[start : start + random.choice((1, 2, 16, 200))]


def repeat(content: bytearray, random: Random) -> None:
    """A piece comes again, perhaps often."""
    start = random.randrange(len(content) + 1)
    piece = content[start : start + random.choice((1, 4, 64, 1000))]
    content[start:start] = piece * random.choice((1, 2, 500))


BYTES: tuple[Callable[[bytearray, Random], None], ...] = (flip, truncate, cut, repeat)


def main() -> None:
    """Run, print and write the figures; exit with 1 where something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = {"command": sys.argv, **fuzz(Records(Path(folder)), options.records, options.seed), **context()}
    text = json.dumps(figures, indent=1)
    if options.out:
        options.out.write_text(text + "\n")
    print(text)
    sys.exit(bool(figures["failures"]) or figures["peak_rss_mib"] * 2**20 > MEMORY)


if __name__ == "__main__":
    main()
