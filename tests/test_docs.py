"""Documentation compared with the program."""

import ast
import pkgutil
import re
import runpy
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from resnet_lab.network import hookspecs
from resnet_lab.network.kinds import KINDS
from resnet_lab.network.plugins import load
from resnet_lab.recipes.recipe import names
from resnet_lab.study.design_files import shipped

DOCS = Path(__file__).parent.parent / "docs"
OPTIONS = {kind.slot: kind.name for kind in KINDS.values()}
ROOT = DOCS.parent
AVOIDED = re.compile(
    r"""\b(?:
        (?:go|goes|going|gone|went)\ on\b(?!\ CUDA)      # resumes, continues
      | begun                                         # started
      | anew                                          # again
      | in\ turns                                     # interleaved
      | as\ good\ as\ none                            # equivalence margin
      | whole\ or\ in\ pieces                         # micro-batches
      | no\ numbers?                                  # non-finite
      | (?:the|a)\ first\ process                     # rank 0
      | what\ is\ (?:said|left)                       # Statistics, Outputs
      | to\ the\ bit                                  # bit for bit
      | (?:images?|rows?|steps|epochs|bytes|values|seconds|ms|MACs|line|one)   # per
        \ an?\ (?:second|epoch|step|image|class|seed|trial|batch|process|GPU|file)
    )\b""",
    re.VERBOSE | re.IGNORECASE,
)
"""Phrases with a standard term, which is beside them."""

FIELDS = ("Formula", "Source", "Parameters", "Cost", "When it hurts")


def test_command_line_reference_is_the_program_s() -> None:
    made = runpy.run_path(str(DOCS / "command_line.py"))
    assert made["reference"]() == made["PAGE"].read_text(), "write it anew: python docs/command_line.py"


def cards() -> dict[tuple[str, str], str]:
    """Cards of docs/components.md, by kind and name."""
    parts = re.split(r"^### `--(\w+) (\w+)`$", (DOCS / "components.md").read_text(), flags=re.MULTILINE)
    return {
        (OPTIONS[option], name): text for option, name, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
    }


def test_every_component_has_a_card() -> None:
    registry = load(only=())
    assert set(cards()) == set(registry.entries)
    for key, text in cards().items():
        fields = dict(re.findall(r"^- \*\*([^*]+)\*\*: (.+)$", text, flags=re.MULTILINE))
        assert tuple(fields) == FIELDS, key
        assert text.strip().split("\n")[0], key
        named = set(re.findall(r"`(\w+)`", fields["Parameters"]))
        assert set(registry.entries[key].parameter_types()) <= named, key


@pytest.mark.parametrize("kind", KINDS)
def test_every_hook_has_a_contract_a_page_and_a_test(kind: str) -> None:
    hook = f"register_{kind}s"
    contract = getattr(hookspecs, hook).__doc__
    assert "factory(" in contract
    assert hook in (DOCS / "plugins.md").read_text()
    tests = [path for path in Path(__file__).parent.rglob("test_*.py") if path != Path(__file__)]
    assert any(hook in path.read_text() for path in tests)


def test_all_recipes_and_studies_are_documented() -> None:
    for page, known in {"recipes.md": names(), "study.md": shipped()}.items():
        text = (DOCS / page).read_text()
        assert [name for name in known if f"`{name}`" not in text] == []


def test_public_names_have_docstrings() -> None:
    """Names of docs/api.md and the plugin interface have docstrings."""
    listed = re.findall(r"^\.\. auto(?:function|class):: (\S+)$", (DOCS / "api.md").read_text(), flags=re.MULTILINE)
    assert len(listed) > 15
    plugin_api = import_module("resnet_lab.plugin_api")
    found = [f"resnet_lab.plugin_api.{name}" for name in plugin_api.__all__]
    for path in [*listed, *found]:
        value = pkgutil.resolve_name(path)
        if callable(value):
            assert value.__doc__, path


def texts() -> Iterator[tuple[Path, str]]:
    """Pages, templates, and the strings of every module."""
    pages = ("docs/**/*.md", "*.md", "findings/*.md", "resnet_lab/**/*.j2")
    for path in (path for pattern in pages for path in ROOT.glob(pattern)):
        yield path, path.read_text()
    for folder in ("resnet_lab", "plugins", "examples"):
        for path in ROOT.glob(f"{folder}/**/*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield path, node.value


def test_the_field_s_standard_terms_are_used() -> None:
    found = [(str(path), match.group()) for path, text in texts() for match in AVOIDED.finditer(" ".join(text.split()))]
    assert found == []


def first_lines() -> Iterator[tuple[str, str]]:
    """The first line of each docstring, by module and name."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for path in (ROOT / "resnet_lab").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, documented) and (text := ast.get_docstring(node)):
                yield f"{path}: {getattr(node, 'name', '')}", text.splitlines()[0]


def test_docstrings_begin_with_what_a_thing_is_or_does() -> None:
    avoided = {
        *("As", "By", "For", "From", "In", "Into", "Like", "Of", "On", "Over"),
        *("Those", "To", "What", "When", "Where", "Which", "With", "Without"),
    }
    assert [(where, line) for where, line in first_lines() if line.split()[0] in avoided] == []
