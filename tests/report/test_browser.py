"""Pages in a real browser: Chromium without a screen."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from resnet_lab.evaluation.comparison import compare
from resnet_lab.report.comparison_page import comparison_page
from resnet_lab.report.run_page import run_page
from resnet_lab.report.study_building import make_study_report
from resnet_lab.study.report_contents import gather_study
from tests.report.made_up_runs import ANIMALS, contrasted, embedding_map, gallery, made_up_run
from tests.study.fabricated import REGISTRY, by_chance, design, found

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")]


@dataclass
class Visit:
    """A page in a browser, and what it complained of or asked for."""

    page: "playwright.Page"
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    made, other = made_up_run(), made_up_run(seed=1, name="gelu")
    fifty = made_up_run([f"A_painter_of_a_long_name_{number}" for number in range(50)], n=400)
    compared = compare(made.predictions, other.predictions, ("a", "b"))
    pages = {
        "run": run_page(made, gallery(made)),
        "fifty": run_page(fifty, gallery(fifty), embedding_map=embedding_map(fifty)),
        "compared": comparison_page((made, other), (compared,), contrasted(compared)),
        "study": study(folder / "study"),
    }
    for name, html in pages.items():
        (folder / f"{name}.html").write_text(html)
    return {name: folder / f"{name}.html" for name in pages}


def study(folder: Path) -> str:
    """The page of eight arms, whose table is wide."""
    planned = design(
        factors={"act": ["relu", "gelu"], "attn": ["none", "eca"], "train.lr": [0.001, 0.002]}, margin=0.05
    )
    shares = {arm.name: 0.6 + 0.04 * number for number, arm in enumerate(planned.arms)}
    shown, opened = found(folder, planned, by_chance(shares), failed={("gelu eca 0.002", 1): "it diverged"})
    return make_study_report(gather_study(shown, opened, REGISTRY)).html


@pytest.fixture
def visit(browser: "playwright.Browser", request: pytest.FixtureRequest) -> Iterator[Visit]:
    width = getattr(request, "param", 1280)
    page = browser.new_page(viewport={"width": width, "height": 800})
    visit = Visit(page)
    page.on("console", lambda message: visit.complaints.append(message.text))
    page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    page.on("request", lambda asked: visit.requests.append(asked.url))
    yield visit
    page.close()


def go(visit: Visit, file: Path) -> "playwright.Page":
    visit.page.goto(file.as_uri())
    return visit.page


@pytest.mark.parametrize("visit", [360, 1280], indirect=True)
@pytest.mark.parametrize("name", ["run", "fifty", "compared", "study"])
def test_nothing_is_fetched_nothing_fails_and_nothing_sticks_out(
    visit: Visit, files: dict[str, Path], name: str
) -> None:
    page = go(visit, files[name])
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert visit.complaints == []
    assert [url for url in visit.requests if not url.startswith("data:image/webp")] == [files[name].as_uri()]


def column(page: "playwright.Page", number: int) -> list[str]:
    texts: list[str] = page.locator(f"#class-table tbody tr > :nth-child({number})").all_inner_texts()
    return texts


def test_the_table_of_classes_sorts(visit: Visit, files: dict[str, Path]) -> None:
    page = go(visit, files["run"])
    names, recalls = column(page, 1), [float(text) for text in column(page, 2)]
    assert names == list(ANIMALS)
    assert recalls != sorted(recalls, reverse=True)
    recall, name = (page.locator("#class-table th").nth(number) for number in (1, 0))
    recall.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert recall.get_attribute("aria-sort") == "descending"
    assert [float(text) for text in column(page, 2)] == sorted(recalls, reverse=True)
    assert dict(zip(column(page, 1), map(float, column(page, 2)), strict=True)) == dict(
        zip(names, recalls, strict=True)
    )
    page.keyboard.press("Enter")
    assert recall.get_attribute("aria-sort") == "ascending"
    assert [float(text) for text in column(page, 2)] == sorted(recalls)
    name.get_by_role("button").click()
    assert (name.get_attribute("aria-sort"), recall.get_attribute("aria-sort")) == ("ascending", "none")
    assert column(page, 1) == list(ANIMALS)
    name.get_by_role("button").click()
    assert column(page, 1) == list(reversed(ANIMALS))


def test_numbers_of_several_digits_sort_as_numbers(visit: Visit, files: dict[str, Path]) -> None:
    page = go(visit, files["fifty"])
    page.locator("#class-table th").nth(6).get_by_role("button").click()
    assert [int(text) for text in column(page, 7)] == sorted((10 + 10 * number for number in range(50)), reverse=True)


def test_the_arms_of_a_study_sort(visit: Visit, files: dict[str, Path]) -> None:
    page = go(visit, files["study"])
    scores = "[...document.querySelectorAll('#arm-table tbody tr')].map(row => Number(row.cells[2].dataset.value))"
    values = page.evaluate(scores)
    assert len(values) == 8
    assert values != sorted(values, reverse=True)
    page.locator("#arm-table th").nth(2).get_by_role("button").click()
    assert page.evaluate(scores) == sorted(values, reverse=True)
    page.locator("#arm-table th").nth(2).get_by_role("button").press("Enter")
    assert page.evaluate(scores) == sorted(values)


def test_effects_fit_on_a_desktop(visit: Visit, files: dict[str, Path]) -> None:
    tables = go(visit, files["study"]).locator("table.effects, #arm-table")
    assert tables.count() == 3
    for table in tables.all():
        assert table.evaluate("table => table.scrollWidth <= table.parentElement.clientWidth")


def test_the_method_of_a_study_is_selected_by_one_press(visit: Visit, files: dict[str, Path]) -> None:
    page = go(visit, files["study"])
    page.locator(".paste").click()
    selected = page.evaluate("getSelection().toString()")
    assert selected.strip() == page.locator(".paste").inner_text().strip()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_verdicts_stand_out(browser: "playwright.Browser", files: dict[str, Path], scheme: str) -> None:
    page = browser.new_page(color_scheme=scheme)
    page.goto(files["study"].as_uri())
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    kinds = {
        name.split()[-1] for name in page.eval_on_selector_all(".verdict", "all => all.map(each => each.className)")
    }
    assert len(kinds) > 1
    for kind in kinds:
        ink = page.evaluate(f"getComputedStyle(document.querySelector('.verdict.{kind}')).color")
        one, other = sorted((luminance(colour) for colour in (ink, paper)), reverse=True)
        assert (one + 0.05) / (other + 0.05) >= 4.5, kind
    page.close()


def matrix(page: "playwright.Page") -> tuple[list[str], list[str], dict[tuple[str, str], str]]:
    """Rows, columns, and what each cell says by the two."""
    columns = page.locator("#matrix thead th").all_inner_texts()[:-1]
    rows = page.locator("#matrix tbody th").all_inner_texts()
    lines = "[...document.querySelectorAll('#matrix tbody tr')].map(row => [...row.querySelectorAll('td:not(.sum)')])"
    titles = page.evaluate(f"{lines}.map(cells => cells.map(cell => cell.title))")
    cells = {
        (row, name): title
        for row, line in zip(rows, titles, strict=True)
        for name, title in zip(columns, line, strict=True)
    }
    return rows, columns, cells


def test_the_matrix_changes_its_order_and_keeps_its_cells(visit: Visit, files: dict[str, Path]) -> None:
    page = go(visit, files["fifty"])
    rows, columns, cells = matrix(page)
    assert rows == columns
    assert any(f"{row} taken for {name}: " in shown for (row, name), shown in cells.items())
    similarity = page.get_by_label("by similarity")
    page.get_by_label("by images").focus()
    page.keyboard.press("ArrowRight")
    assert similarity.is_checked()
    expected = [int(k) for k in (similarity.get_attribute("value") or "").split()]
    new_rows, new_columns, new_cells = matrix(page)
    assert new_rows == new_columns == [f"A_painter_of_a_long_name_{k}" for k in expected]
    assert new_rows != rows
    assert new_cells == cells
    page.get_by_label("by images").check()
    assert matrix(page) == (rows, columns, cells)


def test_a_cell_is_read_by_pointing_at_it(visit: Visit, files: dict[str, Path]) -> None:
    page = go(visit, files["run"])
    cell = page.locator("#matrix td.wrong").first
    cell.hover()
    assert page.locator("#matrix-readout").inner_text() == cell.get_attribute("title")


@pytest.mark.parametrize("visit", [360, 1280], indirect=True)
def test_a_work_opens_and_closes_by_keyboard_and_by_a_click(visit: Visit, files: dict[str, Path]) -> None:
    page = go(visit, files["run"])
    work = page.locator(".work").first
    picture, answers = work.locator("img").first, work.locator(".answers")

    def width() -> float:
        box = picture.bounding_box()
        assert box is not None
        return float(box["width"])

    small = width()
    assert not answers.is_visible()
    work.locator("summary").focus()
    page.keyboard.press("Enter")
    assert answers.is_visible()
    assert width() > 1.8 * small
    page.keyboard.press("Enter")
    assert not answers.is_visible()
    assert width() == small
    picture.click()
    assert answers.is_visible()


def test_a_picture_has_its_own_shape(visit: Visit, files: dict[str, Path]) -> None:
    page = go(visit, files["run"])
    boxes = [image.bounding_box() for image in page.locator(".work").first.locator("img").all()]
    shapes = [box["width"] / box["height"] for box in boxes if box is not None]
    assert shapes == pytest.approx([640 / 480] * 3 + [30 / 90] * 3, rel=0.03)


def test_every_part_can_be_reached_by_keyboard(visit: Visit, files: dict[str, Path]) -> None:
    page = go(visit, files["run"])
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        section = "document.activeElement.closest('section')?.getAttribute('aria-labelledby') ?? ''"
        reached.add(page.evaluate(f"document.activeElement.tagName + ({section})"))
    assert {"INPUTconfusion", "BUTTONclasses", "SUMMARYworks", "SUMMARYprovenance", "A"} <= reached


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(browser: "playwright.Browser", files: dict[str, Path], scheme: str) -> None:
    """A contrast of 4.5 to 1 or more: WCAG 2.2, success criterion 1.4.3."""
    page = browser.new_page(color_scheme=scheme)
    page.goto(files["run"].as_uri())
    for selector in (".lead", ".faint", ".work h3 .is-wrong", ".work .truth", ".is-near", "nav a", "th button"):
        ink, paper = page.evaluate(
            """selector => {
                const element = document.querySelector(selector);
                let below = element;
                while (getComputedStyle(below).backgroundColor === "rgba(0, 0, 0, 0)") below = below.parentElement;
                return [getComputedStyle(element).color, getComputedStyle(below).backgroundColor];
            }""",
            selector,
        )
        one, other = sorted((luminance(colour) for colour in (ink, paper)), reverse=True)
        assert (one + 0.05) / (other + 0.05) >= 4.5, selector
    page.close()


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)`: WCAG 2.2."""
    channels = [int(value) / 255 for value in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_without_scripts_all_is_there(browser: "playwright.Browser", files: dict[str, Path]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(files["run"].as_uri())
    assert page.locator("#class-table tbody tr").count() == len(ANIMALS)
    page.locator(".work summary").first.click()
    assert page.locator(".work .answers").first.is_visible()
    context.close()


@pytest.mark.parametrize("visit", [680], indirect=True)  # CSS pixels between the margins of A4
def test_tables_fit_on_paper_and_their_headers_can_be_repeated(visit: Visit, files: dict[str, Path]) -> None:
    """A page is shrunk until its widest part fits, and no table's header is repeated that has a box in it."""
    page = go(visit, files["study"])
    page.emulate_media(media="print")
    wide = page.evaluate("[...document.querySelectorAll(`table`)].filter(t => t.scrollWidth > 1.15 * 680).length")
    assert wide == 0
    assert page.evaluate("[...document.querySelectorAll('th button')].every(b => !b.getClientRects().length)")
