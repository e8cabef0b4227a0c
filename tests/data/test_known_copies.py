"""Near copies are searched once, and what was kept of them is used only where it is sound."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_lab.core.cache_location import cache_folder
from resnet_lab.core.images import ImageSet
from resnet_lab.data import known_copies
from resnet_lab.data.cache_folders import clear, entries
from resnet_lab.data.config import DataConfig
from resnet_lab.data.description import check
from resnet_lab.data.image_columns import Signatures
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.known_copies import near_copies
from resnet_lab.data.near_copies import LARGEST, NearCopies, find_near_copies
from resnet_lab.data.preparation import prepare
from resnet_lab.data.signatures import signature
from tests.data.drawn_sets import painted
from tests.data.folder_sets import fill, set_of

FORM = ImageFormat(32)


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of pictures in each search."""
    numbers: list[int] = []

    def search(signatures: Sequence[bytes]) -> NearCopies:
        numbers.append(len(signatures))
        return find_near_copies(signatures)

    monkeypatch.setattr(known_copies, "find_near_copies", search)
    return numbers


@pytest.fixture(scope="module")
def signatures() -> list[bytes]:
    """Signatures of 12 pictures, one that cannot be compared, a copy of the third, and nine of one: too many."""
    crowd = [painted(20).resize((192 - 2 * number, 144)) for number in range(LARGEST + 1)]
    images = [*(painted(seed) for seed in range(12)), painted(2).convert("L"), *crowd]
    return [b"", *map(signature, images)]


def pictures(folder: Path, number: int = 12) -> ImageSet:
    """Each twice, in two classes."""
    fill(folder, number)
    for seed in range(number):
        painted(seed, 120, 90).save(folder / f"{seed:04}.png")
        painted(seed, 120, 90).save(folder / f"{seed:04}.jpg", quality=60)
    return replace(set_of(folder), classes=("a", "b"), labels=np.repeat(np.arange(number) % 2, 2))


def kept() -> Path:
    (file,) = cache_folder().glob("decoded/*/copies.json")
    return file


def same(one: NearCopies, other: NearCopies) -> bool:
    arrays = np.array_equal(one.groups, other.groups) and np.array_equal(one.compared, other.compared)
    return arrays and one.crowds == other.crowds


def test_a_set_is_searched_once(tmp_path: Path, searches: list[int]) -> None:
    images = pictures(tmp_path / "set")
    first = prepare(images, FORM, DataConfig(), 0)
    again = [prepare(images, FORM, DataConfig(), seed) for seed in (0, 1)]
    assert searches == [24]
    assert len(set(first.grouping.groups.tolist())) == 12
    for each in again:
        assert each.grouping.groups.tolist() == first.grouping.groups.tolist()
        assert (each.grouping.compared, each.grouping.remark) == (24, "")
    assert again[0].parts.tolist() == first.parts.tolist()
    painted(99).save(tmp_path / "set" / "0003.png")
    prepare(images, FORM, DataConfig(), 0)
    assert searches == [24, 24]
    check(images)
    check(images)
    assert searches == [24, 24, 24], "in another format they are in another folder"


def test_known_contents_need_no_signatures(tmp_path: Path, signatures: list[bytes], searches: list[int]) -> None:
    class Unread(list[bytes]):
        def __iter__(self) -> Any:
            raise AssertionError("a signature was read")

    unread = Signatures(
        np.array([b"x"] * len(signatures)), np.array(list(map(bool, signatures))), lambda digests: Unread()
    )
    found = near_copies(signatures, tmp_path, "contents")
    assert same(near_copies(unread, tmp_path, "contents"), found)
    assert len(searches) == 1


def test_what_an_older_version_found_is_used(tmp_path: Path, signatures: list[bytes], searches: list[int]) -> None:
    found = near_copies(signatures, tmp_path)  # without the digest of the contents, as it wrote
    assert "contents" not in json.loads((tmp_path / "copies.json").read_text())
    assert same(near_copies(signatures, tmp_path, "contents"), found)
    assert json.loads((tmp_path / "copies.json").read_text())["contents"] == f"{known_copies.ALGORITHM} contents"
    assert same(near_copies(signatures[::-1], tmp_path, "others"), find_near_copies(signatures[::-1]))
    assert len(searches) == 2


def test_nothing_is_kept_without_a_search(tmp_path: Path, searches: list[int]) -> None:
    prepare(pictures(tmp_path / "set"), FORM, DataConfig(near_copies="off"), 0)
    assert (searches, list(cache_folder().glob("decoded/*/copies.json"))) == ([], [])


def test_what_is_known_is_what_was_found(tmp_path: Path, signatures: list[bytes], searches: list[int]) -> None:
    found = near_copies(signatures, tmp_path)
    assert (found.crowds, found.groups[13], found.compared.sum()) == ((LARGEST + 1,), 3, 22)
    assert same(near_copies(signatures, tmp_path), found)
    assert len(searches) == 1
    blank = near_copies([b"", b""], tmp_path)
    assert (blank.groups.tolist(), blank.compared.any(), blank.crowds) == ([0, 1], False, ())
    assert same(near_copies([b"", b""], tmp_path), blank)
    assert len(searches) == 2


@pytest.mark.parametrize(
    "others",
    [
        lambda signatures: signatures[1:],
        lambda signatures: signatures[::-1],
        lambda signatures: [*signatures[:-1], signatures[-1][::-1]],
        lambda signatures: [signatures[1], b"", *signatures[2:]],
    ],
    ids=["one less", "another order", "another picture", "another without one"],
)
def test_of_other_pictures_nothing_is_known(
    tmp_path: Path, signatures: list[bytes], searches: list[int], others: Callable[[list[bytes]], list[bytes]]
) -> None:
    near_copies(signatures, tmp_path)
    assert same(near_copies(others(signatures), tmp_path), find_near_copies(others(signatures)))
    assert len(searches) == 2


def test_of_another_version_nothing_is_known(
    tmp_path: Path, signatures: list[bytes], searches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    near_copies(signatures, tmp_path)
    monkeypatch.setattr(known_copies, "ALGORITHM", known_copies.ALGORITHM + 1)
    near_copies(signatures, tmp_path)
    assert len(searches) == 2


def changed(**values: Any) -> Callable[[bytes], bytes]:
    """A file with other values that has their digest, as by a stranger."""

    def change(content: bytes) -> bytes:
        table = {**json.loads(content), **values}
        rest = [table[name] for name in ("signatures", "compared", "groups", "crowds")]
        return json.dumps({**table, "digest": sha256(json.dumps(rest).encode()).hexdigest()}).encode()

    return change


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[:-9],
    "zeros": lambda content: bytes(len(content)),
    "another group": lambda content: content.replace(b"[[3, 13]]", b"[[3, 12]]"),
    "no table": lambda content: b"[]",
    "another table": lambda content: b'{"groups": [[3, 13]]}',
    "of nobody": changed(groups=[[3, 99]]),
    "before the first": changed(groups=[[3, -1]]),
    "in two groups": changed(groups=[[3, 13], [3, 4]]),
    "of one": changed(groups=[[3]]),
    "too many": changed(groups=[list(range(LARGEST + 1))]),
    "a small crowd": changed(crowds=[2]),
    "no numbers": changed(groups=[["three", "4"]]),
    "nested": lambda content: b"[" * 10**5,
    "too large": lambda content: content + b" " * 2**24,
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_as_good_as_none(
    tmp_path: Path, signatures: list[bytes], searches: list[int], name: str
) -> None:
    found = near_copies(signatures, tmp_path)
    file = tmp_path / "copies.json"
    sound = file.read_bytes()
    file.write_bytes(DAMAGED[name](sound))
    assert file.read_bytes() != sound
    assert same(near_copies(signatures, tmp_path), found)
    assert (len(searches), file.read_bytes()) == (2, sound)


def test_a_file_that_cannot_be_written_costs_time_alone(
    tmp_path: Path, signatures: list[bytes], searches: list[int]
) -> None:
    (tmp_path / "copies.json").mkdir()
    assert same(near_copies(signatures, tmp_path), near_copies(signatures, tmp_path))
    assert (len(searches), [path.name for path in tmp_path.iterdir()]) == (2, ["copies.json"])


def test_what_is_known_is_listed_and_cleared_with_the_images(tmp_path: Path, searches: list[int]) -> None:
    images = pictures(tmp_path / "set")
    prepare(images, FORM, DataConfig(), 0)
    left = kept().with_name(".copies.json.k3x9_2ab")  # by a process that was killed
    left.write_bytes(kept().read_bytes()[:40])
    (entry,) = entries()
    assert (entry.kind, entry.images) == ("images", 24)
    assert entry.nbytes == sum(path.stat().st_size for path in entry.folder.iterdir())
    assert clear() == entry.nbytes
    assert not entry.folder.exists()
    prepare(images, FORM, DataConfig(), 0)
    assert len(searches) == 2
