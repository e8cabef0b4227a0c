"""Who may import whom: a room imports itself and the rooms before it, inside functions too."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import resnet_lab

PACKAGE = Path(resnet_lab.__file__).parent

ROOMS = (  # noqa: SIM905 (read as the documentation has it)
    "errors watcher escaping spec zoo differences images model hookspecs builtin plugin_files plugins plugin_api "
    "initialisation builder cost files children checkpoint allocator device processes data metrics run weights "
    "predictions evaluate predict explain gallery compare train recipes bench study export testing scaffold report cli"
).split()

MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py" and path.parent != PACKAGE
) + sorted(path for path in PACKAGE.glob("*.py") if path.name not in ("__init__.py", "__main__.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(source: str) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            inside = node.module == "resnet_lab"
            names = [f"resnet_lab.{alias.name}" for alias in node.names] if inside else [node.module or ""]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("resnet_lab.")}
    return rooms


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_rooms_before_its_own(path: Path) -> None:
    allowed = ROOMS[: ROOMS.index(room_of(path)) + 1]
    assert imported_rooms(path.read_text()) <= set(allowed)


def test_the_check_sees_every_form_of_import() -> None:
    source = "import resnet_lab.zoo\nfrom resnet_lab import spec\ndef f():\n    from resnet_lab.cli.train import train"
    assert imported_rooms(source) == {"zoo", "spec", "cli"}


def test_the_documentation_has_the_same_order() -> None:
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    assert " < ".join(ROOMS) in " ".join(text.split())


@pytest.mark.parametrize("rooms", ["spec, zoo, images, hookspecs", "cli"])
def test_no_torch_without_need(rooms: str) -> None:
    """`resnet-lab --help` answers at once, and specs are read where torch is not installed."""
    imports = "\n".join(f"import resnet_lab.{room.strip()}" for room in rooms.split(","))
    code = f"import sys\n{imports}\nassert 'torch' not in sys.modules\n"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_no_compiler_without_need() -> None:
    """Dynamo takes two seconds to import, and torchvision brings it along."""
    code = "import sys\nimport resnet_lab.report.study_page\nassert 'torch._dynamo' not in sys.modules\n"
    subprocess.run([sys.executable, "-c", code], check=True)
