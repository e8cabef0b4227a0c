import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from subprocess import run

import numpy as np
import pytest
from PIL import Image

from resnet_lab.data.cache_folders import entries
from tests.data.drawn_sets import painted

EMPTY_AND_TEXT = {"red/empty.png": b"", "blue/text.jpg": b"no image"}


NOT_COMPARED = "near copies were searched among 0 of them: the others are small, flat, letters or plain drawings"


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("RESNET_LAB_CACHE", str(folder))
    return folder


@pytest.fixture
def damaged(paintings: Path) -> Path:
    """The paintings with two bad files, one copy and one conflict."""
    for path, content in EMPTY_AND_TEXT.items():
        (paintings / path).write_bytes(content)
    (paintings / "red" / "3 again.png").write_bytes((paintings / "red" / "3.png").read_bytes())
    (paintings / "red" / "blue 4.png").write_bytes((paintings / "blue" / "4.png").read_bytes())
    return paintings


def test_check_as_json(cli: Callable, damaged: Path) -> None:
    code, out, _ = cli("data", "check", damaged, "--json")
    printed = json.loads(out)
    copy = {"paths": ["red/3 again.png", "red/3.png"], "classes": ["red"], "exact": True}
    conflict = {"paths": ["blue/4.png", "red/blue 4.png"], "classes": ["blue", "red"], "exact": True}
    assert code == 0
    assert (printed["images"], printed["usable"], printed["classes"]) == (28, 26, {"blue": 12, "red": 14})
    assert printed["bad"] == [
        {"path": "blue/text.jpg", "cause": "not an image of a known format"},
        {"path": "red/empty.png", "cause": "empty file"},
    ]
    assert sorted(printed["copies"], key=lambda each: each["paths"]) == [conflict, copy]
    assert printed["conflicts"] == [conflict]


def test_check_on_the_screen(cli: Callable, damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.rstrip() for line in cli("data", "check", damaged).out.splitlines()]
    assert lines == [
        f"{damaged}: 26 of 28 images can be used, 2 classes",
        "",
        "2 files cannot be used",
        " blue/text.jpg  not an image of a known format",
        " red/empty.png  empty file",
        "",
        "1 picture under several labels",
        " exact  blue, red:",
        "        blue/4.png",
        "        red/blue 4.png",
        "",
        "1 picture more than once under one label",
        " exact  red/3 again.png",
        "        red/3.png",
        NOT_COMPARED,
    ]


@pytest.mark.parametrize("arguments", ["check SOURCE", "describe SOURCE", "split SOURCE --out FILE"])
def test_images_are_inspected_without_torch_in_memory(paintings: Path, tmp_path: Path, arguments: str) -> None:
    """It takes some 500 MiB, and the seconds of its import."""
    given = arguments.replace("SOURCE", str(paintings)).replace("FILE", str(tmp_path / "split.csv")).split()
    code = (
        "import sys\nfrom resnet_lab.cli import main\ntry: main(sys.argv[1:])\nfinally: print('torch' in sys.modules)"
    )
    done = run(
        [sys.executable, "-c", code, "data", *given],
        capture_output=True,
        text=True,
        env={**os.environ, "RESNET_LAB_PLUGINS": ""},
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "False")


def test_near_copies_can_be_left_alone(cli: Callable, paintings: Path) -> None:
    for number in range(2):
        painted(1).save(paintings / "red" / f"painted {number}.jpg", quality=90 - 30 * number)
    for number in range(2, 10):
        painted(number, 80, 64).save(paintings / "red" / f"painted {number}.jpg")
    printed = json.loads(cli("data", "check", paintings, "--json").out)
    assert [each["paths"] for each in printed["copies"]] == [["red/painted 0.jpg", "red/painted 1.jpg"]]
    assert printed["compared"] == 10
    off = json.loads(cli("data", "check", paintings, "--near-copies", "off", "--json").out)
    assert (off["copies"], off["compared"]) == ([], None)
    assert cli("data", "check", paintings, "--near-copies", "off").out.endswith("there are no copies\n")
    for command in (("check",), ("describe",), ("split", "--out", "s.csv")):
        code, out, err = cli("data", command[0], paintings, *command[1:], "--near-copies", "some")
        assert (code, out) == (2, "")
        assert err == "resnet-lab: data: near_copies: input should be 'on' or 'off', got 'some'\n"


def test_a_sound_source_on_the_screen(cli: Callable, paintings: Path) -> None:
    assert cli("data", "check", paintings, "--strict").out == (
        f"{paintings}: 24 images, 2 classes\nevery file can be used, and there are no copies\n{NOT_COMPARED}\n"
    )


def test_a_strict_check_reports_all_before_it_fails(cli: Callable, damaged: Path) -> None:
    code, out, err = cli("data", "check", damaged, "--strict", "--json")
    assert code == 2
    assert len(json.loads(out)["bad"]) == 2
    assert err.splitlines()[-1] == (
        f"resnet-lab: {damaged}: 2 files cannot be used and 1 picture under several labels; repair or remove them"
    )
    for path in EMPTY_AND_TEXT:
        (damaged / path).unlink()
    assert cli("data", "check", damaged, "--strict").err.splitlines()[-1] == (
        f"resnet-lab: {damaged}: 1 picture under several labels; repair or remove them"
    )


def test_long_lists_are_cut_on_the_screen_and_whole_as_json(cli: Callable, paintings: Path) -> None:
    for number in range(33):
        (paintings / "red" / f"bad {number}.png").write_bytes(b"bad")
    out = cli("data", "check", paintings).out
    assert "and 13 more, all with --json" in out
    assert out.count("not an image") == 20
    assert len(json.loads(cli("data", "check", paintings, "--json").out)["bad"]) == 33


def test_names_that_would_not_print(cli: Callable, paintings: Path) -> None:
    name = b"caf\xe9\x1b[31m [red].png".decode("utf-8", "surrogateescape")
    (paintings / "red" / name).write_bytes(b"bad")
    assert r"red/caf\udce9\x1b[31m [red].png" in cli("data", "check", paintings).out
    assert json.loads(cli("data", "check", paintings, "--json").out)["bad"][0]["path"] == f"red/{name}"


def test_sources_of_bad_files_or_few_images_are_described(cli: Callable, tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / "bad" / label).mkdir(parents=True)
        (tmp_path / "bad" / label / "1.png").write_bytes(b"")
        (tmp_path / "few" / label).mkdir(parents=True)
        Image.new("RGB", (8, 8), {"a": "red", "b": "blue"}[label]).save(tmp_path / "few" / label / "1.png")
    printed = json.loads(cli("data", "check", "bad", "--json").out)
    assert (printed["usable"], len(printed["bad"]), printed["copies"]) == (0, 2, [])
    assert json.loads(cli("data", "check", "few", "--json").out)["classes"] == {"a": 1, "b": 1}


def test_describe_as_json(cli: Callable, paintings: Path) -> None:
    code, out, _ = cli("data", "describe", paintings, "--size", 20, "--seed", 1, "--json")
    printed = json.loads(out)
    assert code == 0
    assert [(row["name"], row["images"]) for row in printed["classes"]] == [("blue", 12), ("red", 12)]
    assert printed["imbalance"] == 1
    assert printed["sizes"]["width"] == {"smallest": 20, "median": 20, "largest": 20}
    assert (printed["seed"], printed["size"], printed["fit"], printed["enlarged"], printed["bad"]) == (
        1,
        20,
        "squash",
        0,
        [],
    )
    cli("data", "split", paintings, "--seed", 1, "--out", "splits.csv")
    training = np.stack([np.asarray(Image.open(paintings / path)) for path in in_part("train")]).astype(float) / 255
    assert printed["mean"] == pytest.approx(training.mean(axis=(0, 1, 2)))
    assert printed["std"] == pytest.approx(training.std(axis=(0, 1, 2)))
    assert printed["parts"] == {part: len(in_part(part)) for part in ("train", "val", "test")}


def in_part(part: str, file: str = "splits.csv") -> list[str]:
    with Path(file).open(newline="") as rows:
        return [row["path"] for row in csv.DictReader(rows) if row["split"] == part]


def test_describe_on_the_screen(cli: Callable, damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = cli("data", "describe", damaged, "--size", 16).out
    lines = [line.split() for line in out.splitlines()]
    assert ["red", "█" * 20, "14"] in [line[:3] for line in lines]
    assert ["all", "26"] in [line[:2] for line in lines]
    assert "largest class / smallest class: 14 / 12 = 1.2\nsplit with seed 0\n" in out
    assert ["width", "in", "pixels", "20", "20", "20"] in lines
    printed = " ".join(out.split())
    assert "2 files cannot be used, 2 pictures more than once, 1 under several labels: see" in printed
    assert max(len(line) for line in out.splitlines() if not line.startswith(str(damaged))) <= 80


def test_copies_in_several_parts_are_reported(cli: Callable, paintings: Path) -> None:
    (paintings / "red" / "3 again.png").write_bytes((paintings / "red" / "3.png").read_bytes())
    cli("data", "split", paintings, "--out", "splits.csv")
    moved = Path("splits.csv").read_text()
    for name, part in (("3", "train"), ("3 again", "test")):
        for old in ("train", "val", "test"):
            moved = moved.replace(f'"red/{name}.png","red","{old}"', f'"red/{name}.png","red","{part}"')
    Path("moved.csv").write_text(moved)
    arguments = ("data", "describe", paintings, "--size", 16, "--split-file", "moved.csv")
    printed = json.loads(cli(*arguments, "--json").out)
    assert printed["leaks"] == [{"paths": ["red/3 again.png", "red/3.png"], "classes": ["red"], "exact": True}]
    assert "1 picture more than once, 1 in several parts: see" in " ".join(cli(*arguments).out.split())


def test_describe_as_a_page(cli: Callable, damaged: Path, tmp_path: Path) -> None:
    code, out, _ = cli("data", "describe", damaged, "--size", 32, "--html", "page.html")
    page = (tmp_path / "page.html").read_text()
    assert code == 0
    assert out.splitlines()[-1] == "page: page.html"
    assert "<title>paintings: 26 images of 2 classes</title>" in page
    training = json.loads(cli("data", "describe", damaged, "--size", 32, "--json").out)["classes"]
    samples = sum(min(row["train"], 10) for row in training)
    assert page.count("data:image/jpeg;base64,") == samples + 2 + 2, "samples, a conflict and a copy"
    assert "1 picture under several labels" in page


def test_an_existing_page_is_left_as_it_is(cli: Callable, paintings: Path, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("precious")
    code, out, err = cli("data", "describe", paintings, "--html", "page.html")
    assert (code, out) == (2, "")
    assert err == "resnet-lab: page.html exists already and is left as it is; choose another name or remove it\n"
    assert (tmp_path / "page.html").read_text() == "precious"


def test_split_writes_what_describe_counts_and_a_split_file_gives_it_back(cli: Callable, damaged: Path) -> None:
    code, out, _ = cli("data", "split", damaged, "--seed", 5, "--out", "splits.csv", "--json")
    printed = json.loads(out)
    assert code == 0
    assert printed == {"split_file": "splits.csv", **{part: len(in_part(part)) for part in ("train", "val", "test")}}
    assert sum(len(in_part(part)) for part in ("train", "val", "test")) == 26
    described = json.loads(cli("data", "describe", damaged, "--size", 16, "--seed", 5, "--json").out)
    assert described["parts"] == {part: printed[part] for part in ("train", "val", "test")}
    again = json.loads(
        cli("data", "describe", damaged, "--size", 16, "--split-file", "splits.csv", "--seed", 9, "--json").out
    )
    assert again["parts"] == described["parts"]
    assert again["mean"] == described["mean"]
    assert again["split_file"] == "splits.csv"
    assert cli("data", "split", damaged, "--out", "splits.csv").err == (
        "resnet-lab: splits.csv exists already and is left as it is; choose another name or remove it\n"
    )


def test_folds_test_every_image_once(cli: Callable, paintings: Path) -> None:
    tested: Counter[str] = Counter()
    for fold in range(3):
        out = cli("data", "split", paintings, "--folds", 3, "--fold", fold, "--out", f"{fold}.csv").out
        tested.update(in_part("test", f"{fold}.csv"))
        counts = ", ".join(f"{len(in_part(part, f'{fold}.csv'))} {part}" for part in ("train", "val", "test"))
        assert out == f"{fold}.csv: {counts}\n"
    assert len(tested) == 24
    assert set(tested.values()) == {1}


def test_cache_list_and_clear(cli: Callable, paintings: Path, cache_folder: Path) -> None:
    assert cli("data", "cache", "list").out == f"{cache_folder}: 0 bytes\n"
    cli("data", "describe", paintings, "--size", 16, "--json")
    cli("data", "describe", "digits", "--size", 8, "--json")
    code, out, _ = cli("data", "cache", "list", "--json")
    printed = json.loads(out)
    assert (code, printed["cache"]) == (0, str(cache_folder))
    assert [(entry["source"], entry["image_format"], entry["images"]) for entry in printed["entries"]] == [
        ("digits", {"size": 8, "channels": 3, "fit": "squash", "depth": None, "resize": 0}, 1797),
        (str(paintings), {"size": 16, "channels": 3, "fit": "squash", "depth": None, "resize": 0}, 24),
    ]
    sizes = [entry["bytes"] for entry in printed["entries"]]
    assert sizes == [
        sum(path.stat().st_size for path in Path(entry["folder"]).iterdir()) for entry in printed["entries"]
    ]
    screen = " ".join(cli("data", "cache", "list").out.split())
    assert "digits images 8 squash 1,797" in screen
    assert json.loads(cli("data", "cache", "clear", "paintings", "--json").out) == {"freed": sizes[1]}
    assert [entry.source for entry in entries()] == ["digits"]
    assert cli("data", "cache", "clear").out.endswith(" freed\n")
    assert entries() == []


def test_clearing_a_source_that_is_not_there(cli: Callable) -> None:
    cli("data", "describe", "digits", "--size", 8, "--json")
    code, out, err = cli("data", "cache", "clear", "digit")
    assert (code, out) == (2, "")
    assert err == "resnet-lab: digit: the cache holds nothing of that name; did you mean 'digits'?\n"


BAD = {
    "check absent": "absent: no such folder",
    "describe absent --html page.html": "absent: no such folder",
    "split absent --out splits.csv": "absent: no such folder",
    "describe digits --fit crush": "data: fit: input should be 'squash', 'crop' or 'pad', got 'crush'",
    "describe digits --folds 2": "data: folds: input should be greater than or equal to 3, got 2",
    "describe digits --folds 3 --fold 3 --size 8": "fold 3 of 3: there must be at least 3 folds",
    "describe digits --size 8 --split-file absent.csv": "absent.csv: cannot be read: No such file",
}


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_writes_nothing(cli: Callable, tmp_path: Path, arguments: str) -> None:
    code, out, err = cli("data", *arguments.split(), "--json")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith(f"resnet-lab: {BAD[arguments]}")
    assert list(tmp_path.iterdir()) == []


def test_a_page_cannot_be_written_where_there_is_no_folder(cli: Callable, paintings: Path) -> None:
    code, _, err = cli("data", "describe", paintings, "--size", 8, "--html", "absent/page.html")
    assert code == 2
    assert err.splitlines()[-1] == "resnet-lab: absent/page.html: cannot be written: No such file or directory"


def test_handled_kinds_are_reported(cli: Callable, paintings: Path) -> None:
    content = io.BytesIO()
    Image.new("CMYK", (20, 20), (10, 20, 30, 0)).save(content, format="JPEG")
    (paintings / "red" / "press.jpg").write_bytes(content.getvalue())
    assert "unusual and handled: 1 CMYK" in cli("data", "check", paintings).out
    assert json.loads(cli("data", "check", paintings, "--json").out)["handled"] == {"CMYK": 1}
