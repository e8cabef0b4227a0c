"""Columns read as tuples of the same texts do, whatever the texts."""

import copy
import os
import pickle
import random
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from resnet_lab.core.columns import AT_ONCE, CategoryColumn, TextColumn, TextIndex
from resnet_lab.core.images import ImageSet

ALPHABET = ["a", "Z", "0", "/", ".", " ", "\0", "\n", "ü", "ß", "画", "\U0001f5bc", "\udc80", "\udcff", "\ud800", ""]


def texts(number: int, seed: int) -> tuple[str, ...]:
    """Names of up to 12 characters: of several bytes each, bytes that are no UTF-8, and lone surrogates among them."""
    chance = random.Random(seed)
    return tuple("".join(chance.choices(ALPHABET, k=chance.randrange(13))) for _ in range(number))


SETS = [(), ("",), ("a",), ("", "b", ""), texts(50, 0), texts(300, 1), texts(AT_ONCE + 3, 2)]


@pytest.mark.parametrize("kind", [TextColumn, CategoryColumn])
@pytest.mark.parametrize("expected", SETS, ids=len)
def test_a_column_reads_like_a_tuple(kind: type[Sequence[str]], expected: tuple[str, ...]) -> None:
    column = kind(iter(expected))  # type: ignore[call-arg]
    assert len(column) == len(expected)
    assert tuple(column) == expected
    assert [column[index] for index in range(-len(expected), len(expected))] == [*expected, *expected]
    assert [column[np.int64(index)] for index in range(len(expected))] == list(expected)  # type: ignore[call-overload]
    assert (column == expected, expected == column) == (True, True)
    assert column == kind(expected)  # type: ignore[call-arg]
    assert hash(column) == hash(expected)
    for cut in (slice(2, 7), slice(None, None, -3), slice(-4, None), slice(5, 5)):
        assert column[cut] == expected[cut]
    for missing in (len(expected), -len(expected) - 1):
        with pytest.raises(IndexError, match=f"text {missing} of {len(expected)}"):
            column[missing]
    assert list(reversed(column)) == list(reversed(expected))
    for again in (copy.deepcopy(column), pickle.loads(pickle.dumps(column))):
        assert again == expected
    if expected:
        assert expected[-1] in column
        assert column.index(expected[-1]) == expected.index(expected[-1])
        assert column.count(expected[0]) == expected.count(expected[0])


@pytest.mark.parametrize("kind", [TextColumn, CategoryColumn])
def test_other_texts_are_another_column(kind: type[Sequence[str]]) -> None:
    column = kind(("a", "bc"))  # type: ignore[call-arg]
    for other in (("ab", "c"), ("a",), ("a", "bc", ""), ("a", "bd"), ()):
        assert column != other
        assert column != kind(other)  # type: ignore[call-arg]
    assert column != ["a", "bc"], "nor is a tuple a list"
    assert repr(column) == f"{kind.__name__}(('a', 'bc'))"
    with pytest.raises(ValueError, match="read-only"):
        (column.ends if isinstance(column, TextColumn) else column.codes)[0] = 1  # type: ignore[attr-defined]


def test_names_of_files_come_back_as_the_system_has_them(tmp_path: Path) -> None:
    """POSIX names are bytes; Python carries those that are not UTF-8 as lone surrogates."""
    names = [b"\xff\xfe.png", "ü.png".encode(), b"a\x80b.png"]
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).touch()
    column = TextColumn(entry.name for entry in os.scandir(tmp_path))
    assert {os.fsencode(name) for name in column} == set(names)


@pytest.mark.parametrize("expected", SETS, ids=len)
def test_an_index_finds_what_a_dictionary_finds(expected: tuple[str, ...]) -> None:
    first = {text: position for position, text in reversed(list(enumerate(expected)))}
    index = TextIndex(TextColumn(expected))
    for text in (*expected[:400], "not there", "\udcfe"):
        assert index.get(text) == first.get(text)


def test_codes_take_a_byte_until_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CategoryColumn(["train", "", "train"]).codes.tolist() == [0, 1, 0]
    for distinct, nbytes in ((256, 1), (257, 2)):
        column = CategoryColumn(map(str, range(distinct)))
        assert (column.nbytes, column.code("255"), column.code("nothing")) == (distinct * nbytes, 255, -1)
        assert column.array().tolist() == list(map(str, range(distinct)))


def test_a_name_takes_four_bytes_beside_its_own() -> None:
    """The names of ImageNet's files are 29.6 bytes long on average."""
    names = [f"n{synset:08}/n{synset:08}_{number}.JPEG" for synset in range(100) for number in range(500)]
    tracemalloc.start()
    try:
        column = TextColumn(names)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert column.nbytes == sum(map(len, names)) + 4 * 50_001
    assert held < column.nbytes + 10_000


def test_a_set_converts_what_a_source_gives() -> None:
    images = ImageSet("s", ("a",), ["x", "ü"], np.zeros(2, np.int64), lambda _: b"", parts=["train", ""])
    assert isinstance(images.paths, TextColumn)
    assert (images.paths, images.parts) == (("x", "ü"), ("train", ""))
    assert isinstance(images.parts, CategoryColumn)
    assert ImageSet("s", ("a",), images.paths, images.labels, images.read).paths is images.paths
