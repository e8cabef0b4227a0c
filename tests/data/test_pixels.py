"""Compared with the arrays that the images were made of."""

import gc
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from resnet_lab.core.errors import DataError
from resnet_lab.core.images import ImageSet
from resnet_lab.data.cache import store
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.pixels import DecodedPixels, Pixels, StoredPixels, gathered
from tests.data.folder_sets import fill, set_of

FORM = ImageFormat(8)
NOISE = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
ORDER = np.random.default_rng(1).permutation(40)


def stored(folder: Path) -> StoredPixels:
    path = folder / "pixels.u8"
    path.write_bytes(NOISE[ORDER].tobytes())
    return StoredPixels(path, np.argsort(ORDER), FORM)


def decoded(folder: Path) -> DecodedPixels:
    images = ImageSet("set", ("one",), tuple(map(str, range(40))), np.zeros(40, np.int64), lambda i: picture(NOISE[i]))
    return DecodedPixels(images, FORM)


def picture(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels)


@pytest.mark.parametrize("make", [stored, decoded])
@pytest.mark.parametrize(
    "positions",
    [np.arange(40), np.arange(39, -1, -1), np.array([7]), np.array([3, 3, 39, 0, 3]), np.empty(0, np.int64)],
    ids=["all", "backwards", "one", "repeats", "none"],
)
def test_images_come_as_they_are_asked_for(make: type[Pixels], positions: NDArray[np.int64], tmp_path: Path) -> None:
    pixels = make(tmp_path)
    out = np.full((len(positions), 8, 8, 3), 77, np.uint8)
    pixels.gather(positions, out)
    assert np.array_equal(out, NOISE[positions])
    assert np.array_equal(gathered(pixels, positions.tolist()), NOISE[positions])


def test_both_give_the_same_of_files(tmp_path: Path) -> None:
    images = set_of(fill(tmp_path / "images", 9, size=30))
    image_format = ImageFormat(16, 1, "crop")
    kept = store(images, image_format)
    assert kept.pixels is not None
    positions = [8, 0, 4, 4]
    one = gathered(StoredPixels(kept.pixels, kept.rows, image_format), positions)
    other = gathered(DecodedPixels(images, image_format), positions)
    assert one.shape == (4, 16, 16, 1)
    assert np.array_equal(one, other)


def test_a_file_that_was_cut_short(tmp_path: Path) -> None:
    pixels = stored(tmp_path)
    os.truncate(tmp_path / "pixels.u8", 39 * FORM.nbytes + 5)
    gathered(pixels, ORDER[:39].tolist())
    with pytest.raises(DataError) as failure:
        gathered(pixels, [int(ORDER[39])])
    assert str(failure.value) == (f"{tmp_path / 'pixels.u8'}: truncated while in use; restart to repair it")


def test_a_file_that_was_deleted_is_read_on(tmp_path: Path) -> None:
    pixels = stored(tmp_path)
    (tmp_path / "pixels.u8").unlink()
    assert np.array_equal(gathered(pixels, range(40)), NOISE)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not tell of open files")
def test_the_file_is_closed_with_its_last_user(tmp_path: Path) -> None:
    def open_files() -> int:
        links = [entry for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
        return sum(os.readlink(link) == str(tmp_path / "pixels.u8") for link in links)

    pixels = stored(tmp_path)
    gathered(pixels, [1])
    assert open_files() == 1
    del pixels
    gc.collect()
    assert open_files() == 0


def test_an_image_that_was_damaged_since(tmp_path: Path) -> None:
    folder = fill(tmp_path / "images", 3)
    pixels = DecodedPixels(set_of(folder), FORM)
    (folder / "0001.png").write_bytes(b"")
    (folder / "0002.png").unlink()
    with pytest.raises(DataError) as failure:
        gathered(pixels, [0, 1])
    assert str(failure.value) == f"{folder / '0001.png'}: unreadable image (empty file); repair or remove it"
    with pytest.raises(DataError) as failure:
        gathered(pixels, [2])
    assert str(failure.value) == (
        f"{folder / '0002.png'}: unreadable image (No such file or directory); repair or remove it"
    )


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(DataError) as failure:
        StoredPixels(tmp_path / "pixels.u8", np.arange(1), ImageFormat(4))
    assert str(failure.value) == (
        f"{tmp_path}/pixels.u8: cannot be opened: No such file or directory; restart to rebuild it"
    )
