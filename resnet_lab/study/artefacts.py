"""Trials at an address of fsspec, each as one archive: its run folder, and its outcome once it has finished."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from uuid import uuid4
from zipfile import ZipFile

from resnet_lab.core.errors import ConfigError, ResNetLabError, RunError
from resnet_lab.core.files import refuse_ways_out
from resnet_lab.study.trials import StudyFolder, Trial


class Artefacts:
    """The archives at an address: a folder, or a URL such as `s3://bucket/study`.

    Raises:
        ConfigError: fsspec is not installed, or does not know the address.
    """

    def __init__(self, address: str) -> None:
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise ConfigError('artefacts need the package fsspec: pip install "resnet-lab[ray]"') from None
        self.address = address if "://" in address else str(Path(address).resolve())
        try:
            self._files, self._root = url_to_fs(self.address)
        except (ValueError, ImportError) as error:
            raise ConfigError(f"{address}: not an address for artefacts: {error}") from None

    def require_writable(self) -> None:
        """Write a small file and remove it; raises `RunError` where that fails."""
        probe = f"{self._root}/.{uuid4().hex}"
        with self._reported("cannot be written"):
            self._files.makedirs(self._root, exist_ok=True)
            self._files.pipe_file(probe, b"resnet-lab")
            self._files.rm_file(probe)

    def has(self, trial: Trial) -> bool:
        """Whether there is anything of a trial; raises `RunError` where that is unknown."""
        with self._reported("cannot be read"):
            return bool(self._files.exists(self._path(trial)))

    def put(self, trial: Trial, folder: StudyFolder) -> None:
        """Keep what a study folder has of a trial, in the place of what was kept before.

        Raises:
            RunError: it cannot be written, or something in the run folder leads out of it; what was kept before still
                is.
        """
        refuse_ways_out(folder.run(trial).folder)
        run, outcome = folder.run(trial).folder, folder.trials / f"{trial.name}.json"
        part = f"{self._root}/.{trial.name}.{uuid4().hex}"
        with self._reported("cannot be written"):
            with self._files.open(part, "wb") as file, ZipFile(file, "w") as archive:
                for path in (*sorted(run.rglob("*")), outcome):
                    if path.is_file() and not path.name.startswith("."):
                        archive.write(path, path.relative_to(folder.trials))
            self._files.mv(part, self._path(trial))

    def get(self, trial: Trial, folder: StudyFolder) -> None:
        """Bring it into a study folder, the outcome last.

        Raises:
            RunError: there is none, it is damaged, or it cannot be written there.
        """
        run, outcome = folder.run(trial).folder, f"{trial.name}.json"
        with self._reported("cannot be fetched"), TemporaryDirectory(dir=folder.trials, prefix=".") as temporary:
            with self._files.open(self._path(trial), "rb") as file, ZipFile(file) as archive:
                archive.extractall(temporary)
            fetched = Path(temporary)
            if (fetched / run.name).exists():
                rmtree(run, ignore_errors=True)
                (fetched / run.name).rename(run)
            if (fetched / outcome).exists():
                (fetched / outcome).replace(folder.trials / outcome)

    def _path(self, trial: Trial) -> str:
        return f"{self._root}/{trial.name}.zip"

    @contextmanager
    def _reported(self, what: str) -> Iterator[None]:
        try:
            yield
        except ResNetLabError:
            raise
        except Exception as error:  # every kind of address has errors of its own
            cause = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            raise RunError(f"{self.address}: artefacts {what} there: {' '.join(str(cause).split())}") from error
