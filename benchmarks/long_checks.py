"""Checks that are too long for every change: all of them, or those that are named.

usage: python benchmarks/long_checks.py [--out OUT.json] [--list] [NAME ...]

Prints passed, failed or skipped for each, with what a failed one printed; the exit code is 1 where one failed. OUT.json
is written after each, and names those that are left as not run; interrupted, the exit code is 130.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import Literal

import torch
from rich.console import Console

from resnet_lab.bench.results import machine
from resnet_lab.core.files import write_atomically
from resnet_lab.device import choose

ROOT = Path(__file__).parents[1]
NOTHING_RAN = 5
"""Exit code of pytest, also where a whole file is skipped."""


def tests(path: str) -> tuple[str, ...]:
    """The long tests of a file."""
    return (sys.executable, "-m", "pytest", "-m", "long", "-rA", "-o", "faulthandler_timeout=0", path)


@dataclass(frozen=True)
class Check:
    """A command that exits with 0 where all is well."""

    name: str
    shows: str
    command: tuple[str, ...]


CHECKS = (
    Check("combinations", "every combination of built-in parts learns", tests("tests/network/test_builder.py")),
    Check("intervals", "95% intervals of 2,000 test parts of three sizes cover the truth in 93 to 97%",
          tests("tests/evaluation/metrics/test_headline.py")),
    Check("slowdowns", "the bench finds a planted 5%, and no 0 or 1%", tests("tests/bench/test_measuring.py")),
    Check("thousand-trials", "a study of 1,024 trials is reported in 20 s of the processor",
          tests("tests/cli/test_study.py")),
    Check(
        "null-studies",
        "simulated studies of no effect find one in 5% at most, but for skewed differences, as often as a t test does",
        tests("tests/study/test_statistics.py"),
    ),
    Check(
        "templates", "new plugins of every kind install and pass their own tests",
        tests("tests/scaffold/test_writing.py"),
    ),
    Check("strong-digits", "the recipe digits-strong learns digits", tests("tests/recipes/test_recipes.py")),
    Check("large-onnx", "ResNet-50 and ResNeXt-50 as ONNX files", tests("tests/export/test_onnx_file.py")),
    Check(
        "large-networks",
        "torchvision loads the largest networks' weights and computes the same",
        tests("tests/export/test_torchvision_weights.py"),
    ),
    Check("public-weights", "public CIFAR ResNet-44 and 56 score what they did", tests("tests/cli/test_importing.py")),
    Check("pages", "every command of the pages on recipes, benches and paintings", tests("tests/test_snippets.py")),
    Check("notebook", "the notebook runs where Kaggle mounts paintings and where it does not, and outlives its kernel",
          tests("tests/test_notebook.py")),
    Check("first-session", "the quickstart's five commands lead from Python alone to a study's page",
          (sys.executable, "docs/terminal_session.py", "{folder}")),
    Check("gpu-day", "the measurements that need a GPU can be rehearsed without one", tests("tests/test_gpu_day.py")),
    Check("cluster", "a node decides for a cluster, a lost trial is resumed, and a lost node changes nothing",
          tests("tests/study/test_ray_executor.py")),
    Check("slurm", "tasks of a job array that die and are stopped come to what one process does",
          tests("tests/cli/test_study_slurm.py")),
    Check("lost-process", "torchrun replaces a killed process, a stop is agreed, and the training resumes",
          tests("tests/cli/test_torchrun.py")),
    Check("equal-arms", "equal arms differ by nothing, and a handicap is found", tests("tests/study/test_results.py")),
    Check("looks-in-processes", "several processes take the looks that one does",
          tests("tests/study/test_looks_of_a_study.py")),
    Check("resolved-in-processes", "processes of a study read what is resolved",
          tests("tests/study/test_resolution.py")),
    Check("killed-studies", "ten kills, twice, and a signal to several processes leave a study's table as it is",
          tests("tests/study/test_running.py")),
    Check("killed-trainings", "20 trainings outlive kills at random moments, bit for bit",
          (sys.executable, "-m", "tests.train.killed", "{folder}", "20")),
    Check("paintings", "15 epochs on paintings score what plain PyTorch does", tests("tests/train/test_louvre.py")),
    Check("mutated-images", "10,000 mutated image files are accepted or listed, without a crash or hang",
          (sys.executable, "benchmarks/fuzz_images.py", "--images", "10000")),
    Check("mutated-records", "10,000 mutated records are read or refused with a sentence, each within 2 s and 1 GiB",
          (sys.executable, "-m", "benchmarks.fuzz_records", "--records", "10000")),
    Check("windows", "the type checker finds no call that Windows lacks without another way",
          (sys.executable, "-m", "mypy", "--platform", "win32", "--cache-dir", "{folder}")),
    Check("macos", "the type checker finds no call that macOS lacks without another way",
          (sys.executable, "-m", "mypy", "--platform", "darwin", "--cache-dir", "{folder}")),
    Check("release", "sdist and wheel hold what they should, install in fresh environments, and train",
          (sys.executable, "benchmarks/release.py", "{folder}")),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """Outcome of a check."""

    name: str
    shows: str
    result: Literal["passed", "failed", "skipped", "not run"]
    seconds: float = 0.0
    output: str = ""


def carried_out(check: Check, folder: Path) -> Outcome:
    """Run a check; `folder` is its own, and is empty."""
    command = [word.format(folder=folder / check.name) for word in check.command]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    start = perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    seconds = perf_counter() - start
    last = done.stdout.strip().rpartition("\n")[2]
    skipped = "pytest" in command and " skipped" in last and done.returncode in (0, NOTHING_RAN)
    result = "skipped" if skipped else "failed" if done.returncode else "passed"
    return Outcome(check.name, check.shows, result, round(seconds, 1), done.stdout[-20_000:])


def main(arguments: list[str] | None = None, checks: tuple[Check, ...] = CHECKS) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description="Run the checks that are too long for every change.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of checks; all by default")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    parser.add_argument("--list", action="store_true", help="name the checks and what they show, and run none")
    options = parser.parse_args(arguments)
    known = {check.name: check for check in checks}
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"unknown check {unknown[0]!r}; known: {', '.join(known)}")
    chosen = [known[name] for name in options.names] or list(checks)
    console = Console()
    if options.list:
        for check in chosen:
            console.print(f"{check.name}: {check.shows}", highlight=False)
        return 0
    outcomes: dict[str, Outcome] = {check.name: Outcome(check.name, check.shows, "not run") for check in chosen}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for number, check in enumerate(chosen, 1):
                with console.status(f"{number} of {len(chosen)}: {check.name}: {check.shows}"):
                    outcome = outcomes[check.name] = carried_out(check, Path(folder))
                if outcome.result == "failed":
                    console.print(outcome.output, markup=False, highlight=False)
                line = f"{outcome.result} in {outcome.seconds:.0f} s: {check.name}: {check.shows}"
                console.print(line, highlight=False)
                if options.out:
                    record(options.out, outcomes.values())
        except KeyboardInterrupt:
            console.print("interrupted")
            if options.out:
                record(options.out, outcomes.values())
    results = {outcome.result for outcome in outcomes.values()}
    return 130 if "not run" in results else int("failed" in results)


def record(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Write what came of all so far."""
    content = {**context(), "checks": [summary(outcome) for outcome in outcomes]}
    write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())


def summary(outcome: Outcome) -> dict[str, object]:
    """An outcome for the record: the last line that was printed, and of a failed one all of it."""
    lines = outcome.output.strip().splitlines()
    return {**asdict(outcome), "output": outcome.output if outcome.result == "failed" else lines[-1] if lines else ""}


def context() -> dict[str, object]:
    """Context of the checks: where and on what; without AVX-512 torch takes up to three times as long."""
    cpu = torch.device("cpu")
    return {
        "date": date.today().isoformat(),
        "machine": {**machine(cpu, choose("cpu").name), "cpu_capability": torch.backends.cpu.get_cpu_capability()},
    }


if __name__ == "__main__":
    sys.exit(main())
