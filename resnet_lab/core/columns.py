"""Columns of texts in arrays, in place of tuples of objects of 50 bytes and more. Legend: N texts, K distinct ones."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Self, overload

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 4096
"""Texts that are made at a time while a column is gone through."""


class _Column(Sequence[str]):
    """Immutable; compares and hashes like a tuple of the same texts."""

    __slots__ = ()

    def __init__(self, texts: Iterable[str] = ()) -> None:
        raise NotImplementedError

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """The texts themselves where they are such a column, otherwise a column of them."""
        return texts if isinstance(texts, cls) else cls(texts)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        raise NotImplementedError

    def _at(self, position: int) -> str:
        """The text at a position from 0 to N - 1."""
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> str | Self:
        if isinstance(index, slice):
            return type(self)(map(self._at, range(*index.indices(len(self)))))
        number = len(self)
        if not -number <= index < number:
            raise IndexError(f"text {index} of {number}")
        return self._at(index + number if index < 0 else index)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (tuple, _Column)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({tuple(self)!r})"


class TextColumn(_Column):
    """Any texts: the bytes of all, and 4 bytes for the end of each.

    Attributes:
        content: all texts in UTF-8, with lone surrogates, which stand for bytes of names that are no UTF-8.
        ends: 0, and the end of each text in the content, shape (N + 1,).
    """

    __slots__ = ("content", "ends")

    def __init__(self, texts: Iterable[str] = ()) -> None:
        content, lengths, rest = bytearray(), array("Q", [0]), iter(texts)
        while some := list(islice(rest, AT_ONCE)):
            joined = "".join(some)
            encoded = joined.encode("utf-8", "surrogatepass")
            content += encoded
            in_bytes = (text.encode("utf-8", "surrogatepass") for text in some)
            lengths.extend(map(len, some if len(encoded) == len(joined) else in_bytes))  # else not all are ASCII
        self.content = bytes(content)
        self.ends = np.cumsum(lengths, dtype=np.uint64).astype(np.min_scalar_type(len(content)))
        self.ends.flags.writeable = False

    @property
    def nbytes(self) -> int:
        return len(self.content) + self.ends.nbytes

    def __len__(self) -> int:
        return len(self.ends) - 1

    def _at(self, position: int) -> str:
        return self.content[self.ends.item(position) : self.ends.item(position + 1)].decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        content = self.content
        for first in range(0, len(self), AT_ONCE):
            ends = self.ends[first : first + AT_ONCE + 1].tolist()
            for start, end in pairwise(ends):
                yield content[start:end].decode("utf-8", "surrogatepass")


class TextIndex:
    """Positions of texts, as a dictionary has them, in 16 bytes a text in place of some 150."""

    def __init__(self, texts: Sequence[str]) -> None:
        hashes = np.fromiter(map(hash, texts), np.int64, len(texts))
        self._texts = texts
        self._order = np.argsort(hashes, kind="stable")
        self._hashes: Sequence[int] = memoryview(hashes[self._order].data)

    def get(self, text: str) -> int | None:
        """The first position of a text; None where it is none of them."""
        value = hash(text)
        place = bisect_left(self._hashes, value)
        while place < len(self._hashes) and self._hashes[place] == value:
            if self._texts[position := int(self._order[place])] == text:
                return position
            place += 1
        return None


class CategoryColumn(_Column):
    """Texts of which few are distinct: a byte each, up to 256 distinct ones.

    Attributes:
        names: the distinct texts, in the order in which they come first, shape (K,).
        codes: of each text its place in `names`, shape (N,).
    """

    __slots__ = ("codes", "names")

    def __init__(self, texts: Iterable[str] = ()) -> None:
        given = texts if isinstance(texts, Sequence) else list(texts)
        numbers = {text: number for number, text in enumerate(dict.fromkeys(given))}
        codes = array("I", map(numbers.__getitem__, given))
        self.names: tuple[str, ...] = tuple(numbers)
        self.codes = np.frombuffer(codes, np.uint32).astype(np.min_scalar_type(max(0, len(numbers) - 1)))
        self.codes.flags.writeable = False

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes

    def __len__(self) -> int:
        return len(self.codes)

    def _at(self, position: int) -> str:
        return self.names[int(self.codes[position])]

    def __iter__(self) -> Iterator[str]:
        names = self.names
        for first in range(0, len(self), AT_ONCE):
            for code in self.codes[first : first + AT_ONCE].tolist():
                yield names[code]

    def code(self, text: str) -> int:
        """The code of a text; -1, which no text has, where it is none of the names."""
        return self.names.index(text) if text in self.names else -1

    def array(self) -> NDArray[np.str_]:
        """The texts as an array, shape (N,)."""
        return np.asarray(np.array(self.names or ("",), dtype=np.str_)[self.codes])
