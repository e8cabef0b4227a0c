"""Run the quickstart's five commands in a copy of the project, with Python alone, and draw them as a terminal does.

usage: python docs/terminal_session.py FOLDER [--draw]

FOLDER must not exist. The commands are those of docs/quickstart.md; the exit code is 1 where one fails or leaves no
study page. --draw writes docs/terminal-session.svg, docs/terminal-session.json (times and lines), and what the
quickstart says about them.
"""

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from io import StringIO
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.text import Text

DOCS = Path(__file__).parent
QUICKSTART = DOCS / "quickstart.md"
BEGIN, END = "<!-- session: written by docs/terminal_session.py -->", "<!-- session: end -->"
DRAWING, RECORD = DOCS / "terminal-session.svg", DOCS / "terminal-session.json"
PAGE = "studies/small/report.html"
"""The study page, in FOLDER."""

WIDTH = 120
LONGEST, FIRST, LAST = 40, 3, 28
"""Lines of an output that are drawn: all, or the first and the last."""

SVG = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg"><style>
.{unique_id}-matrix {{ font-family: monospace; font-size: {char_height}px; line-height: {line_height}px;
font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style><defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}"
height="{terminal_height}"/></clipPath>{lines}</defs>{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g></g></svg>
"""
"""Rich's own form without its fonts, which a page would fetch."""


@dataclass(frozen=True)
class Step:
    """A command that was run; times in seconds, of the processor with all processes that it started."""

    command: str
    seconds: float
    processor_seconds: float
    output: str
    code: int


def commands() -> list[str]:
    """The five commands of the quickstart."""
    section = QUICKSTART.read_text().split("## Five commands\n", 1)[1].split("\n## ", 1)[0]
    return [line for block in re.findall(r"```bash\n(.*?)```", section, re.DOTALL) for line in block.splitlines()]


def carried_out(command: str, folder: Path) -> Step:
    """Run a command in a folder, without the environment of this process's Python, and with an empty cache."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment = {**kept, "COLUMNS": str(WIDTH), "RESNET_LAB_CACHE": str(folder / "cache")}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    seconds, after = perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Step(command, round(seconds, 1), round(busy, 1), done.stdout.replace(f"{folder}/", ""), done.returncode)


def session(folder: Path) -> Iterator[Step]:
    """The steps, up to the first that fails."""
    shutil.copytree(DOCS.parent / "resnet_lab", folder / "resnet_lab", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(DOCS.parent / name, folder)
    for command in commands():
        step = carried_out(command, folder)
        yield step
        if step.code:
            return


def shown(step: Step) -> list[str]:
    """Lines of its output, cut to the width, without the middle of a long one; of pip's, which has paths, the last."""
    whole = (line.rstrip() for line in step.output.strip().splitlines())
    lines = [line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…" for line in whole]
    if "pip install" in step.command:
        return lines[-1:]
    return lines if len(lines) <= LONGEST else [*lines[:FIRST], "…", *lines[-LAST:]]


def draw(steps: list[Step]) -> str:
    """The session as SVG."""
    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True, highlight=False)
    for step in steps:
        console.print(Text(f"$ {step.command}", style="bold green"))
        for line in shown(step):
            console.print(Text(line), no_wrap=True)
        times = f"{step.seconds:.0f} s, {step.processor_seconds:.0f} s of the processor"
        console.print(Text(f"({times})\n", style="dim"))
    return console.export_svg(title="resnet-lab: from Python to a study's page", code_format=SVG, unique_id="session")


def processor() -> str:
    """The processor's name, where Linux tells it."""
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE)
    return found.group(1) if found else "unknown"


def record(steps: list[Step]) -> str:
    """Times, and what they were measured on, with the lines that are drawn."""
    content = {
        "date": date.today().isoformat(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[2], 1),
        "steps": [{**asdict(step), "output": shown(step)} for step in steps],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def minutes(seconds: float) -> str:
    """A duration in words."""
    return f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.0f} seconds"


def passage(steps: list[Step]) -> str:
    """The quickstart's part about a session: the drawing, its times, and the verdicts."""
    install, others = steps[:2], steps[2:]
    wall, busy = (
        [minutes(sum(getattr(step, time) for step in part)) for part in (install, others)]
        for time in ("seconds", "processor_seconds")
    )
    count = len(os.sched_getaffinity(0))
    cores = "one core" if count == 1 else f"{count} cores"
    verdicts = [line for line in shown(steps[-1]) if re.search(r": (better|worse|equivalent|undecided)$", line)]
    lines = [
        f"![The five commands in a terminal, with their output and seconds]({DRAWING.name})",
        "",
        f"Recorded on {cores} of an {processor()}, shared with other programs (load {os.getloadavg()[2]:.0f}): the",
        f"installation took {wall[0]} ({busy[0]} of the processor), the other commands {wall[1]}",
        f"({busy[1]} of the processor). The verdicts:",
        "",
        "```text",
        *verdicts,
        "```",
    ]
    return "\n".join(lines)


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description="Run the quickstart's five commands.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draw", action="store_true", help=f"write {DRAWING.name} and {RECORD.name}")
    options = parser.parse_args()
    folder, steps = options.folder.absolute(), []
    for step in session(folder):
        steps.append(step)
        times = f"{step.seconds} s, {step.processor_seconds} s of the processor"
        print(f"$ {step.command}\n{step.output}({times})", flush=True)
    failed = any(step.code for step in steps) or not (folder / PAGE).is_file()
    if options.draw and not failed:
        DRAWING.write_text(draw(steps))
        RECORD.write_text(record(steps))
        before, after = (QUICKSTART.read_text().split(mark, 1)[part] for part, mark in enumerate((BEGIN, END)))
        QUICKSTART.write_text(f"{before}{BEGIN}\n\n{passage(steps)}\n\n{END}{after}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
