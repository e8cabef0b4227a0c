import subprocess

import pytest

from resnet_lab.core.wording import counted, shell_word


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


@pytest.mark.parametrize("name", ["runs/plain", "my runs", "it's", "$(touch here)", "`id`", "a;b", "-x"])
def test_a_shell_reads_a_name_as_one_word(name: str) -> None:
    printed = subprocess.run(["sh", "-c", f"printf '%s|' {shell_word(name)}"], capture_output=True, text=True)
    assert printed.stdout == f"{name}|"
    assert shell_word("runs/plain") == "runs/plain"
