"""Checks of data sets. Legend: N images."""

import random
from collections import Counter
from hashlib import sha256
from typing import Any

import numpy as np
import torch

from resnet_lab.core.errors import ResNetLabError
from resnet_lab.core.images import ImageSet
from resnet_lab.data.decoding import decode, digest_of
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.sources import open_images
from resnet_lab.data.split import PARTS
from resnet_lab.network.plugins import Entry, Registry
from resnet_lab.network.spec import Component
from resnet_lab.testing.results import BreachError, breach_if_raised
from resnet_lab.testing.storing import DEFAULTS, written_out

READ = 64
"""Images that are read, spread over the whole set."""


class DataSetUnderTest:
    """A data set to check."""

    def __init__(self, entry: Entry, component: Component, registry: Registry) -> None:
        self.entry, self.component, self.registry = entry, component, registry

    def open(self) -> ImageSet:
        """The images, opened again."""
        with breach_if_raised(str(self.component), what="opening it raises"):
            images = self.registry.bind("dataset", self.component, "check")()
        if not isinstance(images, ImageSet):
            raise BreachError(
                f"the factory gave {type(images).__name__}, not an ImageSet",
                str(self.component),
                "return resnet_lab.plugin_api.ImageSet(...)",
            )
        return images

    def some(self, images: ImageSet) -> list[int]:
        """Indices spread over the set, first and last among them."""
        return sorted({int(index) for index in np.linspace(0, len(images) - 1, min(READ, len(images)))})


def classes(tested: DataSetUnderTest) -> str:
    """At least two classes, each with a unique name and at least one image."""
    images = tested.open()
    named = Counter(images.classes)
    if len(named) < 2:
        raise BreachError(f"{len(named)} class is too few", str(tested.component), "give two or more")
    for name, times in named.items():
        if not isinstance(name, str) or not name or times > 1:
            raise BreachError(f"class name {name!r} occurs {times} times", str(tested.component), "name each once")
    return f"{len(images.classes)} classes"


def labels(tested: DataSetUnderTest) -> str:
    """Labels are int64, one per image, each an index of a class, and every class is used."""
    images = tested.open()
    array, where = images.labels, str(tested.component)
    if not isinstance(array, np.ndarray) or array.dtype != np.int64 or array.shape != (len(images),):
        shape = f"{array.dtype}, shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise BreachError(
            f"labels are {shape}, expected int64, shape ({len(images)},)", where, "np.asarray(labels, dtype=np.int64)"
        )
    wrong = np.flatnonzero((array < 0) | (array >= len(images.classes)))
    if len(wrong):
        raise BreachError(
            f"label {array[wrong[0]]} is no position in {len(images.classes)} classes",
            f"{where}, image {wrong[0]}",
            "a label counts from 0",
        )
    unused = sorted(set(range(len(images.classes))) - set(array.tolist()))
    if unused:
        raise BreachError(f"class {images.classes[unused[0]]!r} has no image", where, "leave it out")
    return f"{len(images)} images"


def paths(tested: DataSetUnderTest) -> str:
    """One unique identifying text per image; `parts` and `chunks`, where given, have one entry per image too."""
    images, where = tested.open(), str(tested.component)
    for path, times in Counter(images.paths).items():
        if not isinstance(path, str) or times > 1:
            raise BreachError(f"path {path!r} occurs {times} times", where, "give each image a text of its own")
    if images.parts is not None and (len(images.parts) != len(images) or set(images.parts) - {*PARTS, ""}):
        raise BreachError("parts must have train, val, test or nothing for each image", where)
    if images.chunks is not None and images.chunks.shape != (len(images),):
        raise BreachError(f"chunks have shape {images.chunks.shape}, expected ({len(images)},)", where)
    return ""


def decoding(tested: DataSetUnderTest) -> str:
    """Images can be read and decoded."""
    images = tested.open()
    for index in tested.some(images):
        where = f"{tested.component}, image {index} ({images.paths[index]})"
        with breach_if_raised(where, "read(index) gives the bytes of a file, or a PIL.Image.Image"):
            pixels, seen = decode(images.read(index), ImageFormat(8))
        if pixels is None:
            raise BreachError(f"it cannot be decoded: {seen.cause}", where, "read(index) gives a whole image")
    return f"{len(tested.some(images))} of {len(images)} images"


def determinism(tested: DataSetUnderTest) -> str:
    """Opening or reading it again gives the same, and changes no global random number generator."""
    hint = "draw with numpy.random.default_rng([seed, index]), so that an image depends on its number alone"
    before = generators()
    first, second = tested.open(), tested.open()
    for name in ("classes", "paths"):
        if getattr(first, name) != getattr(second, name):
            raise BreachError(f"opened again it has other {name}", str(tested.component), hint)
    if not np.array_equal(first.labels, second.labels):
        raise BreachError("opened again it has other labels", str(tested.component), hint)
    for index in tested.some(first):
        digests = {digest_of(images.read(index)) for images in (first, first, second)}
        stamps = {images.stamp(index) for images in (first, second) if images.stamp is not None}
        if len(digests) > 1 or len(stamps) > 1:
            raise BreachError("read again it is another image", f"{tested.component}, image {index}", hint)
    if generators() != before:
        raise BreachError("it draws from a global generator of random numbers", str(tested.component), hint)
    return ""


def generators() -> str:
    """State of the global random number generators, as one text."""
    state: tuple[Any, ...] = (random.getstate(), np.random.get_state(), torch.get_rng_state().tolist())
    return sha256(repr(state).encode()).hexdigest()


def spec(tested: DataSetUnderTest) -> str:
    """The specification with every parameter written out opens the same images, as with `--data`."""
    written = written_out(tested.entry, tested.component)
    try:
        opened = open_images(str(written), tested.registry)
    except ResNetLabError as error:
        raise BreachError(str(error), str(written), DEFAULTS) from None
    if opened.paths != tested.open().paths:
        raise BreachError("with its defaults written out it has other images", str(written), DEFAULTS)
    return str(written)
