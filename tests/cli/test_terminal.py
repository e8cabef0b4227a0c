"""Names do nothing to the terminal of whoever looks at them, in any command."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from rich.live import Live
from rich.table import Table

from resnet_lab.cli import main, output
from resnet_lab.cli.root import app
from tests.study.fabricated import by_chance, design, fabricate

ESCAPE = "a\x1b[31mb\u202ec"
"""A colour, and a sign that turns round what follows it."""

SHOWN = r"a\x1b[31mb\u202ec"
CLASS = "re\u202ed [bold]x[/bold]"
QUICK = ("--model", "resnet20", "--size", "8", "--epochs", "1", "--batch-size", "8", "--compile", "off")


def steers(text: str) -> list[str]:
    """Characters in a text that a terminal obeys."""
    return [letter for letter in text if letter != "\n" and unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp")]


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that somebody sent: images, a run, a study, a search, a plugin and results, all with such names."""
    folder = tmp_path_factory.mktemp("sent")
    generator = np.random.default_rng(0)
    for name, colour in (("blue", (40, 60, 220)), (CLASS, (220, 60, 40))):
        (folder / ESCAPE / name).mkdir(parents=True)
        for number in range(12):
            pixels = np.clip(generator.normal(colour, 25, (20, 20, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / ESCAPE / name / f"{ESCAPE}{number}.png")
    (folder / ESCAPE / "blue" / f"{ESCAPE}.png").write_text("no image")
    (folder / f"{ESCAPE}.py").write_text(
        "from torch import nn\nfrom resnet_lab.plugin_api import hookimpl\n\n"
        "@hookimpl\ndef register_activations(register):\n    register('still', nn.Identity)\n"
    )
    study = design(arms={"plain": {}, "eca": {"attn": "eca"}})
    shares = {arm.name: 0.7 for arm in study.arms}
    opened = fabricate(folder / "study", study, by_chance(shares), failed={("eca", 1): ESCAPE})
    shutil.copytree(opened.folder, folder / f"{ESCAPE}study")
    shutil.copytree(opened.folder, folder / "searched")
    (folder / "searched" / "search.json").write_text(json.dumps({"format": 1, "tables": {ESCAPE: {}}}))
    with pytest.raises(SystemExit) as end:
        main(["train", *QUICK, "--data", str(folder / ESCAPE), "--out", str(folder / f"{ESCAPE}run")])
    assert not end.value.code
    return folder


RUN, DATA, STUDY, ABSENT = f"{ESCAPE}run", ESCAPE, f"{ESCAPE}study", f"{ESCAPE}absent"
COMMANDS = {
    "build": ("--spec", ABSENT),
    "compare": (RUN, RUN),
    "eval": (RUN, "--again"),
    "explain": (RUN, f"{DATA}/blue", "--out", f"{ESCAPE}maps"),
    "export": (RUN, "--to", "card"),
    "import": (ABSENT, "--out", f"{ESCAPE}imported"),
    "predict": (RUN, f"{DATA}/blue"),
    "push-to-hub": (RUN, ESCAPE, "--dry-run"),
    "report": (RUN, "--out", f"{ESCAPE}.html"),
    "train": (*QUICK, "--data", DATA, "--out", f"{ESCAPE}new"),
    "bench": ("--study", ABSENT),
    "bench diff": (ABSENT, ABSENT),
    "bench report": (ABSENT,),
    "data check": (DATA,),
    "data describe": (DATA, "--size", "8", "--html", f"{ESCAPE}.html"),
    "data split": (DATA, "--out", f"{ESCAPE}.csv"),
    "data suspects": (ABSENT,),
    "data cache list": (),
    "data cache clear": (ESCAPE,),
    "doctor": ("--device", ESCAPE),
    "plugins list": ("--plugin", f"{ESCAPE}.py"),
    "plugins new": ("attention", "gate", "--out", DATA),
    "plugins check": (ESCAPE,),
    "recipes list": (),
    "recipes show": (ABSENT,),
    "study run": ("--resume", STUDY, "--no-bench"),
    "study plan": ("--attn", "none,eca", "--data", ABSENT),
    "study list": (),
    "study show": (ABSENT,),
    "study report": (STUDY,),
    "study slurm": (ABSENT, "--out", f"{ESCAPE}.sh"),
    "study search": ("--resume", "searched"),
}
WITHOUT_SUCH_NAMES = ("recipes list", "study list")


def test_every_command_is_among_them() -> None:
    found = []

    def walk(command: object, name: str) -> None:
        inner = getattr(command, "commands", {})
        if name and (not inner or getattr(command, "invoke_without_command", False)):
            found.append(name)
        for each, below in inner.items():
            walk(below, f"{name} {each}".strip())

    walk(typer.main.get_command(app), "")
    assert sorted(found) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_name_steers_the_terminal(
    cli: Callable, sent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    here = shutil.copytree(sent, tmp_path / "here")
    monkeypatch.chdir(here)
    monkeypatch.setenv("COLUMNS", "1000")
    _, out, err = cli(*command.split(), *COMMANDS[command])
    assert steers(out + err) == []
    assert (SHOWN in out + err) is (command not in WITHOUT_SUCH_NAMES), out + err


def test_what_the_shell_hands_over(cli: Callable) -> None:
    """Patterns of the shell become names, and names too many."""
    for arguments in (
        ("eval", "run", f"{ESCAPE}.png"),
        ("eval", f"--{ESCAPE}"),
        (ESCAPE,),
        ("bench", "--batch-size", ESCAPE),
    ):
        code, out, err = cli(*arguments)
        assert (code, steers(out + err)) == (2, [])
        assert r"\x1b" in err


def test_no_module_prints_by_itself() -> None:
    folder = Path(output.__file__).parent
    own = re.compile(r"(?<![\w.])print\(|Console\(|sys\.std(out|err)\.write|typer\.echo")
    assert [path.name for path in sorted(folder.glob("*.py")) if own.search(path.read_text())] == ["output.py"]


def test_colours_are_the_program_s_alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    console = output.console()
    table = Table("arm")
    table.add_row(f"[red]{ESCAPE}[/red]")
    console.print(table, style="green")
    with Live(f"live {ESCAPE}", console=console):
        pass
    out = capsys.readouterr().out
    assert "\x1b[32m" in out, "its own style"
    assert "\x1b[31m" not in out
    assert "\u202e" not in out
    assert f"[red]{SHOWN}[/red]" in out
    assert f"live {SHOWN}" in out


@pytest.mark.parametrize("command", ["recipes show", "study show"])
def test_a_file_is_shown_as_it_is_but_on_a_terminal(tmp_path: Path, command: str) -> None:
    file = tmp_path / "a.toml"
    table = "[train]\nepochs = 1\n" if command == "recipes show" else "[study]\nfactors = {attn = ['none', 'eca']}\n"
    file.write_text(f"{table}# \u202e\n")  # TOML itself refuses an escape
    arguments = [sys.executable, "-m", "resnet_lab", *command.split(), str(file)]
    assert subprocess.run(arguments, capture_output=True, check=True).stdout == file.read_bytes()
    reading, writing = pty.openpty()
    with subprocess.Popen(arguments, stdout=writing, close_fds=True):
        os.close(writing)
        shown = os.read(reading, 4096).decode()
    os.close(reading)
    assert shown.replace("\r\n", "\n") == f"{table}# \\u202e\n"
