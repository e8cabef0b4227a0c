"""Columns read as tuples of what decoding found, in memory and from a file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet_lab.core.errors import DataError
from resnet_lab.data import recorded_set
from resnet_lab.data.decoding import ImageInfo
from resnet_lab.data.image_columns import AT_ONCE, Digests, ImageColumns, ImageTable, distinct, hexadecimal, whole

USUAL = ImageInfo("ab" * 32, "", 500, 375, "RGB", (), bytes(range(256)) * 4, (1, 2, 3), (4, 5, 2**53))
INFOS = (
    USUAL,
    replace(USUAL, digest="00" * 8 + "cd" * 24, mode="CMYK", kinds=("CMYK", "rotated"), signature=b""),
    replace(USUAL, digest="ef" * 24 + "00" * 8, sums=(0, 0, 0), squares=(0, 0, 0), depth=12),
    ImageInfo("12" * 32, "damaged (\udcff\n)"),
    ImageInfo("", "Permission denied"),
    ImageInfo("34" * 32, "12 of 16 bits", 70_000, 2**31, "I;16", ("16-bit",), depth=12),
)


def signatures(digests: Digests) -> list[bytes]:
    known = {each.digest: each.signature for each in INFOS}
    return [known[digest] for digest in hexadecimal(digests)]


@pytest.fixture(params=["in memory", "in a file"])
def columns(request: pytest.FixtureRequest, tmp_path: Path) -> ImageColumns:
    if request.param == "in memory":
        return ImageColumns.of(INFOS)
    table = ImageTable(3)
    for each in INFOS:
        table.add(each)
    recorded_set.write(tmp_path / "set", "key", [table.records[:2], table.records[2:]], table.words, 3)
    found = recorded_set.read(tmp_path / "set", signatures, "key")
    assert found is not None
    (tmp_path / "set").unlink()  # whoever holds the columns still has them
    return found


def test_columns_read_like_a_tuple(columns: ImageColumns) -> None:
    assert (len(columns), tuple(columns)) == (6, INFOS)
    assert columns == INFOS
    assert columns == ImageColumns.of(INFOS)
    assert columns != INFOS[:5]
    assert columns != (*INFOS[:5], INFOS[0])
    assert [columns[index] for index in range(-6, 6)] == [*INFOS, *INFOS]
    assert columns[np.int64(2)] == INFOS[2]  # type: ignore[call-overload]
    assert (columns[1:3], columns[::-2]) == (INFOS[1:3], INFOS[::-2])
    with pytest.raises(IndexError, match="image 6 of 6"):
        columns[6]


def test_columns_as_arrays(columns: ImageColumns) -> None:
    assert columns.usable.tolist() == [True, True, True, False, False, False]
    assert hexadecimal(columns.digests) == [each.digest for each in INFOS]
    assert whole(columns.digests)[2] == bytes.fromhex(INFOS[2].digest), "with the zeros at its end"
    assert columns.column("width").tolist() == [each.width for each in INFOS]
    assert columns.column("squares")[0].tolist() == [4, 5, 2**53]
    assert columns.causes() == [(3, "damaged (\udcff\n)"), (4, "Permission denied"), (5, "12 of 16 bits")]
    assert columns.kinds() == [((), 2), (("CMYK", "rotated"), 1)]
    assert [columns.digest(index) for index in range(6)] == [each.digest for each in INFOS]
    assert [columns.cause(index) for index in range(6)] == [each.cause for each in INFOS]


def test_signatures_are_read_when_they_are_asked_for(columns: ImageColumns) -> None:
    found = columns.signatures(np.array([3, 2, 1, 0]))
    expected = [INFOS[index].signature for index in (3, 2, 1, 0)]
    assert (len(found), list(found), [found[index] for index in range(4)]) == (4, expected, expected)
    assert list(found[1:]) == expected[1:]
    assert found.there.tolist() == [False, True, False, True]


@pytest.mark.parametrize("case", ["apart", "alike", "copies", "both", "none"])
def test_distinct_digests_are_numpys(case: str) -> None:
    chance = np.random.default_rng(1)
    if case == "apart":
        texts = [chance.bytes(32) for _ in range(300)]
    elif case == "alike":  # in all but the last bytes
        texts = [bytes(24) + chance.bytes(8) for _ in range(300)]
    elif case == "none":
        texts = []
    else:
        start = bytes(30) if case == "both" else chance.bytes(30)
        texts = [start + bytes([number % 7, number % 3]) for number in chance.integers(0, 99, 300).tolist()]
    digests = np.array(texts, dtype="S32")
    _, first, own = np.unique(digests, return_index=True, return_inverse=True)
    found = distinct(digests)
    assert (found[0].tolist(), found[1].tolist()) == (first.tolist(), own.tolist())


def test_a_set_without_an_image(tmp_path: Path) -> None:
    assert (len(ImageColumns.of(())), ImageColumns.of(()).usable.shape) == (0, (0,))
    recorded_set.write(tmp_path / "set", "key", [], ImageTable(1).words, 1)
    assert recorded_set.read(tmp_path / "set", signatures, "key") == ()


def test_many_records_are_kept_in_order(tmp_path: Path) -> None:
    number = AT_ONCE + 5
    table = ImageTable(1)
    for width in range(number):
        assert table.add(replace(USUAL, signature=b"", width=width, sums=(width,), squares=(0,))) == width
    found = ImageColumns(lambda start, stop: table.records[start:stop], number, table.words, signatures)
    assert np.array_equal(found.column("width"), np.arange(number))
    assert np.array_equal(found.column("sums"), np.arange(number)[:, None])


def written(path: Path) -> Path:
    table = ImageTable(3)
    for each in INFOS:
        table.add(each)
    recorded_set.write(path, "key", [table.records], table.words, 3)
    return path


def test_a_set_of_another_key_is_not_read(tmp_path: Path) -> None:
    path = written(tmp_path / "set")
    assert recorded_set.read(path, signatures, "another") is None
    assert recorded_set.read(path, signatures) == INFOS
    assert recorded_set.read(tmp_path / "nothing", signatures) is None


@pytest.mark.parametrize("seed", range(60))
def test_any_damage_is_found(tmp_path: Path, seed: int) -> None:
    path = written(tmp_path / "set")
    chance, content = np.random.default_rng(seed), bytearray(path.read_bytes())
    if seed % 3:
        content[int(chance.integers(len(content) if seed % 2 else 300))] ^= int(chance.integers(1, 256))
    else:
        del content[int(chance.integers(len(content))) :]
    path.write_bytes(content)
    assert recorded_set.read(path, signatures, "key") is None


def test_a_file_that_shrinks_while_it_is_held(tmp_path: Path) -> None:
    path = written(tmp_path / "set")
    columns = recorded_set.read(path, signatures, "key")
    assert columns is not None
    with path.open("r+b") as file:
        file.truncate(40)
    with pytest.raises(DataError) as failure:
        columns[0]
    assert str(failure.value) == f"{path}: truncated while in use; restart to repair it"


def test_a_piece_beyond_the_end_is_empty(columns: ImageColumns) -> None:
    beyond: NDArray[np.void] = columns._piece(6, 9)
    assert len(beyond) == 0
