import pytest

from resnet_lab.core.wording import counted


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
