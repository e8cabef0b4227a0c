"""Output of a network's frozen first parts, computed once for each image and view, and kept on disk.

A folder of the cache, `frozen/KEY`, belongs to one beginning with its weights and one split of a set, and holds

    PART.features   a row for each image and view (`feature_file`)
    PART.sums       their checksums
    about.json      what it was made of, and the seals of the parts that are whole (`data.row_store`)
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from math import prod
from typing import Any, Literal

import torch
from rich.filesize import decimal
from torch import distributed

from resnet_lab.core.cache_location import cache_folder
from resnet_lab.core.errors import ConfigError, DataError
from resnet_lab.core.files import write_atomically
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.data.cache_folders import ABOUT, CacheError, bytes_free, held, is_full
from resnet_lab.data.image_columns import hexadecimal
from resnet_lab.data.loader import Loader
from resnet_lab.data.preparation import FREE_SHARE, Decoded
from resnet_lab.data.split import Part
from resnet_lab.device import Placement
from resnet_lab.network.checkpoint import Metadata
from resnet_lab.train.feature_file import FeatureFile
from resnet_lab.train.freezing import PartlyFrozen, require_possible

FORMAT = 1
"""Format of a folder; raised whenever what a frozen part computes from the same weights changes."""

Requested = Literal["auto", "on", "off"]


def cache_features(
    network: PartlyFrozen,
    batches: Mapping[Part, Loader],
    prepared: Decoded,
    metadata: Metadata,
    *,
    requested: Requested = "auto",
    epochs: int,
    watcher: Watcher = SILENT,
    after_step: Callable[[], None] = lambda: None,
) -> dict[Part, Loader]:
    """The batches that a training is to go through: of features where these are stored, and `network` then takes them.

    The test part, which is used once, is not cached.

    Args:
        network: on its device, with the weights that its frozen parts keep.
        prepared: what the batches were made of.
        metadata: of the network.
        requested: `auto` stores where that can be, fits on the disk, and is less work than it saves.
        epochs: that are still to come.
        watcher: notified of what is done and why.
        after_step: called after each batch; what it raises ends the work, and what was computed is kept.

    Raises:
        ConfigError: with `on` where it cannot be.
        DataError: with `on` where the cache cannot be written or the disk is too small.
    """
    placement = batches["train"].placement
    if requested == "off" or (requested == "auto" and not network.frozen):
        return dict(batches)

    def attempt(work: Callable[[], None]) -> bool:
        """Whether it could be done, by every process."""
        reason = ""
        try:
            work()
        except (ConfigError, DataError) as error:
            if requested == "on":
                raise
            reason = str(error)
        if _agreed(not reason, placement):
            return True
        watcher.say(f"the frozen parts run in every epoch ({reason or 'another process cannot store their output'})")
        return False

    if not attempt(lambda: require_possible(network, batches["train"].transform)):
        return dict(batches)
    store = _Store(network, batches, prepared, metadata)
    if requested == "auto" and not attempt(lambda: store.require_gain(epochs)):
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
        self, network: PartlyFrozen, batches: Mapping[Part, Loader], prepared: Decoded, metadata: Metadata
    ) -> None:
        self.network = network
        self.batches = batches
        self.features: dict[Part, Loader] = {}
        rearranging = batches["train"].transform.augment.rearranging
        views: dict[Part, int] = {"train": prod(each.views for each in rearranging), "val": 1}
        image_format, placement = prepared.pixels.image_format, batches["train"].placement
        with torch.inference_mode(), placement.autocast():
            example = network.fixed(
                placement.layout(torch.zeros(1, image_format.channels, image_format.size, image_format.size))
            )
        self.about: dict[str, Any] = {
            "format": FORMAT,
            "source": prepared.images.name,
            "form": asdict(image_format),
            "network": metadata.spec.name,
            "parts": network.fixed_parts,
            "images": {part: len(batches[part].images) for part in views},
            "views": views,
        }
        key = _key(network, batches, prepared, metadata, views, example.dtype)
        self.folder = cache_folder() / "frozen" / key
        shape, dtype = tuple(example.shape[1:]), example.dtype
        self.files = {
            part: FeatureFile(self.folder, part, len(batches[part].images), number, shape, dtype)
            for part, number in views.items()
        }

    def require_gain(self, epochs: int) -> None:
        """Raises `ConfigError` where more would be computed now than later."""
        missing = sum(int(file.missing().sum()) for file in self.files.values())
        saved = epochs * sum(len(self.batches[part].images) for part in self.files)
        if missing >= saved:
            raise ConfigError(
                f"cache_frozen: {missing} views of images would be computed to save {saved} in {epochs} epochs"
            )

    def require_room(self) -> None:
        """Raises `DataError` where the disk is too small."""
        needed = sum(int(file.missing().sum()) * file.store.nbytes for file in self.files.values())
        if needed > FREE_SHARE * bytes_free():
            raise DataError(
                f"{cache_folder()}: the output of the frozen parts takes {decimal(needed)}, and the disk has "
                f"{decimal(bytes_free())} free; free some space, name another place in RESNET_LAB_CACHE, or turn "
                "cache_frozen off"
            )

    def fill(self, watcher: Watcher, after_step: Callable[[], None]) -> None:
        """Bring the folder up to date; raises `DataError` where it cannot be written."""
        parts, nbytes = self.network.fixed_parts, sum(file.length * file.store.nbytes for file in self.files.values())
        watcher.say(
            f"the output of {parts[0] if len(parts) == 1 else f'{parts[0]} to {parts[-1]}'} is computed once and "
            f"stored, {decimal(nbytes)}: epochs run the rest alone"
        )
        try:
            with held(self.folder, watcher, after_step):
                try:
                    self._fill(watcher, after_step)
                except OSError as error:
                    if is_full(error):
                        shutil.rmtree(self.folder, ignore_errors=True)  # or the weights would find no room either
                    raise
        except CacheError as error:
            raise DataError(f"{error}, or turn cache_frozen off") from None

    def _fill(self, watcher: Watcher, after_step: Callable[[], None]) -> None:
        for part, file in self.files.items():
            file.fill(self.network, self.batches[part], watcher, after_step)
        used = datetime.now(UTC).isoformat(timespec="seconds")
        seals = {part: file.store.seal() for part, file in self.files.items()}
        about = json.dumps({**self.about, "used": used, "seals": seals}, indent=2)
        write_atomically(self.folder / ABOUT, about.encode())
        self.features = {part: file.loader(self.batches[part]) for part, file in self.files.items()}


def _key(
    network: PartlyFrozen,
    batches: Mapping[Part, Loader],
    prepared: Decoded,
    metadata: Metadata,
    views: Mapping[Part, int],
    dtype: torch.dtype,
) -> str:
    """Key that changes with anything that a feature depends on: 16 hexadecimal digits."""
    spec, placement = metadata.spec, batches["train"].placement
    numbering = [type(each).__name__ for each in batches["train"].transform.augment.rearranging]
    frozen_stages = spec.stages[: sum(name.startswith("layer") for name in network.fixed_parts)]
    described = (
        FORMAT, version("resnet-lab"), torch.__version__, metadata.plugins, metadata.plugin_sources,
        network.fixed_parts, spec.stem, frozen_stages, metadata.mean, metadata.std, prepared.pixels.image_format, views,
        numbering, dtype, placement.device.type, placement.precision, placement.channels_last,
    )  # fmt: skip
    digest = sha256(repr(described).encode())
    for name, tensor in network.state_dict().items():
        if name.split(".")[0] in network.fixed_modules:
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    for part in views:
        positions = batches[part].images.positions
        digest.update(" ".join(hexadecimal(prepared.examined.digests[positions])).encode())
    return digest.hexdigest()[:16]


def _agreed(here: bool, placement: Placement) -> bool:
    """Whether it is so in all processes of a training."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return here
    everywhere = torch.tensor(int(here), device=placement.device)
    distributed.all_reduce(everywhere, distributed.ReduceOp.MIN)
    return bool(everywhere)
