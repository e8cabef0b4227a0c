import os
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from resnet_lab.core.errors import DataError
from resnet_lab.data.sources.manifest import open_manifest

ROWS = "path,label\na.png,x\nb.png,y\n"


@pytest.fixture
def folder(tmp_path: Path, fill) -> Path:
    return fill(tmp_path, "a.png", "b.png", "in/c.png", "d é,\n.png")


def write(folder: Path, text: str | bytes, name: str = "m.csv") -> Path:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


def message(manifest: Path) -> str:
    with pytest.raises(DataError) as failure:
        open_manifest(manifest)
    return str(failure.value)


def test_a_table_with_parts_and_columns_of_its_own(folder: Path, redness) -> None:
    text = (
        "\ufefftitle,split,path,label\r\n"
        "one,train,b.png,NA\r\n"
        '"two, three",,./in//c.png,2\r\n'
        "\r\n"
        "four,validation,a.png,NA\r\n"
        'five,test,"d é,\n.png",2\r\n'
    )
    images = open_manifest(write(folder, text))
    assert images.name == str(folder.resolve() / "m.csv")
    assert images.classes == ("2", "NA")
    assert images.paths == ("b.png", "in/c.png", "a.png", "d é,\n.png")
    assert images.labels.tolist() == [1, 0, 1, 0]
    assert images.parts == ("train", "", "val", "test")
    assert [redness(images.read(index)) for index in range(4)] == [1, 2, 0, 3]
    assert images.stamp(0) == images.stamp(0) != images.stamp(1)


def test_without_parts(folder: Path) -> None:
    assert open_manifest(write(folder, ROWS)).parts is None
    assert open_manifest(write(folder, "path,label,split\na.png,x,\nb.png,y,\n")).parts is None


def test_training_images_are_open_where_no_others_can_be_validated_on(folder: Path) -> None:
    images = open_manifest(write(folder, "path,label,split\na.png,x,train\nb.png,y,test\n"))
    assert images.parts == ("", "test")
    assert images.notes == ("the source gives no val part: taken from its training images",)


def test_labels_that_look_alike_are_one_class(folder: Path) -> None:
    images = open_manifest(write(folder, "path,label\na.png,D\u00fcrer\nb.png,Du\u0308rer \nin/c.png,x\n"))
    assert images.classes == ("D\u00fcrer", "x")
    assert images.labels.tolist() == [0, 0, 1]
    assert images.notes == ("labels that differ in spaces or in Unicode form are one class: D\u00fcrer",)


TABLE = "path,label,split\na.png,x,train\nb.png,y,val\nin/c.png,x,test\n"


@pytest.mark.parametrize(
    "content",
    [
        TABLE.replace(",", ";"),
        TABLE.replace(",", "\t"),
        TABLE.replace(",", "|"),
        "sep=;\r\n" + TABLE.replace(",", ";").replace("\n", "\r\n"),
        TABLE.replace("path,label,split", "Path,LABEL,Split"),
        TABLE.replace(",", " , "),
        'path, label, split\na.png, "x", "train"\n"b.png", y, val\nin/c.png, x, "test"\n',
        TABLE.replace("/", "\\"),
        TABLE.replace("train", "Training").replace("val", "validation").replace("test", "TEST"),
        TABLE.encode("utf-16"),
        TABLE.encode("utf-16-le"),
        TABLE.encode("utf-16-be"),
        b"\xfe\xff" + TABLE.replace(",", "\t").encode("utf-16-be"),
        TABLE.replace("path,label,split", '"path","label","split"'),
        TABLE.replace("a.png", "./a.png "),
    ],
    ids=[
        "semicolons", "tabs", "bars", "excel", "case", "spaces", "quotes-after-spaces", "backslashes", "parts",
        "utf-16", "utf-16-le", "utf-16-be", "excel-unicode", "quotes", "space-behind",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["m.csv", "m.tsv"])
def test_tables_as_people_write_them(folder: Path, content: str | bytes, name: str) -> None:
    images = open_manifest(write(folder, content, name))
    assert images.paths == ("a.png", "b.png", "in/c.png")
    assert [images.classes[label] for label in images.labels] == ["x", "y", "x"]
    assert images.parts == ("train", "val", "test")


def test_absolute_paths_below_the_folder(folder: Path, tmp_path: Path) -> None:
    text = f"path,label\n{folder}/a.png,x\n{folder}/in/c.png,y\n"
    assert open_manifest(write(folder, text)).paths == ("a.png", "in/c.png")
    (tmp_path / "link").symlink_to(folder)
    assert open_manifest(tmp_path / "link" / "m.csv").paths == ("a.png", "in/c.png")
    assert message(write(folder, f"path,label\n{folder}/../a.png,x\nb.png,y\n")).startswith(
        f"{folder}/m.csv: '{folder}/../a.png' is not a path within its folder"
    )


def test_names_with_spaces_and_backslashes_of_their_own(tmp_path: Path, fill) -> None:
    folder = fill(tmp_path, " a.png", "in\\b.png", "c.png")
    images = open_manifest(write(folder, "path,label\n a.png,x\nin\\b.png,y\n c.png,x\n"))
    assert images.paths == (" a.png", "in\\b.png", "c.png")


def test_parquet_is_the_same(folder: Path) -> None:
    columns = {
        "n": [1, 2, 3],
        "path": ["a.png", "b.png", "in/c.png"],
        "label": [3, 1, 3],
        "split": ["train", None, "test"],
    }
    table = pa.table({**columns, "label": pa.array(columns["label"]), "more": [[1], [2], [3]]})
    parquet.write_table(table, folder / "m.parquet")
    images = open_manifest(folder / "m.parquet")
    assert images.classes == ("1", "3")
    assert images.labels.tolist() == [1, 0, 1]
    assert images.parts == ("train", "", "test")
    text = table.set_column(2, "label", pa.array(["x", "y", "x"]).dictionary_encode())
    parquet.write_table(text, folder / "m.parquet")
    assert open_manifest(folder / "m.parquet").classes == ("x", "y")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", " is empty; a manifest has the columns path, label and, if it is split, split"),
        ("path,label\n", " names no image"),
        ("file,label\na.png,x\n", " has no column 'path'; got 'file', 'label', with commas between, as its first line"),
        ("path:label\na.png:x\n", " has no column 'path'; got 'path:label', with commas between, as its first line"),
        ("path,label,Path\na.png,x,b.png\n", " has two columns 'path'; remove one"),
        (
            "path;label\na.png;x;y\n",
            ": line 2: 3 values for 2 columns; a value with a semicolon is quoted",
        ),
        (
            "path,label\na.png,x\nb.png,y\n./b.png,x\nb.png,z\n",
            ": a conflict of labels: b.png is there as 'y' and as 'x' and 1 more like it; leave the right row of each "
            "image",
        ),
        (
            "path,label,split\na.png,x,train\na.png,x,test\n",
            ": a conflict of parts: a.png is there as 'train' and as 'test'; leave the right row of each image",
        ),
        (
            "path,label\nC:\\d\\a.png,x\nb.png,y\n",
            ": 'C:/d/a.png' is not a path within its folder; paths are relative to the manifest's folder, without '..'",
        ),
        (
            "path,class\na.png,x\n",
            " has no column 'label'; got 'path', 'class', with commas between, as its first line",
        ),
        ("path,label,label\na.png,x,y\n", " has two columns 'label'; remove one"),
        ("path,label,split,split\na.png,x,,\n", " has two columns 'split'; remove one"),
        ("path,label\na.png,x,y\n", ": line 2: 3 values for 2 columns; a value with a comma is quoted"),
        ("path,label\na.png\n", ": line 2: 1 values for 2 columns; a value with a comma is quoted"),
        (
            'path,label\na.png,"x\n',
            ": line 2: not CSV: unexpected end of data; a value with a comma is quoted",
        ),
        (
            "path,label" + "x" * 200_000,
            ": line 1: not CSV: field larger than field limit (131072); its first line names the columns path, label "
            "and, if it is split, split",
        ),
        (
            'sep="\npath"label\n',
            " has no column 'path'; got 'sep=\"', with commas between, as its first line",
        ),
        ("path,label\na.png,x\nb.png,\n", ": b.png: an empty label; name the class"),
        ("path,label\n,x\nb.png,y\n", ": a row has no path"),
        (
            'path,label\na.png,"x\ny"\nb.png,y\n',
            ": a.png: label 'x\\ny' holds a line break, a path separator or another control character; rename it",
        ),
        (
            "path,label\na.png,x/y\nb.png,y\n",
            ": a.png: label 'x/y' holds a line break, a path separator or another control character; rename it",
        ),
        (
            "path,label,split\na.png,x,train\nb.png,y,extra\n",
            ": b.png: unknown split 'extra'; allowed are train, training, val, valid, validation, dev, development, "
            "test, testing, eval, evaluation, or nothing",
        ),
        ("path,label\na.png,x\nb.png,x\n", " holds one class, 'x'; a classifier needs at least two"),
        ("path,label\na.png,x\n./a.png,x\n", " names a.png twice; an image has one row"),
        (
            "path,label\na.png,x\na.png,y\n",
            ": a conflict of labels: a.png is there as 'x' and as 'y'; leave the right row of each image",
        ),
        (
            "path,label\na.png,x\nno.png,y\nnor.png,y\n",
            ": 2 of 3 files cannot be found, the first no.png (No such file or directory); "
            "paths are relative to the manifest's folder",
        ),
        (
            "path,label\na.png,x\nin,y\n",
            ": 1 of 2 files cannot be found, the first in (not a regular file); "
            "paths are relative to the manifest's folder",
        ),
    ],
)
def test_bad_tables(folder: Path, text: str, expected: str) -> None:
    assert message(write(folder, text)) == f"{folder}/m.csv{expected}"


@pytest.mark.parametrize("path", ["/etc/hostname", "../a.png", "in/../../a.png", "in/../a.png", "..", "a\0b.png"])
def test_paths_outside_the_folder(folder: Path, path: str) -> None:
    assert message(write(folder, f"path,label\na.png,x\n{path},y\n")) == (
        f"{folder}/m.csv: {path!r} is not a path within its folder; "
        "paths are relative to the manifest's folder, without '..'"
    )


def test_links_that_lead_out_of_the_folder(folder: Path) -> None:
    inner = folder / "in"
    (inner / "file.png").symlink_to(folder / "a.png")
    (inner / "up").symlink_to(folder)
    (inner / "near.png").symlink_to("c.png")
    (inner / "nowhere.png").symlink_to("absent.png")
    assert open_manifest(write(inner, "path,label\nc.png,x\nnear.png,y\n")).paths == ("c.png", "near.png")
    for path, target in (("file.png", folder / "a.png"), ("up/a.png", folder)):
        assert message(write(inner, f"path,label\nc.png,x\n{path},y\n")) == (
            f"{inner}/m.csv: {path!r} leads out of its folder through a link, to {target.resolve()}"
        )
    assert message(write(inner, "path,label\nc.png,x\nnowhere.png,y\n")).endswith(
        "the first nowhere.png (No such file or directory); paths are relative to the manifest's folder"
    )


def test_tables_that_cannot_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert message(write(folder, "path,label\nD\u00fcrer.png,x\n".encode("latin-1"))) == (
        f"{folder}/m.csv is not UTF-8; save it as CSV in UTF-8"
    )
    assert message(write(folder, ROWS, "m.parquet")).startswith(
        f"{folder}/m.parquet: not a readable Parquet file of texts (Parquet magic bytes not found"
    )
    table = pa.table({"path": ["a.png"], "label": [[1]]})
    parquet.write_table(table, folder / "m.parquet")
    assert message(folder / "m.parquet").startswith(
        f"{folder}/m.parquet: not a readable Parquet file of texts (Unsupported cast from list"
    )
    parquet.write_table(table.append_column("path", pa.array(["b.png"])), folder / "m.parquet")
    assert message(folder / "m.parquet") == f"{folder}/m.parquet has two columns 'path'; remove one"
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert message(folder / "m.parquet") == (
        f'{folder}/m.parquet: Parquet is read with pyarrow, which is not installed; pip install "resnet-lab[parquet]"'
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_locked_table(folder: Path) -> None:
    write(folder, ROWS).chmod(0)
    assert message(folder / "m.csv") == f"{folder}/m.csv: cannot be read: Permission denied"
