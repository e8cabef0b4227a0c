"""Pages in a real browser: Chromium without a screen."""

import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from resnet_lab.bench.arms import arms_of
from resnet_lab.bench.config import Mode
from resnet_lab.bench.measuring import Floor
from resnet_lab.bench.report_contents import contents_of
from resnet_lab.bench.results import as_json
from resnet_lab.evaluation.comparison import compare
from resnet_lab.evaluation.suspect_gallery import SuspectGallery
from resnet_lab.network import zoo
from resnet_lab.report.bench_page import bench_page
from resnet_lab.report.comparison_page import comparison_page
from resnet_lab.report.run_page import run_page
from resnet_lab.report.study_building import make_study_report
from resnet_lab.report.suspects_page import suspects_page
from resnet_lab.study.costs import ArmCost, Costs
from resnet_lab.study.report_contents import gather_study
from tests.bench.results_by_hand import bench as bench_by_hand
from tests.bench.results_by_hand import result, with_operators
from tests.report.made_up_runs import ANIMALS, contrasted, embedding_map, gallery, made_up_run
from tests.report.test_data_page import FULL
from tests.report.test_suspects_page import FOUND
from tests.study.fabricated import REGISTRY, by_chance, design, found

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")]


PAGES = ("run", "fifty", "compared", "study", "bench", "data", "suspects")


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
        "bench": bench(),
        "data": FULL,
        "suspects": suspects_page(with_pictures(FOUND)),
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
    cost = ArmCost(1224.3, (1187.2, 1301.8), 1.25, (1.12, 1.31), 64, 512 * 2**20)
    modes: dict[Mode, ArmCost] = {"latency": cost, "infer": cost, "train": cost}
    costs = Costs({arm.name: modes for arm in planned.arms}, {"name": "one machine"}, [])
    return make_study_report(gather_study(replace(shown, costs=costs), opened, REGISTRY)).html


def bench() -> str:
    """The page of four networks in every mode, whose table is wide."""
    arms = arms_of([zoo.get("resnet50")], {"act": ["relu", "gelu"], "attn": ["none", "cbam"]})
    baseline = [1224.3, 1398.1, 1187.2, 1204.9, 1301.8, 1250.5]
    noise = [0.87, 1.21, 0.94, 1.13, 0.99, 1.06]
    results = [result(arms[0], baseline, baseline)]
    results += [result(arm, [a * b for a, b in zip(baseline, noise, strict=True)], baseline) for arm in arms[1:]]
    for each in results:
        each.static = replace(each.static, parameters=128_600_000, macs=4_098_000_000, moved_bytes=312_000_000)
        each.floor = Floor(191.2, 150.1)
        each.timings |= {"latency": each.timings["infer"], "train": each.timings["infer"]}
        each.memory |= {"latency": 512 * 2**20, "infer": 512 * 2**20, "train": 512 * 2**20}
    found = bench_by_hand(results)
    found.control |= {"latency": found.control["infer"], "train": found.control["infer"]}
    content = json.loads(json.dumps(as_json(found, torch.device("cpu"))))
    return bench_page(contents_of(with_operators(content), "the bench"))


def with_pictures(shown: SuspectGallery) -> SuspectGallery:
    """The same, with images that a browser can show."""
    content = io.BytesIO()
    Image.new("RGB", (30, 20)).save(content, format="WEBP")
    pictures = {path: replace(picture, webp=content.getvalue()) for path, picture in shown.pictures.items()}
    return replace(shown, pictures=pictures)


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


@pytest.mark.parametrize("visit", [360, 390, 1280], indirect=True)
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_fetched_nothing_fails_and_nothing_sticks_out(
    visit: Visit, files: dict[str, Path], name: str
) -> None:
    page = go(visit, files[name])
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert visit.complaints == []
    assert [url for url in visit.requests if not url.startswith("data:image/")] == [files[name].as_uri()]


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


@pytest.mark.parametrize(("name", "number"), [("study", 3), ("bench", 1)])
def test_effects_and_costs_fit_on_a_desktop(visit: Visit, files: dict[str, Path], name: str, number: int) -> None:
    tables = go(visit, files[name]).locator("table.effects, #arm-table")
    assert tables.count() == number
    for table in tables.all():
        assert table.evaluate("table => table.scrollWidth <= table.parentElement.clientWidth")


@pytest.mark.parametrize("visit", [390], indirect=True)
@pytest.mark.parametrize(("name", "label"), [("study", "Plot of the differences"), ("bench", "Table of networks")])
def test_a_shadow_shows_that_there_is_more_to_the_right(
    visit: Visit, files: dict[str, Path], name: str, label: str
) -> None:
    """The last pixels of a row of the frame get lighter once it is scrolled to its end."""
    page = go(visit, files[name])
    frame = page.get_by_role("region", name=label).first

    def edge() -> int:
        with Image.open(io.BytesIO(frame.screenshot())) as shown:
            return int(shown.convert("L").getpixel((shown.width - 2, shown.height - 2)))

    assert frame.evaluate("frame => frame.scrollWidth > frame.clientWidth")
    before = edge()
    frame.evaluate("frame => { frame.scrollLeft = frame.scrollWidth; }")
    assert edge() > before + 10


@pytest.mark.parametrize("visit", [1280], indirect=True)
def test_terms_and_labels_of_suspects_stand_apart(visit: Visit, files: dict[str, Path]) -> None:
    rows = go(visit, files["suspects"]).locator(".suspect dl div").all()
    assert rows
    for row in rows:
        term, value = row.locator("dt").bounding_box(), row.locator("dd").bounding_box()
        assert value["x"] - (term["x"] + term["width"]) >= 4


def test_the_method_of_a_study_is_selected_by_one_press(visit: Visit, files: dict[str, Path]) -> None:
    page = go(visit, files["study"])
    page.locator(".paste").click()
    selected = page.evaluate("getSelection().toString()")
    assert selected.strip() == page.locator(".paste").inner_text().strip()


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


@pytest.mark.parametrize("name", PAGES)
def test_every_control_is_reached_by_tab_and_shows_its_focus(visit: Visit, files: dict[str, Path], name: str) -> None:
    """Of a group of radio buttons Tab reaches the one that is chosen."""
    page = go(visit, files[name])
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    number = page.evaluate(
        """() => {
            const all = "a[href], button, input:not([type=radio]:not(:checked)), summary, [tabindex='0']";
            const controls = [...document.querySelectorAll(all)].filter(each => each.checkVisibility());
            controls.forEach((each, at) => { each.dataset.control = at; });
            return controls.length;
        }"""
    )
    reached, unseen = set(), []
    for _ in range(number):
        page.keyboard.press("Tab")
        control, width, html = page.evaluate(
            """() => {
                const own = document.activeElement, style = getComputedStyle(own);
                const width = style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth);
                return [own.dataset.control, width, own.outerHTML.slice(0, 80)];
            }"""
        )
        reached.add(control)
        if width < 2:
            unseen.append(html)
    assert number >= 3
    assert unseen == []
    assert reached == {str(control) for control in range(number)}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_against_wcag_2_2_aa(
    browser: "playwright.Browser", files: dict[str, Path], name: str, scheme: str
) -> None:
    """Names, roles, structure, and a contrast of 4.5 to 1, by Deque's rules; everything unfolded."""
    page = browser.new_page(color_scheme=scheme)
    page.goto(files[name].as_uri())
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    found = axe.Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]})
    faults = [
        (rule["id"], node["target"], node["failureSummary"])
        for rule in found.response["violations"]
        for node in rule["nodes"]
    ]
    assert faults == []
    checked = {rule["id"]: len(rule["nodes"]) for rule in found.response["passes"]}
    assert checked["color-contrast"] > 10
    page.close()


def test_a_page_that_reloads_keeps_its_place_until_it_is_told_not_to(
    browser: "playwright.Browser", tmp_path: Path
) -> None:
    planned = design(arms={"plain": {}, "eca": {"attn": "eca"}})
    opened = found(tmp_path / "study", planned, by_chance({"plain": 0.6, "eca": 0.7}), waiting=(("eca", 2),))
    file = tmp_path / "page.html"
    file.write_text(make_study_report(gather_study(*opened, REGISTRY), 2).html)
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(file.as_uri())
    assert (
        " ".join(page.locator(".progress").inner_text().split())
        == "5 of 6 trials done. This page reloads every 2 seconds."
    )
    page.locator(".what summary").first.click()
    page.evaluate("scrollTo({ top: 700, behavior: 'instant' })")
    file.write_text(file.read_text().replace("5 of 6 trials done", "6 of 6 trials done"))
    page.locator("text=6 of 6 trials done").wait_for()
    page.locator(".what p").first.wait_for()
    page.wait_for_function("Math.abs(scrollY - 700) < 5")
    page.locator("#reload").uncheck()
    file.write_text("<p>another page</p>")
    page.wait_for_timeout(2500)
    assert page.locator("text=6 of 6 trials done").count() == 1
    page.close()


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
