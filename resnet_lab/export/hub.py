"""A run on Hugging Face's hub: its weights, card, record and curves, in one commit."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from resnet_lab.core.errors import ConfigError
from resnet_lab.core.run_folder import Run
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.device.compiling import cause
from resnet_lab.export.card import model_card
from resnet_lab.export.exported_model import ExportError, open_exported_model
from resnet_lab.export.exporting import NAMES, digest_of
from resnet_lab.export.privacy import public_record
from resnet_lab.network.plugins import Registry, default_registry

CARD = NAMES["card"]


@dataclass(frozen=True)
class Upload:
    """A file of the repository.

    Attributes:
        content: the file it is read from, or what is in it.
        size: in bytes.
    """

    name: str
    content: Path | bytes
    size: int
    sha256: str


@dataclass(frozen=True)
class Pushed:
    """Result of a push to the hub.

    Attributes:
        url: of the repository, and `commit` of what was added.
    """

    url: str
    commit: str
    private: bool


def uploads(run: Path, *, license: str | None = None, registry: Registry | None = None) -> tuple[Upload, ...]:
    """Files for the hub: the best weights, a card, run.json without the machine's paths, metrics and curves.

    A README.md in the run folder is taken as the card, as its owner may have added to it; else one is made.

    Raises:
        RunError: not a run folder, or one without weights.
        CheckpointError, PluginError: its weights cannot be used.
        ConfigError: a license, where a card is there already.
    """
    opened = Run.open(run)
    original = open_exported_model(run, registry or default_registry())
    card = opened.folder / CARD
    if card.exists() and license is not None:
        raise ConfigError(f"{card} is there and is uploaded as it is; write the license into it, or remove it")
    record = json.dumps(public_record(opened.read()), indent=2).encode()
    contents: dict[str, Path | bytes] = {
        "model.safetensors": opened.best,
        CARD: card if card.exists() else model_card(original, license=license).encode(),
        opened.record.name: record,
        **{path.name: path for path in (opened.metrics, opened.curves) if path.exists()},
    }
    return tuple(_upload(name, content) for name, content in contents.items())


def check_repository(repository: str) -> None:
    """Raise `ConfigError` for what is no NAMESPACE/NAME as the hub has them, and `ExportError` without its library."""
    utilities = _library("utils")
    try:
        utilities.validate_repo_id(repository)
    except _library("errors").HFValidationError as error:
        raise ConfigError(f"repository {repository!r}: {error}") from None
    if "/" not in repository:
        raise ConfigError(
            f"repository {repository!r} must be written NAMESPACE/NAME: your user name or organisation on the hub, "
            "a slash, and a name"
        )


def push(repository: str, files: tuple[Upload, ...], *, private: bool = False, watcher: Watcher = SILENT) -> Pushed:
    """Make the repository, unless it is there, and add the files in one commit.

    Args:
        repository: NAMESPACE/NAME.
        private: whether others may not see it; a public one that is there already is refused then.

    Raises:
        ConfigError: no such name can be.
        ExportError: the hub's library is not installed, no token, no network, or the hub refuses.
    """
    check_repository(repository)
    library = _library()
    api = library.HfApi(library_name="resnet-lab", library_version=version("resnet-lab"))
    if library.get_token() is None:
        raise ExportError(
            f"not logged in to {api.endpoint}: run `hf auth login`, or set HF_TOKEN to a token that may write"
        )
    with _explained(repository, api.endpoint):
        url = api.create_repo(repository, private=private or None, exist_ok=True)
        is_private = bool(api.repo_info(repository).private)
    if private and not is_private:
        raise ExportError(f"{url} is there already and is public; make it private in its settings, or drop --private")
    watcher.say(f"uploading {len(files)} files to {url} ({'private' if is_private else 'public'})")
    operations = [
        library.CommitOperationAdd(file.name, str(file.content) if isinstance(file.content, Path) else file.content)
        for file in files
    ]
    message = f"Upload of a network trained with resnet-lab {version('resnet-lab')}"
    with _explained(repository, api.endpoint):
        commit = api.create_commit(repository, operations, commit_message=message)
    return Pushed(str(url), commit.oid, is_private)


def _library(module: str = "") -> ModuleType:
    try:
        return import_module(f"huggingface_hub.{module}".rstrip("."))
    except ImportError:
        raise ExportError('push-to-hub needs the package huggingface_hub; pip install "resnet-lab[hub]"') from None


@contextmanager
def _explained(repository: str, endpoint: str) -> Iterator[None]:
    """Whatever the hub's library raises in here, as one sentence."""
    refusal = _library("errors").HfHubHTTPError
    transport = refusal.__mro__[1]  # base of the errors of the library that it speaks HTTP with
    try:
        yield
    except refusal as error:
        raise ExportError(_refusal(error, repository, endpoint)) from error
    except (OSError, transport) as error:
        raise ExportError(
            f"the connection to {endpoint} failed ({cause(error)}); check the network and try again"
        ) from error
    except (RuntimeError, ValueError) as error:
        inner = error.__cause__
        reason = f" ({cause(inner)})" if isinstance(inner, Exception) else ""
        raise ExportError(f"the upload to {repository} failed: {' '.join(str(error).split())}{reason}") from error


def _refusal(error: Any, repository: str, endpoint: str) -> str:
    status = error.response.status_code
    if status == 401:
        return (
            f"{endpoint} does not accept the token; make one that may write at {endpoint}/settings/tokens, "
            "then run `hf auth login` or set HF_TOKEN"
        )
    if status == 403:
        namespace = repository.split("/")[0]
        return (
            f"{endpoint} does not let you write to {repository}: {namespace} is another's, or your token may only "
            "read; choose a namespace of yours, or make a token that may write"
        )
    message = " ".join((error.server_message or str(error)).split())
    return f"{endpoint} refused {repository} with status {status}: {message}"


def _upload(name: str, content: Path | bytes) -> Upload:
    if isinstance(content, bytes):
        return Upload(name, content, len(content), hashlib.sha256(content).hexdigest())
    return Upload(name, content, content.stat().st_size, digest_of(content))
