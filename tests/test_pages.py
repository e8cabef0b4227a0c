"""Links, options, commands and figures that README and the pages name, each held against what it names."""

import html
import json
import re
import shlex
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from resnet_lab.recipes.recipe import names

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "findings/README.md")),
    *sorted(path for path in DOCS.rglob("*.md") if path.name != "cli.md"),
]
"""All that people read; docs/cli.md is written by the program."""

OTHERS = {
    "docs/terminal_session.py": {"--draw"},
    "pip": {"--upgrade-deps", "--no-deps", "--wheel-dir", "--only-binary", "--no-index", "--find-links"},
    "pytest": {"--dist", "--benchmark-json"},
    "torchrun": {"--max-restarts", "--nnodes"},
    "Slurm": {"--requeue"},
    "mlflow": {"--backend-store-uri"},
    "mypy": {"--strict"},
    "benchmarks/gpu_day.py": {"--rehearse", "--part"},
    "timm": {"--mean", "--std", "--metrics-avg"},
}
"""Options in prose that are other programs'."""


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


by_page = pytest.mark.parametrize("path", PAGES, ids=ids)


def prose(text: str) -> str:
    """A page without its blocks of code and output."""
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchor(heading: str) -> str:
    """A heading's anchor, as GitHub and MyST make it."""
    bare = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", bare).strip().replace(" ", "-")


@cache
def anchors(path: Path) -> frozenset[str]:
    headings = re.findall(r"^#{1,6} (.+)$", prose(path.read_text()), flags=re.MULTILINE)
    return frozenset(anchor(heading) for heading in headings)


def links(text: str) -> Iterator[str]:
    """Targets of links and images."""
    plain = re.sub(r"`[^`]*`", "", prose(text))
    yield from re.findall(r"\]\(([^()\s]+(?:\([^()]*\)[^()\s]*)?)\)", plain)


@by_page
def test_links_lead_somewhere(path: Path) -> None:
    broken = []
    for target in links(path.read_text()):
        if re.match(r"https://[\w.-]+\.\w+(/\S*)?$", target):
            continue  # of others: their form alone
        file, _, place = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        if not found.exists() or (place and place not in anchors(found)):
            broken.append(target)
    assert broken == []


def test_addresses_of_papers_have_their_form() -> None:
    texts = [path.read_text() for path in PAGES]
    for found in (match for text in texts for match in re.findall(r"arXiv:([^\s,;:)\]]+)", text)):
        assert re.fullmatch(r"\d{2}(0[1-9]|1[0-2])\.\d{4,5}\.?", found), found
    for found in (match for text in texts for match in re.findall(r"doi:([^\s,;\]]+)", text)):
        assert re.match(r"10\.\d{4,9}/\S+", found), found


@cache
def options() -> dict[str, frozenset[str]]:
    """The options of each command, by its words, from the reference that the program writes."""
    text = (DOCS / "cli.md").read_text()
    parts = re.split(r"^#{2,4} `resnet-lab(.*?)`$", text, flags=re.MULTILINE)
    found = {"": parts[0], **dict(zip((name.strip() for name in parts[1::2]), parts[2::2], strict=True))}
    return {
        name: frozenset(re.findall(r"(?<![\w-])--?[a-z][\w-]*", "\n".join(re.findall(r"^\* `(-.*?)`:", part, re.M))))
        for name, part in found.items()
    }


def named(words: list[str]) -> str | None:
    """The command that words begin with; None if they do not name one."""
    known = [" ".join(words[:count]) for count in (2, 1) if " ".join(words[:count]) in options()]
    return known[0] if known and known[0] else None


def commands(text: str) -> Iterator[list[str]]:
    """Commands of the program in code spans, and in blocks that no other test runs."""
    for span in re.findall(r"`resnet-lab ([^`]+)`", prose(text)):
        yield span.split()
    blocks = "\n".join(re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    for line in re.findall(r"^(?:\$ )?(?:\.venv/bin/)?resnet-lab ([a-z].*)$", blocks, re.MULTILINE):
        yield shlex.split(line, comments=True)


@by_page
def test_commands_and_their_options_exist(path: Path) -> None:
    for words in commands(path.read_text()):
        if words[0].startswith("-"):
            assert words[0] in options()[""], words
            continue
        command = named(words)
        assert command, words
        given = {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)}
        assert given <= options()[command], words


@by_page
def test_options_in_the_text_exist(path: Path) -> None:
    known = frozenset().union(*options().values(), *OTHERS.values())
    spans = re.findall(r"`([^`]+)`", prose(path.read_text()))
    given = {option for span in spans for option in re.findall(r"(?<![\w-])--[a-z][\w-]+", span)}
    assert given - known == set()


def test_every_option_of_others_is_named_somewhere() -> None:
    text = "\n".join(path.read_text() for path in PAGES)
    assert [option for options in OTHERS.values() for option in options if option not in text] == []


@by_page
def test_files_of_results_exist(path: Path) -> None:
    for name in re.findall(r"`(?:benchmarks/results/)?(20\d\d-\d\d-\d\d-[\w.-]+\.json)`", path.read_text()):
        assert (ROOT / "benchmarks" / "results" / name).is_file(), name


@by_page
def test_files_of_the_project_exist(path: Path) -> None:
    folders = "benchmarks|docs|examples|findings|plugins|resnet_lab|tests"
    for name in re.findall(rf"`((?:{folders})/[\w/.-]+)`", path.read_text()):
        assert (ROOT / name).exists() or "NAME" in name, name


HOW_TO = sorted((DOCS / "howto").glob("*.md"))


WITH_SOURCES = [ROOT / "README.md", DOCS / "quickstart.md", *HOW_TO]
"""Pages that repeat figures of others."""

COMPUTED = {"pretrained-cbam": "81.35% 15.9% 19.0%"}
"""Figures that a test computes: tests/network/weights/test_new_gates.py."""


@pytest.mark.parametrize("path", WITH_SOURCES, ids=lambda path: path.stem)
def test_figures_are_in_the_page_s_output_or_on_a_page_that_it_links_to(path: Path) -> None:
    """Decimals, shares, times and points; counts that a reader sets are words of an option."""
    text = re.sub("<!-- session: written.*session: end -->", "", path.read_text(), flags=re.DOTALL)  # tested below
    linked = {path.parent / file for target in links(text) if (file := target.partition("#")[0]).endswith(".md")}
    blocks = "\n".join(re.findall(r"^```(?:text|bash)\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    sources = " ".join([blocks, COMPUTED.get(path.stem, ""), *(page.read_text() for page in linked)]).split()
    outside = re.sub(r"`[^`]*`|\]\([^)]*\)|Py\w+ \d\.\d+( to \d\.\d+)?", "", prose(text))  # versions: below
    figures = re.findall(r"\d+\.\d+|\d+%|\d+ ms|\d+(?= points)|\d+ minutes", " ".join(outside.split()))
    known = " ".join(sources)
    assert [figure for figure in figures if not re.search(rf"(?<![\d.]){figure}(?!\d)", known)] == []


def test_versions_in_the_readme_are_those_that_the_package_asks_for() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    readme = (ROOT / "README.md").read_text()
    ((least, latest, torch),) = re.findall(r"Python (\S+) to (\S+), PyTorch (\S+) or newer", readme)
    assert f'requires-python = ">={least}"' in project
    assert f'"torch>={torch}"' in project
    assert re.findall(r"Python :: (3\.\d+)", project)[-1] == latest


def test_recipes_are_counted() -> None:
    count = {10: "Ten", 11: "Eleven", 12: "Twelve", 13: "Thirteen"}[len(names())]
    assert f"{count} are included." in (DOCS / "recipes.md").read_text()


def test_ten_how_to_pages_are_in_the_index_and_the_quickstart() -> None:
    stems = [path.stem for path in HOW_TO]
    assert len(stems) == 10
    assert sorted(re.findall(r"^howto/([\w-]+)$", (DOCS / "index.md").read_text(), re.MULTILINE)) == stems
    quickstart = (DOCS / "quickstart.md").read_text()
    for path in HOW_TO:
        title = path.read_text().splitlines()[0].removeprefix("# ")
        assert f"[{title}](howto/{path.name})" in quickstart, path.name


def test_the_index_of_findings_lists_each_script_with_what_its_header_says() -> None:
    index = (ROOT / "findings" / "README.md").read_text()
    rows = re.findall(r"^\| \[(\w+)\]\((\S+)\) \| (.+?) \| (.+?) \| .+ \|$", index, re.MULTILINE)
    assert [name for name, *_ in rows] == sorted(path.stem for path in (ROOT / "findings").glob("*.sh"))
    for name, file, library, seen in rows:
        assert file == f"{name}.sh"
        header = (ROOT / "findings" / file).read_text().split("set -euo", 1)[0]
        header = " ".join(line.removeprefix("#").strip() for line in header.splitlines())
        assert library in header, name
        for figure in re.findall(r"\d[\d.,]*\d|\d", seen):
            assert re.search(rf"(?<![\d.]){re.escape(figure)}(?!\d)", header), (name, figure)


def test_readme_is_under_a_screen_and_a_half() -> None:
    """Of 55 lines."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 1.5 * 55


@pytest.fixture
def terminal_session(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.syspath_prepend(str(DOCS))
    yield __import__("terminal_session")
    sys.modules.pop("terminal_session")


def test_the_recorded_session_is_the_quickstart_s(terminal_session) -> None:
    """Its commands and figures, and that it kept the promise of ten minutes beyond the installation."""
    if not terminal_session.RECORD.exists():
        pytest.skip("no session is recorded: python docs/terminal_session.py FOLDER --draw")
    steps = [terminal_session.Step(**step) for step in json.loads(terminal_session.RECORD.read_text())["steps"]]
    assert [step.command for step in steps] == terminal_session.commands()
    assert len(steps) == 5
    drawn = terminal_session.DRAWING.read_text()
    text = html.unescape(drawn).replace("\xa0", " ")
    assert [step.command for step in steps if step.command not in text] == []
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", ""), "a drawing that fetches nothing"
    assert sum(step.processor_seconds for step in steps[2:]) < 600
    told = terminal_session.QUICKSTART.read_text()
    for time in ("seconds", "processor_seconds"):
        for part in (steps[:2], steps[2:]):
            assert terminal_session.minutes(sum(getattr(step, time) for step in part)) in told
    section = told.split(terminal_session.BEGIN)[1].split(terminal_session.END)[0]
    (quoted,) = re.findall(r"```text\n(.*?)```", section, re.DOTALL)
    assert [line for line in quoted.splitlines() if line not in steps[-1].output] == []


def test_a_session_ends_at_the_first_command_that_fails(
    terminal_session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal_session, "commands", lambda: ["echo $COLUMNS", "echo no >&2; exit 3", "echo never"])
    steps = list(terminal_session.session(tmp_path / "folder"))
    assert [(step.output, step.code) for step in steps] == [("120\n", 0), ("no\n", 3)]
    monkeypatch.setattr(sys, "argv", ["terminal_session.py", str(tmp_path / "again")])
    assert terminal_session.main() == 1


def test_a_session_is_drawn_recorded_and_quoted(
    terminal_session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two commands of no time, two of 90 s each and one that leaves the page."""
    for name in ("DRAWING", "RECORD", "QUICKSTART"):
        monkeypatch.setattr(terminal_session, name, tmp_path / getattr(terminal_session, name).name)
    terminal_session.QUICKSTART.write_text(f"before\n{terminal_session.BEGIN}\nold\n{terminal_session.END}\nafter\n")
    verdict = "gelu: +0.10 points <b>: equivalent"
    Step = terminal_session.Step  # noqa: N806
    steps = (
        [Step("a", 0, 0, "", 0)] * 2 + [Step("b & c", 90, 45, "x\n", 0)] * 2 + [Step("d", 0, 0, f"x\n{verdict}\n", 0)]
    )
    folder = tmp_path / "folder"
    (folder / terminal_session.PAGE).parent.mkdir(parents=True)
    (folder / terminal_session.PAGE).touch()
    monkeypatch.setattr(terminal_session, "session", lambda _: iter(steps))
    monkeypatch.setattr(sys, "argv", ["terminal_session.py", str(folder), "--draw"])
    assert terminal_session.main() == 0
    told = terminal_session.QUICKSTART.read_text()
    assert (told[:7], told[-6:], "old" in told) == ("before\n", "after\n", False)
    assert "took 0 seconds (0 seconds of the processor), the other commands 3.0 minutes\n(1.5 minutes of" in told
    assert f"```text\n{verdict}\n```" in told
    assert "gelu:&#160;+0.10&#160;points&#160;&lt;b&gt;" in terminal_session.DRAWING.read_text()
    assert json.loads(terminal_session.RECORD.read_text())["steps"][4]["output"] == ["x", verdict]


def test_long_outputs_are_drawn_without_their_middle(terminal_session) -> None:
    lines = [f"line {number} {'x' * 200}" for number in range(100)]
    shown = terminal_session.shown(terminal_session.Step("show", 0, 0, "\n".join(lines), 0))
    assert [line[:8].strip() for line in (shown[0], shown[3], shown[-1])] == ["line 0 x", "…", "line 99"]
    assert len(shown) == terminal_session.FIRST + 1 + terminal_session.LAST
    assert {len(line) for line in shown} == {1, 120}
    installed = terminal_session.Step("pip install .", 0, 0, "Looking in /place\nSuccessfully installed torch\n", 0)
    assert terminal_session.shown(installed) == ["Successfully installed torch"]
