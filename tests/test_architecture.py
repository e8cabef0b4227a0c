"""Who may import whom: a room imports itself and the rooms on lower levels, inside functions and for types too."""

import ast
import pkgutil
import re
import subprocess
import sys
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import resnet_lab

PACKAGE = Path(resnet_lab.__file__).parent

LEVELS = (
    ("core",),
    ("network", "device"),
    ("plugin_api", "data", "scaffold"),
    ("evaluation",),
    ("train", "export"),
    ("bench", "recipes"),
    ("study", "testing"),
    ("report",),
    ("cli",),
    ("interactive",),
)

MODULES = {
    ".".join(("resnet_lab", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def room_of(module: str) -> str:
    """Empty for the package itself."""
    return module.split(".")[1] if "." in module else ""


def level_of(module: str) -> int:
    """Level of a module, from 0."""
    return next(number for number, rooms in enumerate(LEVELS) if room_of(module) in rooms)


def imported(source: str) -> set[str]:
    """Modules of this package that a source names in its imports."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            modules |= {full if full in MODULES else str(node.module) for full in names.values()}
    return {module for module in modules if module.split(".")[0] == "resnet_lab"}


IMPORTS = {module: imported(path.read_text()) - {module} for module, path in MODULES.items()}


def test_the_root_holds_rooms_alone() -> None:
    files = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert files == {"__init__.py", "__main__.py", "plugin_api.py", "py.typed"}
    assert folders | {"plugin_api"} == {room for level in LEVELS for room in level}
    assert len(folders) <= 16
    assert len(LEVELS) <= 10


@pytest.mark.parametrize("module", [module for module in MODULES if room_of(module) not in ("", "__main__")])
def test_a_module_imports_only_rooms_on_lower_levels(module: str) -> None:
    allowed = {room_of(module), *(room for rooms in LEVELS[: level_of(module)] for room in rooms)}
    assert {room_of(name) for name in IMPORTS[module]} <= allowed


def test_no_two_files_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


def test_no_two_public_classes_have_one_name() -> None:
    """Those for notebooks aside: a run, a study and a report are there what they are to a user."""
    names = Counter(
        node.name
        for module, path in MODULES.items()
        if room_of(module) != "interactive"
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, number in names.items() if number > 1] == []


def test_the_check_sees_every_form_of_import() -> None:
    source = (
        "import resnet_lab.network.zoo\nfrom resnet_lab.network import spec\n"
        "if TYPE_CHECKING:\n    from resnet_lab.data.split import Part\n"
        "def f():\n    from resnet_lab.cli.train import train\n    import torch"
    )
    assert imported(source) == {
        "resnet_lab.network.zoo",
        "resnet_lab.network.spec",
        "resnet_lab.data.split",
        "resnet_lab.cli.train",
    }


def test_the_documentation_has_the_same_levels() -> None:
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    rows = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| ") and line[2].isdigit()]
    levels = [{room.strip(" `/") for room in rooms.split(",")} for _, rooms in rows]
    assert [int(number) for number, _ in rows] == list(range(1, len(LEVELS) + 1))
    assert levels == [set(rooms) for rooms in LEVELS]


def walks() -> dict[str, list[str]]:
    """The stops of each walk of the documentation."""
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text().partition("## Walks")[2]
    titled = (section.partition("\n") for section in text.split("\n### ")[1:])
    return {title: re.findall(r"^\d+\. `([\w.]+)` ", body, flags=re.MULTILINE) for title, _, body in titled}


@pytest.mark.parametrize("title", ["One spec", "One image", "One trial", "One prediction"])
def test_a_walk_goes_down_along_imports(title: str) -> None:
    stops = walks()[title]
    assert 2 < len(stops) <= 12
    passed: list[str] = []
    for stop in stops:
        assert pkgutil.resolve_name(f"resnet_lab.{stop}") is not None
        module = max((name for name in MODULES if f"resnet_lab.{stop}.".startswith(f"{name}.")), key=len)
        if passed:
            assert level_of(module) <= level_of(passed[-1]), stop
            package = module.rpartition(".")[0]
            assert module in passed or any({module, package} & IMPORTS[name] for name in passed), stop
        passed.append(module)


WORDS = (
    "core.errors",
    "core.figure_names",
    "core.files",
    "core.size_schedule",
    "core.wording",
    "network.kinds",
    "network.spec",
    "study.remarks",
    "study.writing",
)
"""Modules of which pages may call functions: they find words, escape them, write files, and mark sizes in a plot."""


@pytest.mark.parametrize("module", [module for module in MODULES if room_of(module) == "report"])
def test_pages_are_made_from_plain_data(module: str) -> None:
    """Pages import no networks, Grad-CAM, sources of images, or tables on the disk."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            assert not {alias.name.partition(".")[0] for alias in node.names} & {*GATHERING, "resnet_lab"}
        elif isinstance(node, ast.ImportFrom):
            package, _, room = str(node.module).partition(".")
            assert package not in GATHERING
            if package == "resnet_lab" and room.partition(".")[0] != "report":
                not_plain = [alias.name for alias in node.names if not is_plain(str(node.module), alias.name)]
                assert not_plain == [], node.module


GATHERING = ("torch", "torchvision", "safetensors", "PIL", "csv", "tomllib")


def is_plain(module: str, name: str) -> bool:
    """Whether a name is a frozen class, a constant, or a function of a module that finds words."""
    value = getattr(import_module(module), name)
    if isinstance(value, type):
        frozen = getattr(value, "__dataclass_params__", None) or getattr(value, "model_config", None)
        return bool(frozen) and bool(frozen["frozen"] if isinstance(frozen, dict) else frozen.frozen)
    if callable(value) and hasattr(value, "__code__"):
        return module.removeprefix("resnet_lab.") in WORDS
    return not isinstance(value, ModuleType)


@pytest.mark.parametrize("module", MODULES)
def test_a_function_has_at_most_12_parameters(module: str) -> None:
    for function in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            parameters = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
            assert len([each for each in parameters if each.arg not in ("self", "cls")]) <= 12, function.name


def test_what_is_not_plain() -> None:
    for module, name in (
        ("core.run_folder", "Run"),
        ("core.tables", "rows_of"),
        ("data.sources", "open_images"),
        ("evaluation", "scoring"),
        ("evaluation.explanation", "GradCAM"),
        ("evaluation.opened_run", "OpenedRun"),
        ("evaluation.report_contents", "gather_report"),
        ("network.builder", "build"),
        ("study.trials", "StudyFolder"),
    ):
        assert not is_plain(f"resnet_lab.{module}", name), name
    for module, name in (("network.spec", "ModelSpec"), ("data.split", "PARTS"), ("core.history", "Epoch")):
        assert is_plain(f"resnet_lab.{module}", name), name


@pytest.mark.parametrize(
    "modules",
    [
        [module for module in MODULES if room_of(module) == "core"],
        [f"resnet_lab.network.{name}" for name in ("spec", "zoo", "differences", "hookspecs", "plugin_files")],
        ["resnet_lab.cli"],
    ],
    ids=["core", "network", "cli"],
)
def test_no_torch_without_need(modules: list[str]) -> None:
    """`resnet-lab --help` answers at once, and specs are read where torch is not installed."""
    imports = "\n".join(f"import {module}" for module in modules)
    code = f"import sys\n{imports}\nassert 'torch' not in sys.modules\n"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_nothing_slow_is_imported_without_need() -> None:
    """Dynamo, which torchvision brings along, takes two seconds; scikit-learn, with pandas and SciPy's, takes one."""
    slow = {"torch._dynamo", "pandas", "scipy.stats", "sklearn"}
    modules = "sys, resnet_lab.report.study_page, resnet_lab.train.training"
    code = f"import {modules}\nassert not {slow} & set(sys.modules)\n"
    subprocess.run([sys.executable, "-c", code], check=True)
