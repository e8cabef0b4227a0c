import subprocess

import pytest

from resnet_lab.core.wording import counted, large, shell_word, three_digits


@pytest.mark.parametrize(
    ("number", "nouns", "expected"),
    [
        (0, ("image",), "0 images"),
        (1, ("image",), "1 image"),
        (8446, ("image",), "8,446 images"),
        (1, ("class is", "classes are"), "1 class is"),
        (2, ("class is", "classes are"), "2 classes are"),
    ],
)
def test_a_number_with_its_noun(number: int, nouns: tuple[str, ...], expected: str) -> None:
    assert counted(number, *nouns) == expected


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (640, "640"),
        (269_722, "270 k"),
        (999_400, "999 k"),
        (999_900, "1 M"),
        (11_178_564, "11.2 M"),
        (4_089_284_608, "4.09 G"),
    ],
)
def test_large_numbers(number: float, shown: str) -> None:
    assert large(number) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0.0, "0"), (0.01234, "0.0123"), (36.14, "36.1"), (999.4, "999"), (999.6, "1,000"), (1224.3, "1,224")],
)
def test_three_digits_without_an_exponent(number: float, shown: str) -> None:
    assert three_digits(number) == shown


@pytest.mark.parametrize("name", ["runs/plain", "my runs", "it's", "$(touch here)", "`id`", "a;b", "-x"])
def test_a_shell_reads_a_name_as_one_word(name: str) -> None:
    printed = subprocess.run(["sh", "-c", f"printf '%s|' {shell_word(name)}"], capture_output=True, text=True)
    assert printed.stdout == f"{name}|"
    assert shell_word("runs/plain") == "runs/plain"
