"""The page about suspects, as a browser would parse it."""

from dataclasses import replace
from html.parser import HTMLParser

from resnet_lab.evaluation.gallery import GalleryPicture
from resnet_lab.evaluation.suspect_gallery import SuspectGallery
from resnet_lab.evaluation.suspects import Suspect
from resnet_lab.report.suspects_page import suspects_page
from tests.report.parsing import require_readable_aloud, require_self_contained


def suspect(rank: int, *, flagged: bool = True, label: str = "cat", path: str = "") -> Suspect:
    return Suspect(
        rank=rank, path=path or f"{label}/{rank}.jpg", label=label, suggested="dog", p_label=0.01 * rank,
        p_suggested=0.9, score=0.01 * rank, flagged=flagged, predictions=2, sha256="0" * 64,
    )  # fmt: skip


def gallery(*suspects: Suspect, shown: int = 2) -> SuspectGallery:
    pictures = {each.path: GalleryPicture(each.path, 30, 20, b"webp") for each in suspects[:shown]}
    return SuspectGallery("runs/a", "/data/pets", "self_confidence", suspects, 5, 0, pictures, shown, "")


FOUND = gallery(suspect(1), suspect(2, label="owl"), suspect(3), suspect(4, flagged=False))


class Cards(HTMLParser):
    """Texts of the cards of suspects; paths may break after a slash."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.cards: list[str] = []
        self.inside = False
        self.images = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.images += tag == "img"
        if tag == "article":
            self.cards.append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "article"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.cards[-1] += f" {data.strip()}" if data.strip() else ""


def test_the_first_suspects_are_shown_with_both_labels() -> None:
    found = Cards(suspects_page(FOUND))
    assert found.images == 2
    assert found.cards[0].strip() == "1 flagged given cat 0.010 suggested dog 0.900 cat/ 1.jpg"
    assert found.cards[1].strip() == "2 flagged given owl 0.020 suggested dog 0.900 owl/ 2.jpg"
    assert len(found.cards) == 2


def test_counts_and_pairs_of_labels() -> None:
    html = " ".join(suspects_page(FOUND).split())
    assert "3 labels of 4 may be wrong" in html
    assert "labelled <b>cat</b>, suggested <b>dog</b>: 2" in html
    assert html.index("labelled <b>cat</b>") < html.index("labelled <b>owl</b>")
    assert "and 2 more; <code>suspects.csv</code> lists all" in html
    assert "Nothing was deleted or relabelled." in html
    assert "not ranked" not in html
    require_self_contained(html)
    require_readable_aloud(html)


def test_what_is_missing_is_said() -> None:
    html = suspects_page(replace(FOUND, pictures={}, obstacle="the folder is gone", unranked=7))
    assert Cards(html).images == 0
    assert "7 images were in no test part and are not ranked." in html
    assert "Pictures are missing: the folder is gone." in html


def test_nothing_flagged() -> None:
    html = suspects_page(gallery(suspect(1, flagged=False)))
    assert "No label of 1 is flagged as wrong" in html
    assert "#pairs" not in html


def test_names_are_escaped() -> None:
    evil = suspect(1, label="<script>", path="<img src=x>\n.jpg")
    html = suspects_page(gallery(evil))
    assert "<img src=x>" not in html
    assert "<b>&lt;script&gt;</b>" in html
