from pathlib import Path

import pytest

from resnet_lab.core.errors import ConfigError, DataError
from resnet_lab.data.class_names import match_classes, read_class_map, require_known


@pytest.mark.parametrize(
    ("given", "wanted", "renamed", "numbers", "unknown", "missing"),
    [
        (("b", "a"), ("a", "b"), {}, (1, 0), (), ()),
        (("Portrait", "STILL LIFE"), ("portrait", "still_life"), {}, (0, 1), (), ()),
        (("a",), ("a", "b"), {}, (0,), (), ("b",)),
        (("a", "c"), ("a", "b"), {}, (0, -1), ("c",), ("b",)),
        (("cat", "Cat"), ("cat", "dog"), {}, (0, -1), ("Cat",), ("dog",)),  # its own class in the source
        (("Cat", "CAT"), ("cat", "dog"), {}, (-1, -1), ("Cat", "CAT"), ("cat", "dog")),
        (("cat",), ("Cat", "CAT"), {}, (-1,), ("cat",), ("Cat", "CAT")),
        (("Naturmort", "x"), ("still_life", "x"), {"Naturmort": "still_life"}, (0, 1), (), ()),
        (("still_life", "x"), ("Naturmort", "x"), {"Naturmort": "still_life"}, (0, 1), (), ()),
        (("kitten", "cat"), ("cat", "dog"), {"kitten": "cat"}, (0, 0), (), ("dog",)),
        (("a", "junk"), ("a", "b"), {"junk": ""}, (0, -1), (), ("b",)),
        (("1", "10", "2"), ("1", "2", "10"), {}, (0, 2, 1), (), ()),
    ],
)
def test_names(
    given: tuple[str, ...],
    wanted: tuple[str, ...],
    renamed: dict[str, str],
    numbers: tuple[int, ...],
    unknown: tuple[str, ...],
    missing: tuple[str, ...],
) -> None:
    found = match_classes(given, wanted, renamed)
    assert (found.numbers, found.unknown, found.missing) == (numbers, unknown, missing)


def test_what_is_not_the_same_name_is_remarked() -> None:
    found = match_classes(("Portrait", "junk", "b"), ("b", "portrait"), {"junk": ""})
    assert found.remarks == ("'Portrait' is taken for 'portrait'", "images of 'junk' are left out")


def test_a_class_map_that_makes_two_classes_one() -> None:
    with pytest.raises(DataError) as failure:
        match_classes(("a",), ("a", "b"), {"a": "b"})
    assert str(failure.value) == "the class map makes 'a' and 'b' one class of the network"


@pytest.mark.parametrize(
    "renamed", [{"cat": "Katze"}, {"Katze": "cat"}, {"dog": ""}, {"cat": "feline", "Katze": "feline"}, {}]
)
def test_a_class_map_of_classes_that_there_are(renamed: dict[str, str]) -> None:
    require_known(renamed, {"cat", "dog", "Katze"})


@pytest.mark.parametrize(
    ("old", "new", "wrong", "hint"),
    [
        ("cart", "Katze", "cart", "did you mean 'cat'?"),
        ("cat", "Kazte", "Kazte", "did you mean 'Katze' or 'cat'?"),
        ("bird", "", "bird", "known: Katze, cat, dog"),
    ],
)
def test_a_class_map_of_no_class_is_refused(old: str, new: str, wrong: str, hint: str) -> None:
    with pytest.raises(ConfigError) as failure:
        require_known({old: new}, {"cat", "dog", "Katze"})
    assert str(failure.value) == (
        f"--class-map '{old}={new}': neither the images nor the network have a class {wrong!r}; {hint}"
    )


def test_maps_from_pairs_and_files(tmp_path: Path) -> None:
    file = tmp_path / "map.csv"
    file.write_text('old,new\nNaturmort,still_life\n"a=b","c, d"\n', encoding="utf-8-sig")
    assert read_class_map(["x=y", str(file), "junk="]) == {
        "x": "y", "Naturmort": "still_life", "a=b": "c, d", "junk": "",
    }  # fmt: skip
    for texts, message in {
        (
            "absent.csv",
        ): "--class-map absent.csv: neither a file nor a pair; write old=new, or old= to leave a class out",
        ("=a",): "--class-map =a: neither a file nor a pair; write old=new, or old= to leave a class out",
        ("a=b", "a=c"): "--class-map: 'a' is both 'b' and 'c'; leave one of them",
    }.items():
        with pytest.raises(DataError) as failure:
            read_class_map(texts)
        assert str(failure.value) == message
    file.write_text("a,b,c\n")
    with pytest.raises(DataError) as failure:
        read_class_map([str(file)])
    assert str(failure.value) == f"{file}: line 1: 3 values; a class map is CSV with the columns old and new"
    file.write_text('a,b\n"c,d\n')
    with pytest.raises(DataError) as failure:
        read_class_map([str(file)])
    assert str(failure.value) == (
        f"{file}: line 2: not CSV: unexpected end of data; a class map is CSV with the columns old and new"
    )
    file.write_bytes(b"a,D\xfcrer\n")
    with pytest.raises(DataError) as failure:
        read_class_map([str(file)])
    assert str(failure.value) == f"{file}: not UTF-8 at byte 3; save it as CSV in UTF-8"
