"""Shards are written by the webdataset library and read by it again for comparison."""

import hashlib
import importlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from resnet_lab.core.errors import DataError
from resnet_lab.data.sources.permission import PERMISSIONS, allow_download, name_shards
from resnet_lab.data.sources.shards import open_shards, read_members


def png(number: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(content, "PNG")
    return content.getvalue()


def write_shards(folder: Path, names: tuple[str, ...] = ("train-0", "train-1", "test-0"), images: int = 4) -> Path:
    """Images of classes 2, 10 and 2 in turn, numbered through."""
    folder.mkdir(exist_ok=True)
    for shard, name in enumerate(names):
        with webdataset.TarWriter(str(folder / f"{name}.tar")) as writer:
            for number in range(shard * images, (shard + 1) * images):
                writer.write({"__key__": f"{number:03d}", "png": png(number), "cls": str((2, 10)[number % 2])})
    return folder


@pytest.fixture
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESNET_LAB_CACHE", str(tmp_path / "cache"))
    for variable in PERMISSIONS:
        monkeypatch.setenv(variable, "")
    return write_shards(tmp_path / "shards")


def digest(content: bytes | Image.Image) -> str:
    assert isinstance(content, bytes)
    return hashlib.sha256(content).hexdigest()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # their reader leaves its files open
def test_images_are_those_that_webdataset_reads(shards: Path) -> None:
    images = open_shards(f"wds:{shards}/{{train-{{0,1}},test-0}}.tar")
    files = [str(shards / f"{name}.tar") for name in ("train-0", "train-1", "test-0")]
    theirs = list(webdataset.WebDataset(files, shardshuffle=False))
    assert images.classes == ("2", "10"), "numbers stand in their order"
    assert [images.classes[label] for label in images.labels] == [sample["cls"].decode() for sample in theirs]
    assert [digest(images.read(number)) for number in range(12)] == [digest(sample["png"]) for sample in theirs]
    assert images.paths[5] == "train-1.tar/005"
    assert images.chunks is not None
    assert images.chunks.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_parts_are_read_from_the_names(shards: Path) -> None:
    images = open_shards(f"wds:{shards}/{{train-0,test-0}}.tar")
    assert images.parts == ("",) * 4 + ("test",) * 4
    assert images.notes == ("the source gives no val part: taken from its training images",)
    write_shards(shards, ("train-0", "valid-0", "test-0"))
    whole = open_shards(f"wds:{shards}/{{train-0,valid-0,test-0}}.tar")
    assert (whole.parts, whole.notes) == (("train",) * 4 + ("val",) * 4 + ("test",) * 4, ())
    assert open_shards(f"wds:{shards}/train-{{0..1}}.tar").parts is None, "training alone: the rest is drawn from it"
    write_shards(shards, ("set-Training0", "dev-0", "TEST_0"))
    other = open_shards(f"wds:{shards}/{{set-Training0,dev-0,TEST_0}}.tar")
    assert other.parts == ("train",) * 4 + ("val",) * 4 + ("test",) * 4


def test_the_name_opens_the_same_set_from_anywhere(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shards)
    images = open_shards("wds:train-{0,1}.tar")
    monkeypatch.chdir("/")
    again = open_shards(images.name)
    assert again.paths == images.paths
    assert digest(again.read(7)) == digest(images.read(7))


def test_shards_behind_a_url_are_fetched_once(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe stands for any URL: the library runs its command to fetch the shard."""
    log = shards / "log"
    urls = [f"pipe:echo >> {log}; cat {shards}/{name}.tar" for name in ("train-0", "train-1")]
    name_shards("wds:" + "::".join(urls))
    images = open_shards("wds:" + "::".join(urls))
    assert [digest(images.read(number)) for number in (6, 1, 7)] == [
        hashlib.sha256(png(number)).hexdigest() for number in (6, 1, 7)
    ]
    monkeypatch.setenv("RESNET_LAB_NAMED_SHARDS", "")  # what is kept needs no command
    again = open_shards("wds:" + "::".join(urls))
    assert digest(again.read(0)) == hashlib.sha256(png(0)).hexdigest()
    assert log.read_text().count("\n") == 2


def test_fetched_shards_stay_within_their_space(shards: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RESNET_LAB_SHARD_BYTES", "1")
    urls = [f"pipe:cat {shards}/{name}.tar" for name in ("train-0", "train-1", "test-0")]
    name_shards("wds:" + "::".join(urls))
    images = open_shards("wds:" + "::".join(urls))
    for number in (0, 4, 8, 0, 11):
        assert digest(images.read(number)) == hashlib.sha256(png(number)).hexdigest()
        assert len(list((tmp_path / "cache" / "shards").iterdir())) == 1


def refusal(source: str) -> str:
    with pytest.raises(DataError) as failure:
        open_shards(source)
    return str(failure.value)


def test_a_command_runs_only_where_the_user_names_it(shards: Path, tmp_path: Path) -> None:
    command = f"pipe:touch {tmp_path}/marker; cat {shards}/train-0.tar"
    allow_download()  # which a pipe is never part of
    name_shards(f"wds:{shards}/train-0.tar")
    assert refusal(f"wds:{command}") == (
        f"wds:{command}: a command that a file names is never run; read it, and name it on the command line, as in "
        f"`resnet-lab data check 'wds:{command}'`, to have its shard fetched"
    )
    assert not (tmp_path / "marker").exists()
    name_shards(f"wds:{command}")
    assert len(open_shards(f"wds:{command}")) == 4
    assert (tmp_path / "marker").exists()


def test_a_url_is_asked_only_where_the_user_allows_it(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(url: str, mode: str, bufsize: int) -> object:
        asked.append(url)
        return (shards / url.rpartition("/")[2]).open("rb")

    monkeypatch.setitem(importlib.import_module("webdataset.gopen").gopen_schemes, "https", fetch)
    address = "https://example.org/train-{0..1}.tar"
    assert refusal(f"wds:{address}") == (
        "wds:https://example.org/train-0.tar is not on this machine, and a file names it; fetch it with --download"
    )
    assert asked == []
    name_shards(f"wds:{address}")
    assert len(open_shards(f"wds:{address}")) == 8
    monkeypatch.setenv("RESNET_LAB_NAMED_SHARDS", "")
    assert len(open_shards(f"wds:{address}")) == 8, "those on this machine need nobody's leave"
    assert len(open_shards("wds:https://example.org/test-0.tar", download=True)) == 4
    assert asked == [f"https://example.org/{name}.tar" for name in ("train-0", "train-1", "test-0")]


@pytest.mark.parametrize("scheme", ["file", "ftp", "scp", "sftp", "s3", "x+y", "HTTPS"])
def test_schemes_that_are_not_read(shards: Path, scheme: str) -> None:
    name_shards(f"wds:{scheme}://somewhere/a.tar")
    assert refusal(f"wds:{scheme}://somewhere/a.tar") == (
        f"{scheme}://somewhere/a.tar: shards behind {scheme}: are not read; known: http, https, ftps, gs, hf, ais, and "
        "paths on a disk"
    )


def test_what_a_changed_shard_holds_is_learned_again(shards: Path) -> None:
    assert len(open_shards(f"wds:{shards}/train-{{0,1}}.tar")) == 8
    write_shards(shards, images=6)
    assert len(open_shards(f"wds:{shards}/train-{{0,1}}.tar")) == 12


def test_images_without_a_label_are_listed(shards: Path) -> None:
    with webdataset.TarWriter(str(shards / "odd.tar")) as writer:
        writer.write({"__key__": "a", "png": png(1), "cls": "x"})
        writer.write({"__key__": "b", "png": png(2), "json": "{}"})
        writer.write({"__key__": "c", "png": png(3), "cls": "y"})
    images = open_shards(f"wds:{shards}/odd.tar")
    assert images.left_out == (("odd.tar/b", "no label: there is no text <key>.cls next to it"),)
    assert images.classes == ("x", "y")


def write_members(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name.rstrip("*"))  # two members may have one name
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def test_dots_in_keys_survive(shards: Path) -> None:
    """The library ends a key at the first dot."""
    members = {
        "Mr. A.jpg": png(0), "Mr. A.cls": b"x", "1. Mona Lisa.PNG": png(1), "1. Mona Lisa.cls": b"y",
        "1. Mona Lisa.json": b"{}", "a.b/1.2.3.png": png(2), "a.b/1.2.3.CLS": b"x",
        "7.cls": b"y", "7.input.png": png(3), "7.json": b"{}", "./c.png": png(4), "./c.cls": b"x",
    }  # fmt: skip
    images = open_shards(f"wds:{write_members(shards / 'dots.tar', members)}")
    assert images.paths == tuple(f"dots.tar/{key}" for key in ("Mr. A", "1. Mona Lisa", "a.b/1.2.3", "7", "./c"))
    assert [images.classes[label] for label in images.labels] == ["x", "y", "x", "y", "x"]
    assert [digest(images.read(k)) for k in range(5)] == [hashlib.sha256(png(k)).hexdigest() for k in range(5)]
    assert images.left_out == ()
    assert images.notes == ("other files are not read: 2 .json",)
    again = open_shards(f"wds:{shards / 'dots.tar'}")
    assert (again.paths, again.notes) == (images.paths, images.notes), "from what was remembered"


def test_every_member_that_is_not_taken_is_listed_with_its_cause(shards: Path) -> None:
    members = {
        "a.jpg": png(0), "a.png": png(1), "a.cls": b"x", "b.png": png(2), "b.png*": png(3), "b.cls": b"y",
        "c.png": png(4), "c.cls": b"x", "c.cls*": b"y", "d.png": png(5), "d.cls": b"x", "d.cls*": b"x",
        "lost.cls": b"x", "notes.txt": b"", "README": b"", "8.in.png": png(6), "8.out.png": png(7), "8.cls": b"x",
        "e.png": png(8), "e.cls": b" ", ".hidden.png": png(9), "._a.jpg": b"", "__MACOSX/a.jpg": b"",
    }  # fmt: skip
    images = open_shards(f"wds:{write_members(shards / 'odd.tar', members)}")
    assert images.paths == ("odd.tar/a", "odd.tar/b", "odd.tar/d")
    assert [digest(images.read(k)) for k in range(3)] == [hashlib.sha256(png(k)).hexdigest() for k in (0, 2, 5)]
    no_label = "no label: there is no text <key>.cls next to it"
    assert dict(images.left_out) == {
        "odd.tar/a.png": "another image of the key a comes before it",
        "odd.tar/b.png": "another image of the key b comes before it",
        "odd.tar/c": "labels 'x' and 'y'",
        "odd.tar/lost.cls": "there is no image next to it",
        "odd.tar/notes.txt": "neither an image nor next to one",
        "odd.tar/README": "neither an image nor next to one",
        "odd.tar/8.in": no_label,
        "odd.tar/8.out": no_label,
        "odd.tar/8.cls": "there is no image next to it",
        "odd.tar/e": no_label,
    }
    assert len(images.left_out) == 10


def test_nothing_is_unpacked_and_only_files_count(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, content in (("../up.png", png(1)), ("../up.cls", b"0")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with (tmp_path / "a.tar").open("rb") as file:
        shard = read_members(file)
    assert [(member.key, member.label) for member in shard.members] == [("../up", "0")]
    assert shard.left_out == (("link.png", "not a regular file"),)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar"]


def test_bad_input(shards: Path, tmp_path: Path) -> None:
    whole = (shards / "train-1.tar").read_bytes()
    (shards / "cut.tar").write_bytes(whole[:1600])
    write_shards(shards, ("empty",), images=0)
    with webdataset.TarWriter(str(shards / "one.tar")) as writer:
        writer.write({"__key__": "a", "png": png(1), "cls": "x"})
    write_shards(tmp_path / "other")
    name_shards("wds:pipe:exit 3")
    for pattern, message in {
        f"{shards}/absent.tar": f"{shards}/absent.tar: no such shard of wds:{shards}/absent.tar",
        f"{shards}/cut.tar": f"{shards}/cut.tar: not a whole tar file (unexpected end of data); ",
        f"{shards}/one.tar": f"wds:{shards}/one.tar holds one class, 'x'; a classifier needs at least two",
        f"{shards}/empty.tar": (
            f"wds:{shards}/empty.tar: no image with a label; shards hold <key>.jpg next to <key>.cls"
        ),
        f"{shards}/train-0.tar::{tmp_path}/other/train-0.tar": (
            f"wds:{shards}/train-0.tar::{tmp_path}/other/train-0.tar: two shards are called train-0.tar; "
            "give each a name of its own"
        ),
        "pipe:exit 3": "pipe:exit 3: not a whole tar file (the shard cannot be fetched: ",
    }.items():
        with pytest.raises(DataError) as failure:
            open_shards(f"wds:{pattern}")
        assert str(failure.value).startswith(message)


@pytest.mark.parametrize("label", ["a/b", "c\nd"])
def test_labels_that_cannot_be_written(shards: Path, label: str) -> None:
    with webdataset.TarWriter(str(shards / "odd.tar")) as writer:
        writer.write({"__key__": "000", "png": png(0), "cls": "2"})
        writer.write({"__key__": "001", "png": png(1), "cls": label})
    with pytest.raises(DataError) as failure:
        open_shards(f"wds:{shards}/odd.tar")
    assert str(failure.value) == (
        f"odd.tar/001: label {label!r} holds a line break, a path separator or another control character; rename it"
    )


def test_a_shard_cut_short_after_it_was_opened(shards: Path) -> None:
    images = open_shards(f"wds:{shards}/train-{{0,1}}.tar")
    content = (shards / "train-0.tar").read_bytes()
    (shards / "train-0.tar").write_bytes(content[:4000])
    with pytest.raises(OSError, match="the shard was cut short"):
        images.read(3)


def test_without_the_library(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "webdataset.shardlists", None)
    with pytest.raises(DataError) as failure:
        open_shards(f"wds:{shards}/train-0.tar")
    assert str(failure.value) == (
        'shards are read with the library webdataset, which is not installed: pip install "resnet-lab[webdataset]"'
    )
