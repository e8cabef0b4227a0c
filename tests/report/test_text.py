import pytest

from resnet_lab.report.text import breakable, counted, printable


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


def test_numbers_with_their_noun() -> None:
    assert counted(1, "image") == "1 image"
    assert counted(8446, "image") == "8,446 images"
    assert counted(0, "copy", "copies") == "0 copies"


def test_names_break_after_the_marks_that_part_words_and_stay_text() -> None:
    assert breakable("a/Jan_van-Eyck.jpg") == "a/<wbr>Jan_<wbr>van-<wbr>Eyck.jpg"
    assert breakable("<b>&\n") == r"&lt;b&gt;&amp;\n"
