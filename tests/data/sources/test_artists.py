import csv
from collections import Counter
from pathlib import Path

import pytest

from resnet_lab.data.sources.artists import Artists, read_artists

SHARED = Path(__file__).parents[4] / "shared" / "data" / "best-artworks"


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "artists.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.skipif(not SHARED.is_dir(), reason="the table of artists is not here")
def test_every_folder_of_the_published_set_finds_its_artist() -> None:
    with (SHARED / "file-counts.csv").open() as file:
        counts = {row["artist"]: int(row["files"]) for row in csv.DictReader(file)}
    artists = read_artists(SHARED / "artists.csv")
    names = artists.class_names(counts)
    assert len(names) == len(set(names.values())) == 50
    assert names["Albrecht_Duerer"] == "Albrecht Dürer"
    different = {folder: name for folder, name in names.items() if name != folder.replace("_", " ")}
    assert different == {"Albrecht_Duerer": "Albrecht Dürer"}
    assert sum(map(int, artists.paintings.values())) == 8446
    assert artists.notes == ()
    found = Counter({names[folder]: count for folder, count in counts.items()})
    assert artists.compared(found, []) == [
        "images found, of the paintings that artists.csv counts: Diego Velazquez 37 of 128"
    ]


def test_names_are_found_in_any_spelling(tmp_path: Path) -> None:
    artists = read_artists(table(tmp_path, "id,name\n0,Albrecht Dürer\n1, Joan Miro \n", "utf-8-sig"))
    spelt = ["albrecht-duerer", "Albrecht_Du╠êrer", "JOAN_MIRÓ", "Titian"]
    assert artists.class_names(spelt) == dict(
        zip(spelt[:3], ["Albrecht Dürer", "Albrecht Dürer", "Joan Miro"], strict=True)
    )


def test_mismatches_are_reported() -> None:
    artists = Artists({"A B": "3", "C": "2", "D": "", "E": "1", **{f"x{number}": "9" for number in range(6)}})
    assert artists.compared(Counter({"A B": 2, "C": 2, "D": 7, "odd": 1}), ["odd"]) == [
        "without a row in artists.csv: 'odd'",
        "artists in artists.csv without images: E, x0, x1, x2, x3 and 2 more",
        "images found, of the paintings that artists.csv counts: A B 2 of 3",
    ]


def test_two_rows_of_one_artist(tmp_path: Path) -> None:
    artists = read_artists(table(tmp_path, "name,paintings\nTitian,3\nTITIAN,4\n"))
    assert artists.paintings == {"Titian": "3"}
    assert artists.notes == ("artists.csv has two rows for TITIAN; the first counts",)


def test_another_table_of_that_name_is_passed_over(tmp_path: Path) -> None:
    for text, encoding, note in (
        ("artist,born\nTitian,1488\n", "utf-8", "artists.csv is ignored: it has no column 'name' with names"),
        ("", "utf-8", "artists.csv is ignored: it has no column 'name' with names"),
        ("name\nDürer\n", "latin-1", "artists.csv is ignored: not UTF-8 at byte 6; save it as CSV in UTF-8"),
    ):
        artists = read_artists(table(tmp_path, text, encoding))
        assert not artists.paintings
        assert artists.notes[0].startswith(note)


@pytest.mark.parametrize(("header", "column"), [("name,name", "name"), ("name,paintings,paintings", "paintings")])
def test_two_columns_of_a_name(tmp_path: Path, header: str, column: str) -> None:
    artists = read_artists(table(tmp_path, f"{header}\nTitian,2,3\n"))
    assert artists == Artists(notes=(f"artists.csv is ignored: it has two columns {column!r}",))
