"""The source of plugins: its hash, the API it asks for, and single files as plugins."""

import ast
import hashlib
import os
import sys
import traceback
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from resnet_lab.core.errors import PluginError
from resnet_lab.network.hookspecs import API_VERSION

FILES_VARIABLE = "RESNET_LAB_PLUGIN_FILES"
"""Environment variable: files that are plugins, parted as in PATH. `--plugin` sets it, so that every process which a
command starts has them too."""


def named_files() -> list[Path]:
    """The files in the environment variable."""
    return [Path(text) for text in os.environ.get(FILES_VARIABLE, "").split(os.pathsep) if text]


def name_files(paths: Iterable[str | Path]) -> None:
    """Have this process and those it starts load these files too.

    Raises:
        PluginError: a path with the sign that parts paths in an environment variable.
    """
    files = dict.fromkeys(str(path) for path in named_files())
    for path in paths:
        if os.pathsep in str(path):
            raise PluginError(f"plugin file {path}: its path has a {os.pathsep!r} in it; move or rename it")
        files[os.path.abspath(path)] = None
    os.environ[FILES_VARIABLE] = os.pathsep.join(files)


def digest_of_module(name: str) -> str:
    """SHA-256 of a module's source without importing it: of the file, or of all files of a package with their names.

    Of a dotted name, the whole package at its head is meant. Empty where there is no source.
    """
    spec = find_spec(name.partition(".")[0])
    if spec is None:
        return ""
    digest = hashlib.sha256()
    if spec.submodule_search_locations is None:
        return digest_of_file(Path(spec.origin)) if spec.origin and spec.origin.endswith(".py") else ""
    for folder in map(Path, spec.submodule_search_locations):
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file, as `sha256sum` prints it; raises `OSError`."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def require_api_of_module(name: str) -> None:
    """Check the API like `require_api`, for a module that is not imported yet."""
    spec = find_spec(name)
    if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
        require_api(Path(spec.origin).read_bytes())


def require_api(source: bytes) -> None:
    """Raise `PluginError` where a module's `requires_api = NUMBER` is more than this program offers.

    It is read before the module runs, since what the module imports may be what is missing.
    """
    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError):
        return  # which the import tells better
    for statement in statements:
        if not isinstance(statement, ast.Assign | ast.AnnAssign):
            continue
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        if not any(isinstance(target, ast.Name) and target.id == "requires_api" for target in targets):
            continue
        wanted = statement.value.value if isinstance(statement.value, ast.Constant) else None
        if type(wanted) is not int:
            raise PluginError("requires_api must be a whole number, such as requires_api = 1")
        if wanted > API_VERSION:
            raise PluginError(
                f"it needs plugin API {wanted}, and this resnet-lab offers {API_VERSION}: upgrade resnet-lab"
            )


def module_of_file(path: Path) -> tuple[ModuleType, str]:
    """A file run as a module, and its SHA-256; a file that was run before and is unchanged is not run again.

    Raises:
        OSError: it cannot be read.
        PluginError: it needs a newer API.
        Exception: whatever its code raises.
    """
    source = path.read_bytes()
    digest = hashlib.sha256(source).hexdigest()
    require_api(source)
    known_by = hashlib.sha256(bytes(path) + source).hexdigest()[:16]
    name = f"resnet_lab_file_{known_by}"
    if name not in sys.modules:
        module = ModuleType(name)
        module.__file__ = str(path)
        sys.modules[name] = module  # where dataclasses and annotations look for it
        try:
            exec(compile(source, str(path), "exec"), module.__dict__)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name], digest


def line_of(error: BaseException, path: Path) -> int | None:
    """The line of the file at which an error came up; None where it did not come up there."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] if lines else None
