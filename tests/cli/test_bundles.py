import ast
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from resnet_lab import cli as package
from resnet_lab.bench.config import BenchConfig
from resnet_lab.cli.bundles import Fields, Given, command
from resnet_lab.cli.study_design import Design
from resnet_lab.core.errors import ConfigError
from resnet_lab.core.option import option
from resnet_lab.data.config import DataConfig
from resnet_lab.network.spec import Record
from resnet_lab.study.design import Plan
from resnet_lab.train.config import TrainConfig


class Baking(Record):
    """A configuration with a field of each kind."""

    minutes: Annotated[int, Field(ge=1, strict=True)] = option(40, "Time in the oven.", "Heat", formerly="--time")
    heat: float = option(180.0, "Degrees.", "Heat", name="--celsius")
    glaze: Literal["none", "egg", "milk"] = option("egg", "What is brushed on.")
    flour: Literal["wheat", "rye", "spelt", "emmer", "einkorn"] = option("rye", "The grain.")
    seeds: tuple[str, ...] = option((), "On top.", metavar="SEEDS")
    loaves: tuple[int, ...] = option((1, 2), "Weights.")
    salt: float | None = option(None, "Grams.")
    covered: bool = option(False, "With a lid.")
    rising: bool = option(True, "Before baking.")
    mould: Path | None = None
    notes: dict[str, str] = Field(default_factory=dict)


BAKING = f"{__name__}:Baking"
Bake = Annotated[Given, Fields(BAKING)]
Part = Annotated[Given, Fields(BAKING, only=("salt", "heat"), callbacks={"heat": lambda heat: None})]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, SimpleNamespace(Baking=Baking))  # pytest imports under another name


def run(kind: Any, *words: str, seen: list[Any] | None = None) -> Any:
    """Arguments that a command with a bundle is given, or its output where it does not run."""
    app, given = typer.Typer(add_completion=False), []

    @command(app)
    def bake(*, bundle: kind, loud: bool = False) -> None:
        given.append(bundle)

    result = CliRunner().invoke(app, [*words], env={"COLUMNS": "200", "NO_COLOR": "1"}, catch_exceptions=True)
    if isinstance(result.exception, ConfigError):
        raise result.exception
    return given[0] if given else result.output


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ((), {}),
        (("--minutes", "3", "--celsius", "200"), {"minutes": 3, "heat": 200.0}),
        (("--glaze", "milk"), {"glaze": "milk"}),
        (("--seeds", "poppy(roasted=true,fine=no),2024"), {"seeds": ["poppy(roasted=true,fine=no)", "2024"]}),
        (("--seeds", "none", "--salt", "none", "--mould", "none"), {"seeds": [], "salt": None, "mould": None}),
        (("--loaves", "1,3", "--salt", "1e1"), {"loaves": [1, 3], "salt": 10.0}),
        (("--covered", "--rising", "no"), {"covered": True, "rising": "no"}),
        (("--mould", "a/b"), {"mould": "a/b"}),
    ],
)
def test_values_by_field(words: tuple[str, ...], values: dict[str, Any]) -> None:
    given = run(Bake, *words)
    assert given == values
    assert list(given.options) == list(values)
    assert all(word in words for word in given.options.values())
    assert isinstance(Baking.model_validate(given), Baking)


def test_help_is_that_of_the_field() -> None:
    lines = {
        line.split()[1]: " ".join(line.strip("│ ").split()) for line in run(Bake, "--help").splitlines() if "--" in line
    }
    assert lines["--celsius"].endswith("Degrees. [default: (180)]")
    assert lines["--glaze"] == "--glaze none|egg|milk What is brushed on. [default: (egg)]"
    assert lines["--flour"] == ("--flour <str> The grain. One of wheat, rye, spelt, emmer, einkorn. [default: (rye)]")
    assert lines["--seeds"] == "--seeds SEEDS On top. [default: (none)]"
    assert lines["--loaves"] == "--loaves LIST Weights. [default: (1,2)]"
    assert lines["--rising"] == "--rising yes|no Before baking. [default: (yes)]"
    assert "--notes" not in lines
    assert "--time" not in lines


def test_headings_are_those_of_the_fields() -> None:
    heat = run(Bake, "--help").partition("Heat ─")[2]
    assert "--celsius" in heat
    assert "--minutes" in heat
    assert "--glaze" not in heat


def test_some_fields_alone_and_what_is_made_of_them() -> None:
    assert run(Part, "--salt", "3", "--celsius", "3") == {"salt": 3}
    assert "No such option: --glaze" in run(Part, "--glaze", "egg")


def test_an_old_name_is_reported_with_the_new_one() -> None:
    with pytest.raises(ConfigError) as failure:
        run(Bake, "--time", "3")
    assert str(failure.value) == "--time is --minutes now; write --minutes 3"


def test_a_new_field_is_an_option_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class More(Baking):
        crust: int = 3

    monkeypatch.setattr(sys.modules[__name__], "Baking", More)
    assert run(Bake, "--crust", "4") == {"crust": 4}


@pytest.mark.parametrize("configuration", [DataConfig, TrainConfig, BenchConfig, Plan])
def test_every_field_explains_itself(configuration: type[Record]) -> None:
    tables = ("factors", "arms", "budget", "search")
    assert [n for n, info in configuration.model_fields.items() if not info.description and n not in tables] == []


@pytest.mark.parametrize(
    "arguments", [("--help",), ("train", "--help"), ("study", "run", "--help"), ("bench", "--help")]
)
def test_help_waits_for_no_heavy_package(arguments: tuple[str, ...]) -> None:
    code = (
        "import sys\n"
        "from resnet_lab.cli.root import app\n"
        "import resnet_lab.cli\n"
        f"app([*{arguments}], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules\n"
        f"assert {len(arguments) > 1} or 'pydantic' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_hand_written_function_takes_twelve_parameters_at_most() -> None:
    for path in Path(package.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                assert len(taken) <= 12, f"{path.name}: {node.name}"


DESIGNS = {
    "--attn none,se": {
        "study": {"factors": {"attn": ["none", "se"]}, "name": "attn", "recipe": "digits-quick"},
    },
    "--act relu,gelu --factor train.lr=1e-3,1e-2 --data paintings --fit crop --folds 5": {
        "study": {"factors": {"act": ["relu", "gelu"], "train.lr": ["1e-3", "1e-2"]}, "name": "act-train.lr"},
        "data": {"source": "paintings", "fit": "crop", "folds": 5},
    },
    "--attn none,se --recipe strong --name mine --seeds 8 --margin 0.01 --vary init,order --tune-lr 1e-3,1e-2": {
        "study": {
            "factors": {"attn": ["none", "se"]}, "name": "mine", "recipe": "strong", "seeds": 8, "margin": 0.01,
            "vary": ["init", "order"], "tune_lr": [1e-3, 1e-2],
        },
    },
    "--attn none,se --set train.lr=1 --set train.ema=0.5 --lr 2 --size 8 --device cpu --batch-size auto": {
        "study": {"factors": {"attn": ["none", "se"]}, "name": "attn", "recipe": "digits-quick"},
        "model": {"input_size": 8}, "train": {"lr": 2.0, "ema": 0.5, "device": "cpu", "batch_size": "auto"},
    },
    "mine.toml --seeds 3 --epochs 2": {
        "study": {"seeds": 3, "arms": {"a": {}, "b": {"attn": "se"}}}, "train": {"lr": 0.5, "epochs": 2},
    },
}  # fmt: skip


@pytest.mark.parametrize("words", DESIGNS)
def test_options_of_a_study_are_its_tables(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text("[study]\nseeds = 6\n[study.arms.a]\n[study.arms.b]\nattn = 'se'\n[train]\nlr = 0.5\n")
    tables, where = run(Design, *words.split()).tables()
    assert tables == DESIGNS[words]
    assert where == ("mine.toml" if "mine.toml" in words else "the options")


def test_a_study_takes_no_seed_of_a_training() -> None:
    assert "No such option: --seed" in run(Design, "--attn", "none,se", "--seed", "3")
