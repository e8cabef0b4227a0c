"""The page as a parser reads it, against the description it was made from."""

import io
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from resnet_lab.data.copies import Copies
from resnet_lab.data.description import Album, ClassRow, DataFindings, Description, ExampleImage, Sizes
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.report.data_page import data_page
from tests.report.parsing import Page

EVIL = '<script>alert("1")</script>'


def jpeg() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (96, 96), (200, 100, 50)).save(content, format="JPEG")
    return content.getvalue()


JPEG = jpeg()
FORM = ImageFormat(224)


def picture(path: str, label: str, part: str = "train") -> ExampleImage:
    return ExampleImage(path, label, part, 640, 480, JPEG)


def row(name: str, train: int, val: int, test: int, bad: int = 0) -> ClassRow:
    return ClassRow(name, train, val, test, bad, (0.5, 0.25, 1.0))


def description(
    classes: Sequence[ClassRow],
    copies: Sequence[Copies] = (),
    bad: Sequence[tuple[str, str]] = (),
    sizes: Sizes | None = None,
    image_format: ImageFormat = FORM,
) -> Description:
    counts = {each.name: each.images for each in classes}
    widths = np.array([300, 400, 1000])
    return Description(
        findings=DataFindings(
            "/data/paintings", sum(counts.values()), counts, tuple(bad), tuple(copies), None, {"CMYK": 3}, ()
        ),
        image_format=image_format,
        seed=0,
        folds=None,
        fold=0,
        split_file=None,
        fingerprint="0123456789abcdef",
        classes=tuple(classes),
        sizes=sizes or Sizes(widths, widths[::-1].copy(), 0),
        mean=(0.51234, 0.4, 0.3),
        std=(0.21, 0.22, 0.23),
        leaks=(),
    )


def album(classes: Sequence[ClassRow], copies: Sequence[Copies] = ()) -> Album:
    samples = {each.name: tuple(picture(f"{each.name}/{n}.jpg", each.name) for n in range(2)) for each in classes}
    galleries = [(each, tuple(picture(path, path.split("/")[0]) for path in each.paths[:4])) for each in copies]
    return Album(
        samples,
        conflicts=tuple(pair for pair in galleries if pair[0].conflict),
        copies=tuple(pair for pair in galleries if not pair[0].conflict),
    )


PLENTY = (row("Monet", 80, 10, 10), row("Klee", 40, 10, 10))
CONFLICT = Copies(("Monet/1.jpg", "Klee/2.jpg"), ("Monet", "Klee"), exact=True)
COPY = Copies(("Klee/3.jpg", "Klee/4.jpg"), ("Klee",), exact=False)
FULL = data_page(description(PLENTY, [CONFLICT, COPY], [("Klee/5.jpg", "empty file")]), album(PLENTY, [CONFLICT, COPY]))


def test_one_file_that_fetches_nothing_and_runs_nothing() -> None:
    page = Page(FULL)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.all("img"))
    assert all(link["href"].startswith("#") for link in page.all("a"))
    assert re.findall(r"url\((?!#)|@import", FULL) == []
    assert [name for _, attributes in page.elements for name in attributes if name.startswith("on")] == []


def test_it_can_be_read_by_a_screen_reader() -> None:
    page = Page(FULL)
    assert page.all("html")[0]["lang"] == "en"
    assert all(heading.get("scope") in ("col", "row") for heading in page.all("th"))
    alts = [image["alt"] for image in page.all("img")]
    assert "Monet: Monet/0.jpg, 640 by 480 pixels" in alts
    assert len(alts) == 2 * 2 + 2 + 2
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.all("a")} <= set(ids)
    assert all(section["aria-labelledby"] in ids for section in page.all("section"))
    for drawing in page.all("svg"):
        assert drawing.get("aria-hidden") == "true" or drawing["aria-label"]


def test_it_agrees_with_the_description() -> None:
    page = Page(FULL)
    assert page.texts["title"][0] == "paintings: 160 images of 2 classes"
    rows = page.rows()
    assert ["Monet", "100", "80", "10", "10"] in rows
    assert ["Klee", "60", "40", "10", "10"] in rows
    assert ["all", "160", "120", "20", "20"] in rows
    assert ["red", "0.5123", "0.2100"] in rows
    assert ["width", "300", "400", "1,000"] in rows
    assert ["width", "/", "height", "0.30", "1.00", "3.33"] in rows
    assert "has 1.7 times as many as the smallest, Klee" in " ".join(page.texts["p"])
    assert "Klee/5.jpg empty file" in [text.strip() for text in page.texts["tr"]]
    assert [text for text in page.texts["li"] if "handled" in text] == ["Unusual and handled: 3 CMYK"]


def test_bars_are_as_long_as_their_classes_are_large() -> None:
    shares = {"train": [80, 40], "val": [10, 10], "test": [10, 10]}
    for part, widths in shares.items():
        drawn = re.findall(rf'class="{part}" x="[0-9.]+%" width="([0-9.]+)%"', FULL)
        assert [float(width) for width in drawn] == widths
    assert re.findall(r'class="test" x="([0-9.]+)%"', FULL) == ["90.000", "50.000"]


def test_mean_colours_are_those_of_the_channels() -> None:
    assert "background:#8040ff" in FULL
    assert "#83664c" in FULL


def remarks(page: str) -> list[str]:
    found = re.findall(r'<li class="(alarm|warning|hint)"><b>(.*?)</b> (.*?) <a href="#(.*?)">', page)
    return [f"{kind} {word} {text} {anchor}" for kind, word, text, anchor in found]


def test_what_to_look_at_comes_first_and_by_gravity() -> None:
    classes = (row("Monet", 80, 10, 10), row("Klee", 5, 1, 2, bad=1))
    described = description(classes, [CONFLICT, COPY], [("Klee/5.jpg", "empty file")])
    described = replace(described, leaks=(COPY,), sizes=replace(described.sizes, enlarged=7))
    assert remarks(data_page(described, album(classes, [CONFLICT, COPY]))) == [
        "alarm Error: 1 picture under several labels: keep the right label and remove the other files. conflicts",
        "alarm Error: 1 picture in several parts: test scores are too optimistic. copies",
        "warning Warning: 1 file cannot be used and is left out. bad",
        "warning Warning: 1 class has fewer than 10 test images. Klee has 2: one mistake there moves its recall by 50 points. classes",  # noqa: E501
        "hint Note: 1 picture more than once under one label. copies",
        "hint Note: 7 images are enlarged, having a side shorter than 224 pixels. sizes",
    ]


def test_nothing_to_look_at() -> None:
    page = data_page(description(PLENTY), album(PLENTY))
    assert remarks(page) == []
    assert "Every file can be used, and there are no copies." in page
    assert not {"#conflicts", "#copies", "#bad"} & {link["href"] for link in Page(page).all("a")}


def test_names_cannot_become_markup() -> None:
    bytes_name = b"caf\xe9".decode("utf-8", "surrogateescape")
    classes = (row(EVIL, 10, 10, 10, bad=1), row(f'"{bytes_name}', 10, 10, 10))
    copies = [Copies((f"{EVIL}/1\n.jpg", f"{bytes_name}/2.jpg"), (EVIL, bytes_name), exact=False)]
    described = description(classes, copies, [(f"{EVIL}/<b>.jpg", EVIL)])
    described = replace(described, findings=replace(described.findings, source=f"/data/{EVIL}", notes=(EVIL,)))
    html = data_page(described, album(classes, copies))
    page = Page(html)
    assert not {"script", "b>.jpg"} & {tag for tag, _ in page.elements}
    assert EVIL in " ".join(page.texts["td"])
    assert r"caf\udce9" in " ".join(page.texts["th"])
    assert r"1\n.jpg" in " ".join(page.texts["code"])
    html.encode()


def test_long_lists_are_folded_and_truncated() -> None:
    copies = [Copies((f"Klee/{n}.jpg", f"Klee/{n}b.jpg"), ("Klee",), exact=True) for n in range(30)]
    bad = [(f"Klee/{n}.png", "empty file") for n in range(203)]
    shown = album(PLENTY, copies[:24])
    page = Page(data_page(description(PLENTY, copies, bad), shown))
    assert [text for text in page.texts["summary"] if not text.startswith("What is this?")] == ["Show 18 more"]
    text = " ".join(" ".join(page.texts["p"]).split())
    assert "and 6 more copied pictures; resnet-lab data check lists all." in text
    assert "and 3 more files; resnet-lab data check lists all." in text


def test_a_group_of_many_copies_says_how_many() -> None:
    copies = [Copies(tuple(f"Klee/{n}.jpg" for n in range(9)), ("Klee",), exact=True)]
    assert "and 5 more copies" in data_page(description(PLENTY, copies), album(PLENTY, copies))


def test_one_size_and_grey_images() -> None:
    eight = np.full(3, 8)
    described = description(PLENTY, sizes=Sizes(eight, eight, 0), image_format=ImageFormat(8, channels=1))
    html = data_page(replace(described, mean=(0.5,), std=(0.25,)), album(PLENTY))
    page = Page(html)
    assert "All images have the same size." in html
    assert ["grey", "0.5000", "0.2500"] in page.rows()
    assert "#808080" in html


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"seed": 7}, "split with seed 7; squash to 224 × 224 pixels"),
        ({"folds": 5, "fold": 2}, "split with seed 0, fold 2 of 5 (counted from 0); squash"),
        ({"split_file": "my <splits>.csv"}, "parts of my <splits>.csv; squash"),
    ],
)
def test_how_the_split_was_made(change: dict[str, object], text: str) -> None:
    page = Page(data_page(replace(description(PLENTY), **change), album(PLENTY)))  # type: ignore[arg-type]
    assert any(text in line for line in page.texts["li"])
