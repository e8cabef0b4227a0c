"""Public names come from the packages themselves; what documentation and examples import is among them."""

import ast
import pkgutil
import re
import subprocess
import sys
from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PUBLIC = {
    "resnet_lab": "Evaluation ModelSpec Report Run Study build evaluate features load report save study train zoo",
    "resnet_lab.core": "ImageSet ResNetLabError Run Watcher",
    "resnet_lab.network": "Component Coverage Encoder FeatureExtractor Metadata ModelSpec NetworkCost Registry build "
    "checkpoint default_registry features load load_weights measure open_weights save zoo",
    "resnet_lab.device": "Placement choose compile_for_training computes_bf16 largest_batch "
    "optimize_for_inference out_of_memory require_memory try_step",
    "resnet_lab.data": "DataConfig Prepared open_images prepare",
    "resnet_lab.evaluation": "Comparison Explainer GradCAM IntegratedGradients Occlusion Predictions SanityCheck "
    "Summary compare evaluate evaluate_weights explain gather_report grad_cam headline predict score stored summarise "
    "summary_of",
    "resnet_lab.train": "TrainConfig TrainResult data_config find_rate resume train train_config",
    "resnet_lab.export": "ExportError Exported FORMATS Format export",
    "resnet_lab.bench": "BenchArm BenchConfig BenchResult arms_of bench",
    "resnet_lab.recipes": "Recipe apply_settings names read_recipe",
    "resnet_lab.study": "Effect Plan Study StudyFindings StudyFolder findings judge make_tables read_study run_study",
    "resnet_lab.report": "build_report write_plots",
    "resnet_lab.interactive": "Evaluation Report Run Study evaluate report study train",
    "resnet_lab.testing": "Report Result check check_kernels conformance",
    "resnet_lab.scaffold": "full_kind new_plugin",
    "resnet_lab.plugin_api": "API_VERSION BasicBlock Bottleneck CBAM ConfigError DataError ImageSet Parts Register "
    "RegisterConvolution RegisterKernels RegisterNorm RunEnd RunStart ShortcutParts SpecError StemParts Tracker "
    "channel_max channel_mean column_mean hookimpl pixel_max pixel_mean row_mean",
}


def imported_names(source: str) -> set[tuple[str, str]]:
    """Package and name of each import of this program."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "resnet_lab":
            found |= {(str(node.module), alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names if alias.name.split(".")[0] == "resnet_lab"}
    return found


def sources() -> dict[str, str]:
    """Examples, and the Python of every page."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    blocks = {
        f"{page.name} {number}": block
        for page in pages
        for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.M | re.S))
    }
    return {path.name: path.read_text() for path in sorted((ROOT / "examples").glob("*.py"))} | blocks


@pytest.mark.parametrize("package", PUBLIC)
def test_the_public_names(package: str) -> None:
    module = import_module(package)
    assert sorted(module.__all__) == sorted(PUBLIC[package].split())
    for name in module.__all__:
        assert pkgutil.resolve_name(f"{package}:{name}") is not None
        assert name in dir(module)


def test_importing_a_module_first_hides_no_name() -> None:
    """A module of the name of a function would take its place in the package."""
    for package, names in PUBLIC.items():
        path = ROOT.joinpath(*package.split("."))
        modules = {each.stem for each in path.glob("*.py")} | {each.name for each in path.glob("*/")}
        packages = {"report", "study", "train"} if package == "resnet_lab" else {"checkpoint", "zoo"}
        assert modules & set(names.split()) <= packages, package


def test_a_package_of_the_name_of_a_function_is_that_function() -> None:
    for name in ("report", "study", "train"):
        module = import_module(f"resnet_lab.{name}")
        assert pkgutil.resolve_name(f"resnet_lab:{name}") is module
        assert signature(module) == signature(pkgutil.resolve_name(f"resnet_lab.interactive:{name}"))


@pytest.mark.parametrize("name", sources())
def test_documentation_and_examples_import_public_names(name: str) -> None:
    for package, imported in imported_names(sources()[name]):
        assert package in PUBLIC, f"{package} is private"
        assert not imported or imported in PUBLIC[package].split(), f"{package}.{imported} is private"


def test_nothing_is_imported_before_it_is_used() -> None:
    light = ["core", "network", "data", "evaluation", "train", "bench", "recipes", "study", "report", "interactive"]
    packages = ", ".join(f"resnet_lab.{name}" for name in light)
    code = f"import sys, resnet_lab, {packages}\nassert not {{'torch', 'numpy', 'pydantic'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
