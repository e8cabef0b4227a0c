"""Sources made ready; statistics and fingerprints against numpy and hashlib."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resnet_lab.core.errors import DataError
from resnet_lab.core.images import ImageSet
from resnet_lab.data import preparation
from resnet_lab.data.cache_folders import cache_folder
from resnet_lab.data.config import DataConfig
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.pixels import DecodedPixels, StoredPixels
from resnet_lab.data.preparation import Prepared, decode_all, prepare
from tests.data.drawn_sets import painted
from tests.data.folder_sets import Listener, fill, set_of

FORM = ImageFormat(6)


def two_classes(folder: Path, number: int = 40) -> ImageSet:
    images = set_of(fill(folder, number))
    return replace(images, classes=("a", "b"), labels=np.arange(number) % 2, paths=tuple(
        Path(path).name for path in images.paths
    ))  # fmt: skip


def everything(prepared: Prepared, positions: np.ndarray) -> np.ndarray:
    out = np.empty((len(positions), *prepared.pixels.image_format.shape), dtype=np.uint8)
    prepared.pixels.gather(positions, out)
    return out


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_are_those_of_the_training_part_in_float64(tmp_path: Path, channels: int) -> None:
    prepared = prepare(two_classes(tmp_path / "set"), ImageFormat(6, channels), DataConfig(), seed=0)
    training = everything(prepared, prepared.positions("train")).astype(np.float64) / 255
    mean, std = prepared.statistics()
    assert mean == pytest.approx(training.mean((0, 1, 2)), rel=1e-12)
    assert std == pytest.approx(training.std((0, 1, 2)), rel=1e-12)


def test_the_fingerprint_is_of_classes_labels_and_content_alone(tmp_path: Path) -> None:
    images = two_classes(tmp_path / "set")
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((tmp_path / "set").iterdir())]
    lines = ["a", "b", *sorted(f"{digest} {label}" for digest, label in zip(digests, images.labels, strict=True))]
    expected = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    assert decode_all(images, FORM, DataConfig()).fingerprint == expected
    renamed = replace(images, name="elsewhere", paths=tuple(f"new/{path}" for path in images.paths))
    assert decode_all(renamed, ImageFormat(8), DataConfig()).fingerprint == expected
    relabelled = replace(images, labels=1 - images.labels)
    assert decode_all(relabelled, FORM, DataConfig()).fingerprint != expected


def test_bad_files_are_reported_and_left_out(tmp_path: Path) -> None:
    images = replace(two_classes(tmp_path / "set"), left_out=(("a/notes.txt", "no image by its name"),))
    (tmp_path / "set" / "0003.png").write_bytes(b"")
    listener = Listener()
    prepared = prepare(images, FORM, DataConfig(), 0, listener)
    assert prepared.bad == [("0003.png", "empty file"), ("a/notes.txt", "no image by its name")]
    assert prepared.parts[3] == ""
    assert np.count_nonzero(prepared.parts != "") == 39
    assert listener.notes == [
        "2 of 41 files cannot be used and are left out, the first 0003.png (empty file); "
        "`resnet-lab data check` lists all"
    ]


def test_strict_and_hopeless_sets_are_refused(tmp_path: Path) -> None:
    images = two_classes(tmp_path / "set")
    (tmp_path / "set" / "0003.png").write_bytes(b"")
    with pytest.raises(DataError) as failure:
        decode_all(images, FORM, DataConfig(strict=True))
    assert str(failure.value) == (
        f"{images.name}: 1 of 40 files cannot be used, the first 0003.png (empty file); "
        "repair or remove them: `resnet-lab data check` lists all"
    )
    for path in (tmp_path / "set").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="40 of 40 files cannot be used"):
        decode_all(images, FORM, DataConfig())
    with pytest.raises(DataError, match="40 of 40 files cannot be used"):  # as it is known by then
        decode_all(images, FORM, DataConfig())


def test_sets_too_large_for_the_disk_are_decoded_in_every_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, listener = two_classes(tmp_path / "set"), Listener()
    stored = decode_all(images, FORM, DataConfig())
    assert isinstance(stored.pixels, StoredPixels)
    monkeypatch.setattr(preparation, "bytes_free", lambda: 2**20)
    assert isinstance(decode_all(images, FORM, DataConfig(), listener).pixels, StoredPixels), "it is there already"
    large = decode_all(images, ImageFormat(100), DataConfig(), listener)
    assert isinstance(large.pixels, DecodedPixels)
    assert "40 decoded images would take 1.1 MiB and the disk of " in listener.notes[-1]
    assert listener.notes[-1].endswith("has 1.0 MiB free: they are decoded in every epoch")
    streamed = decode_all(images, FORM, DataConfig(cache="stream"))
    assert isinstance(streamed.pixels, DecodedPixels)
    with pytest.raises(DataError) as failure:
        decode_all(images, ImageFormat(100), DataConfig(cache="disk"))
    assert str(failure.value) == (
        f"40 decoded images would take 1.1 MiB and the disk of {cache_folder()} has 1.0 MiB free; free some space, "
        "`resnet-lab data cache clear`, name another place in RESNET_LAB_CACHE, or decode them in every epoch with "
        "--cache stream"
    )
    monkeypatch.setattr(preparation, "bytes_free", lambda: 2**34)
    assert isinstance(decode_all(images, ImageFormat(100), DataConfig(cache="disk")).pixels, StoredPixels)
    out = [np.empty((40, *FORM.shape), np.uint8) for _ in range(2)]
    for decoded, array in zip((stored, streamed), out, strict=True):
        decoded.pixels.gather(np.arange(40), array)
    assert np.array_equal(*out)
    assert streamed.examined == stored.examined


def test_copies_are_counted_and_stay_together(tmp_path: Path) -> None:
    images, listener = two_classes(tmp_path / "set"), Listener()
    for first, copy in ((0, 2), (4, 7)):
        (tmp_path / "set" / f"{copy:04}.png").write_bytes((tmp_path / "set" / f"{first:04}.png").read_bytes())
    prepared = prepare(images, FORM, DataConfig(), 0, listener)
    assert [(copies.paths, copies.conflict) for copies in prepared.copies] == [
        (("0000.png", "0002.png"), False),
        (("0004.png", "0007.png"), True),
    ]
    assert prepared.parts[0] == prepared.parts[2]
    assert prepared.parts[4] == prepared.parts[7]
    assert listener.notes == [
        "2 pictures are there more than once, 1 of them under several labels: see `resnet-lab data check`"
    ]


def test_a_split_file_is_kept_to_and_new_images_leave_its_tests_alone(tmp_path: Path) -> None:
    images = two_classes(tmp_path / "set")
    parts = np.array(["train", "train", "val", "val", "test", "test"] * 6)
    lines = [f'"{path}","a","{part}"' for path, part in zip(images.paths, parts, strict=False)]
    (tmp_path / "splits.csv").write_text("\n".join(['"path","label","split"', *lines]))
    (tmp_path / "set" / "0037.png").write_bytes((tmp_path / "set" / "0005.png").read_bytes())
    listener = Listener()
    prepared = prepare(images, FORM, DataConfig(split_file=tmp_path / "splits.csv"), 0, listener)
    assert prepared.parts[:36].tolist() == parts.tolist()
    assert prepared.parts[36:].tolist() == ["train", "test", "train", "train"], "0037 is a copy of 0005"
    assert listener.notes[0] == (
        f"4 images are not in {tmp_path}/splits.csv; they go with their copies or into training"
    )


def test_near_copies_do_not_depend_on_the_form(tmp_path: Path) -> None:
    """So the split does not either: a run at 32 pixels and one at 224 test on the same images."""
    folder = fill(tmp_path / "set", 12)
    for number in range(12):
        picture = painted(number, 120, 90)
        picture.save(folder / f"{number:04}.png")
        picture.resize((100, 75)).save(folder / f"{number:04}.jpg", quality=60)
    images = replace(set_of(folder), classes=("a", "b"), labels=np.repeat(np.arange(12) % 2, 2))
    groups = [
        prepare(images, image_format, DataConfig(), 0).grouping.groups.tolist()
        for image_format in (
            ImageFormat(32),
            ImageFormat(224),
            ImageFormat(224, fit="crop"),
            ImageFormat(96, 1, fit="pad"),
        )
    ]
    assert groups == [groups[0]] * 4
    assert len(set(groups[0])) == 12


def test_notes_of_the_source_are_reported(tmp_path: Path) -> None:
    listener = Listener()
    prepare(
        replace(two_classes(tmp_path / "set"), notes=("two folders are one class",)), FORM, DataConfig(), 0, listener
    )
    assert listener.notes == ["two folders are one class"]
