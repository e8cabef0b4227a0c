"""What the frozen beginning of a network gives, computed once for each image and view, and kept on disk.

Legend: N images, V views, C channels, H W pixels of a feature map.

A folder of the cache, `frozen/KEY`, belongs to one beginning with its weights and one split of a set, and holds

    PART.features   a row for each image and view: H x W x C numbers, or C where they are pooled
    PART.sums       for each row 2^32 + the CRC-32 of its bytes; 0 where there is none yet
    about.json      what it was made of, and the seals of the parts that are whole

A row is written before its sum, so a kill leaves at most rows without a sum. Sums are looked at unless a part is known
to be as the last process left it (`rows.Rows.seal`), so what a power failure took is computed again.
"""

import errno
import json
import os
import shutil
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any, Literal

import filelock
import numpy as np
import torch
from numpy.typing import NDArray
from rich.filesize import decimal
from torch import Tensor, distributed

from resnet_lab.core.errors import ConfigError, DataError, RunError
from resnet_lab.core.files import write_atomically
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.data.batches import Batches
from resnet_lab.data.cache import bytes_free, cache_folder
from resnet_lab.data.draws import Draws
from resnet_lab.data.preparation import FREE_SHARE, Decoded
from resnet_lab.data.rows import Rows
from resnet_lab.data.sampling import even_steps, repeats, shuffled, steps_of
from resnet_lab.data.split import Part
from resnet_lab.data.threads import in_order
from resnet_lab.device import Placement
from resnet_lab.network.checkpoint import Metadata
from resnet_lab.train.freezing import PartlyFrozen, features_of, require_possible

FORMAT = 1
"""Of a folder; raised whenever what a frozen part computes from the same weights changes."""

ABOUT = "about.json"

AHEAD = 4
"""Batches of features that wait to be written while the next is computed."""

ROWS_AT_ONCE = 1024
"""That are checked between two looks at whether to stop."""

_THERE = np.uint64(1 << 32)

Wish = Literal["auto", "on", "off"]


class FeatureFile:
    """The features of one part.

    Args:
        images, views: how many there are; row i V + v is view v of image i.
        shape: of one image's features: C H W, or C.
    """

    def __init__(
        self, folder: Path, part: Part, images: int, views: int, shape: tuple[int, ...], dtype: torch.dtype
    ) -> None:
        self.part = part
        self.views = views
        self.shape = shape
        self.dtype = dtype
        self.length = images * views
        self.rows = Rows(folder / f"{part}.features", prod(shape) * dtype.itemsize)
        self._sums = Rows(folder / f"{part}.sums", _THERE.itemsize)

    def missing(self) -> NDArray[np.bool_]:
        """Whether each row has yet to be computed, shape (N, V), by what the sums say."""
        there: NDArray[np.bool_] = self._read_sums() >> np.uint64(32) == 1
        return ~there.reshape(-1, self.views)

    def forget_damaged(self, watcher: Watcher, after_step: Callable[[], None]) -> None:
        """Look at every row that is said to be there; those that are not as they were written are missing from now on.

        Args:
            after_step: called now and then; what it raises ends the work.
        """
        sums = self._read_sums()
        there = np.flatnonzero(sums >> np.uint64(32) == 1)
        if not len(there):
            return
        watcher.begin(f"checking stored features, {self.part}", len(there))
        with self._sums.writing() as write:
            for some in np.array_split(there, 1 + len(there) // ROWS_AT_ONCE):
                expected = [(row, int(sums[row]) & 0xFFFFFFFF) for row in some.tolist()]
                for row in self.rows.damaged(expected, watcher.advance):
                    write(row, bytes(_THERE.itemsize))
                after_step()

    def fill(self, network: PartlyFrozen, images: Batches, watcher: Watcher, after_step: Callable[[], None]) -> None:
        """Compute and write what is missing; raises `OSError`, and what `after_step` raises."""
        missing = self.missing()
        if not missing.any():
            return
        watcher.begin(f"computing frozen features, {self.part}", int(missing.sum()))
        with self.rows.writing() as write, self._sums.writing() as write_sum, ThreadPoolExecutor(1) as pool:

            def keep(computed: tuple[NDArray[np.int64], NDArray[np.uint8]]) -> int:
                for row, features in zip(computed[0].tolist(), computed[1], strict=True):
                    content = features.tobytes()
                    write(row, content)
                    write_sum(row, (_THERE + np.uint64(zlib.crc32(content))).tobytes())
                return len(computed[0])

            with closing(in_order(pool, keep, features_of(network, images, missing), AHEAD)) as kept:
                for number in kept:
                    for _ in range(number):
                        watcher.advance()
                    after_step()

    def _read_sums(self) -> NDArray[np.uint64]:
        """Shape (N V,); zero where the file ends too early."""
        sums = np.zeros(self.length, dtype=np.uint64)
        if self._sums.path.exists():
            found = np.fromfile(self._sums.path, dtype=np.uint64)[: self.length]
            sums[: len(found)] = found
        return sums


class FeatureBatches(Batches):
    """What `images` would serve, in the same steps and views, as features."""

    def __init__(self, images: Batches, file: FeatureFile) -> None:
        vars(self).update(vars(images))
        self._resident = None
        self._file = file
        self._descriptor = os.open(file.rows.path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def training(self, epoch: int, first_step: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        order = shuffled(self.labels, self.seed, epoch, balanced=self.balanced, chunks=self.chunks)
        draws = Draws(self.seed, epoch, self.positions[order], repeats(order))
        rows = order * self._file.views + self.augment.chosen(draws).numpy()
        return self._rows_of(steps_of(rows, self.batch_size, self.rank, self.world_size)[first_step:])

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        size = min(self.batch_size, len(self.positions))
        served = self._rows_of(even_steps(self.share * self._file.views, size))
        left = len(self.share)
        for x, y in served:
            yield x, y[:left]
            left -= size

    def _rows_of(self, steps: list[NDArray[np.int64]]) -> Iterator[tuple[Tensor, Tensor]]:
        def with_labels(step: int, batch: Tensor) -> tuple[Tensor, Tensor]:
            batch = self.placement.layout(batch) if batch.ndim == 4 else batch
            return batch, self._labels[torch.from_numpy(steps[step] // self._file.views).to(self.placement.device)]

        return self._served(steps, with_labels)

    def _gather(self, chosen: NDArray[np.int64]) -> Tensor:
        """Rows of these numbers: (N, C, H, W), channels-last, or (N, C), where the processor can write."""
        file, nbytes = self._file, self._file.rows.nbytes
        if self.placement.device.type == "cuda":
            batch = torch.empty((len(chosen), nbytes), dtype=torch.uint8, pin_memory=True)
        else:
            batch = self._buffers.take((len(chosen), nbytes), np.uint8)
        for row, target in zip(chosen.tolist(), batch.numpy(), strict=True):
            if os.preadv(self._descriptor, [target.data], row * nbytes) != nbytes:
                raise DataError(f"{file.rows.path}: cut short while it was in use; start again to have it mended")
        channels, *sides = file.shape
        features = batch.view(file.dtype).view(len(chosen), *sides, channels)
        return features.permute(0, 3, 1, 2) if sides else features


def cache_features(
    network: PartlyFrozen,
    batches: Mapping[Part, Batches],
    prepared: Decoded,
    metadata: Metadata,
    *,
    wish: Wish = "auto",
    epochs: int,
    watcher: Watcher = SILENT,
    after_step: Callable[[], None] = lambda: None,
) -> dict[Part, Batches]:
    """The batches that a training is to go through: of features where these are stored, and `network` then takes them.

    The test part, which is looked at once, stays as it is.

    Args:
        network: on its device, with the weights that its frozen parts keep.
        prepared: what the batches were made of.
        metadata: of the network.
        wish: `auto` stores where that can be, fits on the disk, and is less work than it saves.
        epochs: that are still to come.
        watcher: is told what is done and why.
        after_step: called after each batch; what it raises ends the work, and what was computed is kept.

    Raises:
        ConfigError: with `on` where it cannot be.
        DataError: with `on` where the cache cannot be written or the disk is too small.
    """
    placement = batches["train"].placement
    if wish == "off" or (wish == "auto" and not network.frozen):
        return dict(batches)

    def attempt(work: Callable[[], None]) -> bool:
        """Whether it could be done, by every process."""
        reason = ""
        try:
            work()
        except (ConfigError, DataError) as error:
            if wish == "on":
                raise
            reason = str(error)
        if _agreed(not reason, placement):
            return True
        watcher.say(f"the frozen parts run in every epoch ({reason or 'another process cannot store their output'})")
        return False

    if not attempt(lambda: require_possible(network, batches["train"].augment)):
        return dict(batches)
    store = _Store(network, batches, prepared, metadata)
    if wish == "auto" and not attempt(lambda: store.require_gain(epochs)):
        return dict(batches)
    if not (attempt(store.require_room) and attempt(lambda: store.fill(watcher, after_step))):
        return dict(batches)
    network.takes_features = True
    return {**batches, **store.features}


class _Store:
    """The folder of the cache that belongs to a network's frozen beginning and a training's images.

    Attributes:
        features: of each part, once it is filled.
    """

    def __init__(
        self, network: PartlyFrozen, batches: Mapping[Part, Batches], prepared: Decoded, metadata: Metadata
    ) -> None:
        self.network = network
        self.batches = batches
        self.features: dict[Part, Batches] = {}
        views: dict[Part, int] = {"train": prod(each.views for each in batches["train"].augment.rearranging), "val": 1}
        form, placement = prepared.pixels.form, batches["train"].placement
        with torch.inference_mode(), placement.autocast():
            example = network.fixed(placement.layout(torch.zeros(1, form.channels, form.size, form.size)))
        self.about: dict[str, Any] = {
            "format": FORMAT,
            "source": prepared.images.name,
            "form": asdict(form),
            "network": metadata.spec.name,
            "parts": network.fixed_parts,
            "images": {part: len(batches[part].positions) for part in views},
            "views": views,
        }
        key = _key(network, batches, prepared, metadata, views, example.dtype)
        self.folder = cache_folder() / "frozen" / key
        self.files = {
            part: FeatureFile(
                self.folder, part, len(batches[part].positions), number, tuple(example.shape[1:]), example.dtype
            )
            for part, number in views.items()
        }

    def require_gain(self, epochs: int) -> None:
        """Raises `ConfigError` where more would be computed now than later."""
        missing = sum(int(file.missing().sum()) for file in self.files.values())
        saved = epochs * sum(len(self.batches[part].positions) for part in self.files)
        if missing >= saved:
            raise ConfigError(
                f"cache_frozen: {missing} views of images would be computed to save {saved} in {epochs} epochs"
            )

    def require_room(self) -> None:
        """Raises `DataError` where the disk is too small."""
        needed = sum(int(file.missing().sum()) * file.rows.nbytes for file in self.files.values())
        if needed > FREE_SHARE * bytes_free():
            raise DataError(
                f"{cache_folder()}: the output of the frozen parts takes {decimal(needed)}, and the disk has "
                f"{decimal(bytes_free())} free; free some space, name another place in RESNET_LAB_CACHE, or turn "
                "cache_frozen off"
            )

    def fill(self, watcher: Watcher, after_step: Callable[[], None]) -> None:
        """Bring the folder up to date; raises `DataError` where it cannot be written."""
        parts, nbytes = self.network.fixed_parts, sum(file.length * file.rows.nbytes for file in self.files.values())
        watcher.say(
            f"the output of {parts[0] if len(parts) == 1 else f'{parts[0]} to {parts[-1]}'} is computed once and "
            f"stored, {decimal(nbytes)}: epochs run the rest alone"
        )
        try:
            with _locked(self.folder, watcher, after_step):
                try:
                    self._fill(watcher, after_step)
                except OSError as error:
                    if error.errno in (errno.ENOSPC, errno.EDQUOT):
                        shutil.rmtree(self.folder, ignore_errors=True)  # or the weights would find no room either
                    raise
        except (OSError, RunError) as error:
            raise DataError(
                f"{self.folder}: the output of the frozen parts cannot be stored: "
                f"{getattr(error, 'strerror', None) or error}; name another place in RESNET_LAB_CACHE, or turn "
                "cache_frozen off"
            ) from None

    def _fill(self, watcher: Watcher, after_step: Callable[[], None]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        known = _seals(self.folder)
        for part, file in self.files.items():
            if not file.rows.seal() or file.rows.seal() != known.get(part):
                file.forget_damaged(watcher, after_step)
            file.fill(self.network, self.batches[part], watcher, after_step)
        used = datetime.now(UTC).isoformat(timespec="seconds")
        seals = {part: file.rows.seal() for part, file in self.files.items()}
        about = json.dumps({**self.about, "used": used, "seals": seals}, indent=2)
        write_atomically(self.folder / ABOUT, about.encode())
        self.features = {part: FeatureBatches(self.batches[part], file) for part, file in self.files.items()}


def _key(
    network: PartlyFrozen,
    batches: Mapping[Part, Batches],
    prepared: Decoded,
    metadata: Metadata,
    views: Mapping[Part, int],
    dtype: torch.dtype,
) -> str:
    """What changes with anything that a feature depends on: 16 hexadecimal digits."""
    spec, placement = metadata.spec, batches["train"].placement
    numbering = [type(each).__name__ for each in batches["train"].augment.rearranging]
    frozen_stages = spec.stages[: sum(name.startswith("layer") for name in network.fixed_parts)]
    described = (
        FORMAT, version("resnet-lab"), torch.__version__, metadata.plugins, metadata.plugin_sources,
        network.fixed_parts, spec.stem, frozen_stages, metadata.mean, metadata.std, prepared.pixels.form, views,
        numbering, dtype, placement.device.type, placement.precision, placement.channels_last,
    )  # fmt: skip
    digest = sha256(repr(described).encode())
    for name, tensor in network.state_dict().items():
        if name.split(".")[0] in network.fixed_modules:
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    for part in views:
        digest.update(" ".join(prepared.examined[position].digest for position in batches[part].positions).encode())
    return digest.hexdigest()[:16]


def _seals(folder: Path) -> dict[str, str]:
    """Of each part that was whole when a process left it; none where nothing can be read."""
    try:
        return dict(json.loads((folder / ABOUT).read_text(encoding="utf-8"))["seals"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


@contextmanager
def _locked(folder: Path, watcher: Watcher, after_step: Callable[[], None]) -> Iterator[None]:
    """Held while a folder is filled; it lies outside of it, where the rest of the cache has its locks."""
    path = cache_folder() / "locks" / folder.name
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        watcher.say("another process is storing the output of these frozen parts; waiting for it")
    while not lock.is_locked:
        after_step()
        with suppress(filelock.Timeout):
            lock.acquire(timeout=0.2)
    try:
        yield
    finally:
        lock.release()


def _agreed(here: bool, placement: Placement) -> bool:
    """Whether it is so in all processes of a training."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return here
    everywhere = torch.tensor(int(here), device=placement.device)
    distributed.all_reduce(everywhere, distributed.ReduceOp.MIN)
    return bool(everywhere)
