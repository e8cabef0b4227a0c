import pytest

from resnet_lab.core.errors import printable
from resnet_lab.evaluation.metrics.headline import Interval
from resnet_lab.report.text import (
    breakable,
    duration,
    figure_name,
    interval_notes,
    joined,
    shortened,
    signed,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Albrecht_Dürer/a b.jpg", "Albrecht_Dürer/a b.jpg"),
        ("line\nend\ttab\x1b[31m", r"line\nend\ttab\x1b[31m"),
        (b"caf\xe9.jpg".decode("utf-8", "surrogateescape"), r"caf\udce9.jpg"),
        ("abc\u202egpj.exe", r"abc\u202egpj.exe"),
    ],
)
def test_what_would_not_print_is_written_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).encode()


def test_names_break_after_the_marks_that_part_words_and_stay_text() -> None:
    assert breakable("a/Jan_van-Eyck.jpg") == "a/<wbr>Jan_<wbr>van-<wbr>Eyck.jpg"
    assert breakable("<b>&\n") == r"&lt;b&gt;&amp;\n"
    assert breakable("a b " + "c" * 30) == f"a b {'c' * 24}<wbr>{'c' * 6}"
    assert breakable("&" * 25) == f"{'&amp;' * 24}<wbr>&amp;"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (4.03, "4 s"),
        (9.7, "9.7 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (7200, "2 h"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_differences_have_signs_and_nothing_has_none() -> None:
    assert [signed(value) for value in (0.1234, -0.1236, 0.0004, -0.0004)] == ["+0.123", "−0.124", "0.000", "0.000"]


def test_figures_and_lists_as_people_write_them() -> None:
    names = {"macro_f1": "macro F1", "top5_accuracy": "top-5 accuracy", "weighted_recall": "weighted recall"}
    names |= {"log_loss": "log loss (nats)", "brier": "Brier score", "mean_p_true": "mean p(true class)"}
    assert [figure_name(name) for name in names] == list(names.values())
    assert [joined(list(words)) for words in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]
    assert shortened("a" * 10, 10) == "a" * 10
    assert shortened("a" * 11, 10) == "a" * 9 + "…"


def test_intervals_that_are_no_bootstrap_s_are_named_with_their_method() -> None:
    figures = {
        "accuracy": Interval(0.5, (0.4, 0.6)),
        "macro_accuracy": Interval(0.5, (0.3, 0.7), "Wilson over classes"),
        "macro_recall": Interval(0.5, (0.3, 0.7), "Wilson over classes"),
        "macro_f1": Interval(0.5, None, "none: a class has fewer than 5 images"),
    }
    assert interval_notes(figures) == [
        "Interval for macro accuracy and macro recall: Wilson over classes.",
        "No interval for macro F1: a class has fewer than 5 images.",
    ]
