import unicodedata
from contextlib import suppress

import pytest

from resnet_lab.data.sources.spelling import class_names, loose_key, plain, repaired

DUERER = "Albrecht_D\u00fcrer"
NFD = unicodedata.normalize("NFD", DUERER)


def mangled(name: str) -> dict[str, str]:
    """The name in UTF-8, both normal forms, read in each encoding that has all of its bytes."""
    found = {}
    for encoding in ("cp437", "cp850", "cp1252", "latin-1"):
        for form in ("NFC", "NFD"):
            with suppress(UnicodeDecodeError):
                found[f"{encoding} {form}"] = unicodedata.normalize(form, name).encode().decode(encoding)
    assert len(found) >= 6
    return found


@pytest.mark.parametrize("name", ["Dürer", "Miró", "Édouard", "Velázquez", "Dvořák", "Søren", "Straße"])
def test_what_an_encoding_mangled_is_restored(name: str) -> None:
    texts = mangled(name)
    assert {how: repaired(text) for how, text in texts.items()} == dict.fromkeys(texts, name)
    assert {repaired(unicodedata.normalize("NFD", text)) for text in texts.values()} == {name}


def test_the_names_that_are_met() -> None:
    """The first as `unzip` writes it; the second the first, mangled again by cp850, as a download site lists it."""
    once = "Albrecht_Du╠êrer"
    twice = "Albrecht_DuÔòá├¬rer"
    assert NFD.encode().decode("cp437") == once
    assert once.encode().decode("cp850") == twice
    assert [repaired(name) for name in (once, twice, NFD, DUERER)] == [DUERER] * 4


@pytest.mark.parametrize(
    "name", ["René", "São", "Рублёв", "日本", "ガ", "Ça", "naïve", "Αθήνα", "Lodz ½", "a/b", "Ünal"]
)
def test_sound_names_stay(name: str) -> None:
    assert repaired(name) == name


def test_names_that_are_not_utf_8() -> None:
    """An umlaut as Windows and as DOS write it, which a file name in Python shows as a lone surrogate."""
    for raw in (b"D\xfcrer", b"D\x81rer"):
        assert repaired(raw.decode("utf-8", "surrogateescape")) == "Dürer"


def test_accents_are_taken_from_latin_letters_alone() -> None:
    assert plain("Ærø Łódź Đà Nẵng naïve Œ") == "AEro Lodz Da Nang naive OE"
    assert plain("か が й ά") == "か が й ά"


def test_all_spellings_have_one_key() -> None:
    spellings = ["Albrecht Dürer", NFD, "Albrecht_Du╠êrer", "albrecht duerer", "ALBRECHT_DURER", "Albrecht-Dürer"]
    assert {loose_key(name) for name in spellings} == {"albrechtdurer"}
    assert loose_key("Joan_Miró") == loose_key("Joan Miro") != loose_key("Joan Mir")


def test_spellings_of_one_name_are_one_class() -> None:
    spellings = (DUERER, NFD, "Albrecht_Du╠êrer", "Albrecht_Duerer", "Albrecht Durer")
    assert class_names(spellings) == dict.fromkeys(spellings, DUERER)


@pytest.mark.parametrize(
    "names",
    [
        ["Cat", "cat"],
        ["red cat", "red_cat"],
        ["Albrecht_Duerer", "Albrecht_Durer"],
        ["blue", "blu"],
        ["Dürer", "durer"],
        ["pêche", "péche", "peche"],
        ["か", "が"],
        ["m2", "m²"],
    ],
    ids=str,
)
def test_names_that_may_well_be_two_classes_stay_so(names: list[str]) -> None:
    """Case, separation and digraphs alone say nothing; `peche` could be either of two."""
    assert class_names(names) == {name: name for name in names}
