"""Properties of the images of a set, found by decoding, in records of some 100 bytes. Legend: N images, C channels."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from resnet_lab.data.decoding import ImageInfo

AT_ONCE = 2**14
"""Records that are read at a time."""

NOTHING = -1
"""Depth, row or first sum of an image without one."""

Records = NDArray[np.void]
"""Of `record_type`, shape (N,)."""

Digests = NDArray[np.bytes_]
"""SHA-256 of images, 32 bytes each, shape (N,); zeros where the file could not be read."""


def record_type(channels: int) -> np.dtype[np.void]:
    """Fields of a record: those of `ImageInfo`, words as their numbers, and row and checksum in the file of pixels."""
    return np.dtype(
        [
            ("digest", "S32"), ("cause", "<u4"), ("width", "<u4"), ("height", "<u4"), ("mode", "<u2"), ("kinds", "<u2"),
            ("depth", "i1"), ("has_signature", "?"), ("row", "<i4"), ("checksum", "<u4"),
            ("sums", "<i8", (channels,)), ("squares", "<i8", (channels,)),
        ]
    )  # fmt: skip


@dataclass
class Words:
    """Distinct values of fields that have few of them; the number of a value is its place.

    Attributes:
        causes: the first is that of usable images.
    """

    causes: list[str] = field(default_factory=lambda: [""])
    modes: list[str] = field(default_factory=list)
    kinds: list[tuple[str, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        for name in ("causes", "modes", "kinds"):
            self._numbers |= {(name, value): number for number, value in enumerate(getattr(self, name))}

    def number(self, name: str, value: Hashable) -> int:
        """The number of a value, which is added where it is new."""
        values: list[Any] = getattr(self, name)
        number = self._numbers.setdefault((name, value), len(values))
        if number == len(values):
            values.append(value)
        return number


class ImageTable:
    """Records that are added one by one."""

    def __init__(self, channels: int) -> None:
        self.words = Words()
        self._channels = channels
        self._records = np.zeros(1024, record_type(channels))
        self._number = 0

    @property
    def records(self) -> Records:
        return self._records[: self._number]

    def add(self, info: ImageInfo, row: int | None = None, checksum: int | None = None) -> int:
        """Add a record; its number."""
        number, words, nothing = self._number, self.words, (NOTHING,) * self._channels
        if number == len(self._records):
            self._records = np.concatenate([self._records, np.zeros_like(self._records)])
        self._records[number] = (
            bytes.fromhex(info.digest), words.number("causes", info.cause), info.width, info.height,
            words.number("modes", info.mode), words.number("kinds", info.kinds),
            NOTHING if info.depth is None else info.depth, bool(info.signature),
            NOTHING if row is None else row, checksum or 0, info.sums or nothing, info.squares or nothing,
        )  # fmt: skip
        self._number = number + 1
        return number


class ImageColumns(Sequence[ImageInfo]):
    """Properties of each image: whole columns as arrays, made when they are asked for, or image by image.

    Compares like a tuple of `ImageInfo`.

    Args:
        piece: the records from a position to another.
        number: of images.
        signatures: of the images with these digests, each of which has one.
    """

    def __init__(
        self,
        piece: Callable[[int, int], Records],
        number: int,
        words: Words,
        signatures: Callable[[Digests], Iterable[bytes]],
    ) -> None:
        self._piece = piece
        self._number = number
        self._words = words
        self._signatures_of = signatures

    @classmethod
    def of(cls, infos: Sequence[ImageInfo]) -> Self:
        """The images themselves where they are columns, otherwise columns of them, in memory."""
        if isinstance(infos, cls):
            return infos
        table = ImageTable(max((len(each.sums) for each in infos), default=0))
        for each in infos:
            table.add(each)
        known = {bytes.fromhex(each.digest): each.signature for each in infos if each.signature}
        return cls(
            lambda start, stop: table.records[start:stop],
            len(infos),
            table.words,
            lambda digests: [known[digest] for digest in whole(digests)],
        )

    def __len__(self) -> int:
        return self._number

    def column(self, name: str) -> NDArray[Any]:
        """A field of each image, shape (N,), of sums and squares (N, C)."""
        pieces = [self._piece(start, start + AT_ONCE)[name] for start in range(0, max(1, len(self)), AT_ONCE)]
        return np.concatenate(pieces)

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Shape (N,)."""
        return np.asarray(self.column("cause") == 0)

    @property
    def digests(self) -> Digests:
        return self.column("digest")

    def digest(self, position: int) -> str:
        """64 hexadecimal digits; the empty text where the file could not be read."""
        return hexadecimal(self._piece(position, position + 1)["digest"])[0]

    def cause(self, position: int) -> str:
        return self._words.causes[int(self._piece(position, position + 1)["cause"][0])]

    def causes(self) -> list[tuple[int, str]]:
        """Position and cause of each image that cannot be used."""
        cause = self.column("cause")
        return [(position, self._words.causes[cause[position]]) for position in np.flatnonzero(cause).tolist()]

    def kinds(self) -> list[tuple[tuple[str, ...], int]]:
        """Unusual properties, and how many usable images have just these, in the order of the first of each."""
        number, first, count = np.unique(self.column("kinds")[self.usable], return_index=True, return_counts=True)
        return [(self._words.kinds[number[at]], int(count[at])) for at in np.argsort(first)]

    def signatures(self, positions: NDArray[np.int64]) -> "Signatures":
        """Signatures of the images at these positions."""
        return Signatures(self.digests[positions], self.column("has_signature")[positions], self._signatures_of)

    @overload
    def __getitem__(self, index: int) -> ImageInfo: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ImageInfo, ...]: ...
    def __getitem__(self, index: int | slice) -> ImageInfo | tuple[ImageInfo, ...]:
        if isinstance(index, slice):
            return tuple(self[position] for position in range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        position = index % len(self)
        return next(self._infos(self._piece(position, position + 1)))

    def __iter__(self) -> Iterator[ImageInfo]:
        for start in range(0, len(self), AT_ONCE):
            yield from self._infos(self._piece(start, start + AT_ONCE))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (tuple, ImageColumns)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def _infos(self, records: Records) -> Iterator[ImageInfo]:
        words = self._words
        signatures = Signatures(records["digest"], records["has_signature"], self._signatures_of)
        for record, digest, signature in zip(records, hexadecimal(records["digest"]), signatures, strict=True):
            sums, squares = (tuple(record[name].tolist()) for name in ("sums", "squares"))
            yield ImageInfo(
                digest=digest,
                cause=words.causes[record["cause"]],
                width=int(record["width"]),
                height=int(record["height"]),
                mode=words.modes[record["mode"]],
                kinds=words.kinds[record["kinds"]],
                signature=signature,
                sums=() if sums[:1] == (NOTHING,) else sums,
                squares=() if squares[:1] == (NOTHING,) else squares,
                depth=None if record["depth"] == NOTHING else int(record["depth"]),
            )


class Signatures(Sequence[bytes]):
    """Signatures of images, read when they are asked for.

    Args:
        there: whether an image has one, shape (N,); that of others is empty.
    """

    def __init__(self, digests: Digests, there: NDArray[np.bool_], read: Callable[[Digests], Iterable[bytes]]) -> None:
        self.digests = digests
        self.there = there
        self._read = read

    def __len__(self) -> int:
        return len(self.digests)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> bytes | Self:
        if isinstance(index, slice):
            return type(self)(self.digests[index], self.there[index], self._read)
        return next(iter(self._read(self.digests[[index]]))) if self.there[index] else b""

    def __iter__(self) -> Iterator[bytes]:
        found = iter(self._read(self.digests[self.there]))
        for there in self.there.tolist():
            yield next(found) if there else b""


def distinct(digests: Digests) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First position of each digest, in their order, and of each image the place of its digest among these, shape (N,).

    As `np.unique` has them, by numbers of 64 bits, which are compared faster than texts.
    """
    words = np.ascontiguousarray(digests).view(">u8").reshape(-1, 4).astype(np.uint64)
    order = np.argsort(words[:, 0], kind="stable")
    same = _alike(words, order)
    if not np.array_equal(words[order[same]], words[order[same - 1]]):  # two digests that begin alike
        order = np.lexsort(words.T[::-1])
        same = _alike(words, order)
        same = same[np.all(words[order[same]] == words[order[same - 1]], axis=1)]
    begins = np.ones(len(order), dtype=bool)
    begins[same] = False
    own = np.empty(len(order), dtype=np.int64)
    own[order] = np.cumsum(begins) - 1
    return order[begins], own


def _alike(words: NDArray[np.uint64], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places in the order whose first word is that of the place before, from 1."""
    first = words[order, 0]
    return np.flatnonzero(first[1:] == first[:-1]) + 1


def whole(digests: Digests) -> list[bytes]:
    """Digests of 32 bytes each; numpy leaves out zeros at the end."""
    return [digest.ljust(32, b"\0") for digest in digests.tolist()]


def hexadecimal(digests: Digests) -> list[str]:
    """64 hexadecimal digits of each digest; the empty text of zeros."""
    digits, there = digests.tobytes().hex(), (digests != b"").tolist()
    return [digits[64 * place : 64 * place + 64] if known else "" for place, known in enumerate(there)]
