"""Every command block and Python snippet of README and docs, run page by page in a folder with what they speak of.

Trainings, studies and benches are cut short by options put behind those that the page gives. A block that is not run
says why, in a comment before it: `<!-- skip: next "reason" -->`.
"""

import contextlib
import io
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import SkipTest

import numpy as np
import pytest
import torch
import torchvision
import typer
from PIL import Image
from sybil import Document, Example
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser, SkipParser

import resnet_lab
from resnet_lab.cli import main
from resnet_lab.data.config import DataConfig
from resnet_lab.network import zoo
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.training import train
from tests.bench.short import shorten

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LONG = {"benchmarking", "paintings", "recipes"}
"""Pages of many trainings, run by benchmarks/long_checks.py; that the program understands them is tested here."""

PROGRAM = "resnet-lab"
BRIEF = (
    "--set", "train.epochs=1", "--set", "train.augment=none", "--set", "train.compile=off",
    "--set", "train.warmup_epochs=0.0",
)  # fmt: skip
SMALLER = ("--depth", "18")  # where other commands train the ResNet-50
SMALLEST = ("--set", "model.model=resnet20")
BRIEFER = {
    ("train",): (*BRIEF, "--size", "32"),
    ("train", "--data"): SMALLEST,
    ("train", "--recipe", "paintings-frozen-1-4"): SMALLER,
    ("train", "--recipe", "paintings-frozen-1-3"): SMALLER,
    ("train", "--recipe", "paintings-modified"): SMALLER,
    ("train", "--recipe", "strong"): (*SMALLER, "--batch-size", "8", "--accumulate", "1"),
    ("train", "--config"): SMALLER,
    ("study", "run", "paintings-five"): ("--set", "model.model=resnet18"),
    ("study", "plan", "paintings-five"): ("--set", "model.model=resnet18"),
    ("study", "run"): (*BRIEF, *SMALLEST, "--size", "8", "--seeds", "1", "--no-bench", "--processes", "1"),
    ("study", "run", "--attn", "none,cbam", "--data", "paintings/", "--seeds", "3"): ("--seeds", "2"),  # a pilot
    ("study", "plan"): (*BRIEF, *SMALLEST, "--size", "8"),
    ("study", "search"): (*BRIEF, "--size", "8", "--trials", "2"),
    ("bench",): ("--depth", "18", "--size", "32", "--batch-size", "2", "--rounds", "1"),
}
"""Options that are put behind those of a page's command."""

WHOLE = ("--resume", "diff", "--help")
"""Words of commands that take no such options."""


def commands(block: str) -> Iterator[list[str]]:
    """The words of each command of a block."""
    for line in block.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def run(block: str) -> None:
    """Run a block's commands, each of which must be the program's and succeed."""
    for words in commands(block):
        program, *arguments = words
        assert Path(program).name == PROGRAM, f"{program}: not a command of the program; say why it is not run"
        target = None
        if ">" in arguments:
            *arguments, _, target = arguments
        for beginning, more in BRIEFER.items():
            if more in (SMALLER, SMALLEST) and "--weights" in arguments:  # which are the ResNet-50's
                continue
            if tuple(arguments[: len(beginning)]) == beginning and not set(WHOLE).intersection(arguments):
                arguments += more
                if arguments[0] == "train" and "digits" in shlex.join(arguments):  # which are many and small
                    arguments += ["--size", "8", "--set", "train.batch_size=256"]
                elif arguments[0] != "bench":
                    arguments += ["--set", "train.batch_size=32"]
                if arguments[0] == "study" and "images/images" not in arguments:  # the digits, unless said otherwise
                    arguments += ["--set", "data.source=paintings"]
        if arguments[0] == "train" and "--out" in arguments:  # the page's own run takes the place of the template's
            shutil.rmtree(arguments[arguments.index("--out") + 1], ignore_errors=True)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as end:
            main(arguments)
        assert not end.value.code, shlex.join(words)
        if target is not None:
            Path(target).write_text(printed.getvalue())


def evaluate_commands(example: Example) -> None:
    """Evaluator of commands, for Sybil."""
    run(example.parsed)


def page(path: Path) -> Document:
    """Its blocks, each to be evaluated."""
    parsers = [PythonCodeBlockParser(), CodeBlockParser(language="bash", evaluator=evaluate_commands), SkipParser()]
    return Document.parse(str(path), *parsers)


@pytest.fixture(scope="module")
def template(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """Images by genre, loose ones, runs on them, weights as torchvision and others publish them, and the examples."""
    return made_once("world", make_template)


def make_template(folder: Path) -> None:
    """All of that in a folder."""
    draw = np.random.default_rng(0)
    colours = {
        "landscape": (60, 160, 90),
        "portrait": (190, 120, 90),
        "scene": (90, 90, 160),
        "still_life": (60, 60, 70),
    }
    for place, each in {"paintings": 16, "images/images": 16, "more": 4}.items():
        for genre, colour in colours.items():
            (folder / place / genre).mkdir(parents=True)
            for number in range(each):
                picture(draw, colour).save(folder / place / genre / f"{number}.jpg")
    (folder / "scans").mkdir()
    for name in ("unknown.jpg", "picture.jpg", "scans/lake.jpg", "scans/turban.jpg", "more/scene/a.png"):
        picture(draw, (120, 120, 120)).save(folder / name)
    for act in ("relu", "gelu", "silu"):
        spec = zoo.get("resnet18").modified(input_size=32, act=act)
        config = TrainConfig(epochs=1, batch_size=32, compile="off")
        train(spec, DataConfig(source=str(folder / "paintings")), config, folder=folder / "template-runs" / act)
    for name in ("genres", "plain"):
        shutil.copytree(folder / "template-runs" / "relu", folder / "template-runs" / name)
    small = zoo.get("resnet20").modified(input_size=8)
    train(small, "digits", TrainConfig(epochs=1), folder=folder / "template-runs" / "digits")
    torch.manual_seed(0)
    for name in ("resnet18", "resnet50"):
        torch.save(torchvision.models.get_model(name).state_dict(), folder / f"{name}.pth")
    torch.save({"model": {}}, folder / "checkpoint.pth")
    public = resnet_lab.build("resnet20", num_classes=10, seed=0).state_dict()
    renamed = {f"module.{name.replace('fc.', 'linear.')}": tensor for name, tensor in public.items()}
    torch.save({"state_dict": renamed}, folder / "resnet20-12fca82f.th")
    shutil.copytree(ROOT / "examples", folder / "examples")
    plugin = (ROOT / "docs" / "plugins.md").read_text().split("```python\n", 1)[1].split("```", 1)[0]
    (folder / "loud.py").write_text(plugin)


def picture(draw: np.random.Generator, colour: tuple[int, int, int]) -> Image.Image:
    """A noisy patch of a colour."""
    return Image.fromarray(np.clip(draw.normal(colour, 40, (40, 48, 3)), 0, 255).astype(np.uint8))


@pytest.fixture
def world(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that for a page, to which torchvision's weights come without a network."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True, copy_function=_link)
    (tmp_path / "template-runs").rename(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    for name in ("resnet18", "resnet50"):
        for weights in torchvision.models.get_model_weights(name):
            monkeypatch.setattr(weights.value, "url", (template / f"{name}.pth").as_uri())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    shorten(monkeypatch)
    monkeypatch.setenv("RESNET_LAB_PLUGIN_FILES", "")  # which `--plugin` sets
    return tmp_path


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source) if source.endswith((".pth", ".th", ".jpg")) else shutil.copy2(source, target)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=pytest.mark.long if path.stem in LONG else pytest.mark.slow, id=path.stem)
        for path in PAGES
    ],
)
def test_page(path: Path, world: Path) -> None:
    ran = 0
    for example in page(path).examples():
        try:
            example.evaluate()
            ran += 1
        except SkipTest:
            continue
    snippets = path.read_text()
    assert ran or ("```bash" not in snippets and "```python" not in snippets) or "skip: next" in snippets


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_commands_are_understood(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Parsed with their options, and not carried out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESNET_LAB_PLUGIN_FILES", "")  # which `--plugin` sets
    monkeypatch.setattr(typer.Context.__mro__[1], "invoke", lambda *_, **__: None)  # by which it is carried out
    for block in re.findall(r"^```bash\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL):
        for program, *arguments in commands(block):
            if Path(program).name == PROGRAM:
                *arguments, _ = (*arguments, ">") if ">" not in arguments else arguments[: arguments.index(">") + 1]
                with pytest.raises(SystemExit) as end:
                    main(arguments)
                assert not end.value.code, shlex.join(arguments)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_skipped_blocks_have_a_reason(path: Path) -> None:
    skips = [line for line in path.read_text().splitlines() if "skip:" in line and line.startswith("<!--")]
    assert all(line.startswith('<!-- skip: next "') and len(line) > 30 for line in skips)


def test_commands_of_a_block() -> None:
    block = "resnet-lab train --data a \\\n  --out b   # why\n\nresnet-lab recipes list > c\n"
    assert list(commands(block)) == [
        ["resnet-lab", "train", "--data", "a", "--out", "b"],
        ["resnet-lab", "recipes", "list", ">", "c"],
    ]


def test_a_failing_command_fails_its_block(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError, match="resnet-lab build --attn seee"):
        run("resnet-lab build --attn seee")
    with pytest.raises(AssertionError, match="pip: not a command of the program; say why it is not run"):
        run("pip install resnet-lab")
