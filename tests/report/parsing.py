"""Pages as a parser reads them."""

from html.parser import HTMLParser
from itertools import pairwise

VOID = {"meta", "img", "br", "wbr", "input"}


class Page(HTMLParser):
    """Elements with their attributes and texts; refuses tags that are not balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))
        self.texts.setdefault(tag, []).append("")
        if tag in ("td", "th"):
            self.texts["tr"][-1] += " "
        if tag == "br":
            self.handle_data(" ")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def rows(self) -> list[list[str]]:
        return [row.split() for row in self.texts["tr"]]

    def prose(self, tag: str = "p") -> str:
        return " ".join(" ".join(self.texts.get(tag, [])).split())


def require_self_contained(html: str) -> None:
    """One file that fetches nothing."""
    page = Page(html)
    assert not {"link", "iframe", "object", "embed"} & {tag for tag, _ in page.elements}
    assert all("src" not in script for script in page.all("script"))
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    assert all(link["href"].startswith("#") for link in page.all("a"))
    assert [name for _, attributes in page.elements for name in attributes if name.startswith("on")] == []


def require_readable_aloud(html: str) -> None:
    """Require what a screen reader needs: a language, headed tables, texts for pictures, links that lead somewhere."""
    page = Page(html)
    assert page.all("html")[0]["lang"] == "en"
    assert all(heading.get("scope") in ("col", "row") for heading in page.all("th"))
    assert all(image["alt"] for image in page.all("img"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.all("a")} <= set(ids)
    assert all(section["aria-labelledby"] in ids for section in page.all("section"))
    for drawing in page.all("svg"):
        assert drawing.get("aria-hidden") == "true" or drawing["aria-label"]
    levels = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
