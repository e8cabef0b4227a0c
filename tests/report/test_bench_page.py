"""The page of a bench as a parser reads it."""

from typing import Any

import pytest

from resnet_lab.bench.report_contents import contents_of
from resnet_lab.core.errors import RunError
from resnet_lab.report.bench_page import bench_page, opening
from tests.bench.results_by_hand import with_operators
from tests.bench.test_results import content
from tests.report.parsing import Page, require_readable_aloud, require_self_contained

HOSTILE = "<b>x"


def made(**changes: Any) -> dict[str, Any]:
    """A bench of two arms with reasons."""
    found = with_operators(content())
    return {**found, "reasons": {"relu": ["first reason"], "gelu": [HOSTILE]}, **changes}


@pytest.fixture(scope="module")
def html() -> str:
    return bench_page(contents_of(made(), "the bench"))


def test_one_readable_file_that_fetches_nothing(html: str) -> None:
    require_self_contained(html)
    require_readable_aloud(html)
    assert HOSTILE not in html


def test_the_first_sentence_then_the_picture(html: str) -> None:
    page = Page(html)
    threads = "1 thread" if (number := content()["machine"]["threads"]) == 1 else f"{number} threads"
    assert (
        f"Inference of 8 images takes 10 ms with relu on a processor ({threads}). gelu takes 1.50 times as long (95% "
        "interval 1.50 to 1.50)."
    ) in page.prose()
    tags = [(tag, attributes.get("class", "")) for tag, attributes in page.elements]
    lead = tags.index(("p", "lead"))
    assert tags[lead + 1 : lead + 3] == [("figure", "narrow"), ("svg", "plot")]


def test_numbers_reasons_and_remarks(html: str) -> None:
    page = Page(html)
    rows = [" ".join(row) for row in page.rows()]
    assert any(row.startswith("gelu 1 k 2 G 1 4 fused 2 15 IQR") and "1.50× 1.50 to 1.50" in row for row in rows)
    assert "convolution 3x3 3 4.000 4.000 1.0× 20.0" in rows
    assert "relu 2 1.000 0.000 0.0" in rows, "no floor"
    items = [" ".join(text.split()) for text in page.texts["li"]]
    assert {"first reason", HOSTILE, "Warning: a remark"} <= set(items)
    assert "Left out: x: why" in page.prose()
    explained = {text.removeprefix("What is this? ") for text in page.texts["summary"]}
    assert {"time against size", "the time of each stage", "the roofline"} <= explained


def test_without_operators_and_reasons() -> None:
    plain = bench_page(contents_of(content(), "the bench"))
    require_readable_aloud(plain)
    titles = [attributes.get("id") for attributes in Page(plain).all("h2")]
    assert titles == ["arms", "times", "provenance"]


def test_memory_beside_the_time_of_each_mode(html: str) -> None:
    assert html.count(">1.0 MiB</span>") == 2, "of two arms, 2**20 bytes each"
    unknown = made()
    for arm in unknown["arms"]:
        arm["infer"]["memory"] = None
    assert " MiB</span>" not in bench_page(contents_of(unknown, "the bench"))


def test_a_time_of_seconds_has_no_exponent() -> None:
    assert ">1,500 <br>" in bench_page(contents_of(content(factor=150.0), "the bench"))


def test_openings() -> None:
    def told(*verdicts: str) -> str:
        found = content()
        first, other = found["arms"]
        others = []
        for number, verdict in enumerate(verdicts):
            timing = {**other["infer"], "ratio": 1.5 + number, "interval": None, "verdict": verdict}
            others.append({**other, "name": f"arm{number}", "infer": timing})
        text = opening(contents_of({**found, "arms": [first, *others]}, "the bench"))
        return text.partition("). ")[2]

    assert told() == ""
    assert told("undecided") == (
        "arm0 takes 1.50 times as long: these rounds cannot tell whether that is a difference."
    )
    assert told("slower", "slower", "faster", "same", "undecided") == (
        "Of 5 other networks 1 is faster, arm2 most with 3.50 times as long; 2 are slower, arm1 most with 2.50 times "
        "as long; 1 is as fast, to within 2%; of 1 these rounds cannot tell."
    )
    assert told("undecided", "undecided") == (
        "These rounds cannot tell whether any of 2 other networks is faster or slower."
    )
    found = content()
    for arm in found["arms"]:
        del arm["infer"]
    assert opening(contents_of(found, "the bench")) == "relu could not be timed, so there is nothing to compare."
    assert "nothing to compare" in bench_page(contents_of(found, "the bench"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"arms": []}, "b.json: damaged: arms: list should have at least 1 item"),
        (
            {"roof": {"bandwidth": 0, "macs": {}}},
            "b.json: damaged: roof.bandwidth: input should be greater than 0, got 0",
        ),
        ({"rounds": "six"}, "b.json: damaged: rounds: input should be"),
    ],
)
def test_a_damaged_file_is_named(damage: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError) as error:
        contents_of(made(**damage), "b.json: damaged")
    assert str(error.value).startswith(message)
    assert str(error.value).endswith("; restore the file, or measure again")
