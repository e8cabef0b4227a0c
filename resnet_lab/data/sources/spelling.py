"""Spellings of one name: as encodings mangle it, and as people write it where a letter is missing on the keyboard.

A name that was written in UTF-8 and read in another encoding (`Du╠êrer`, `DÃ¼rer`) is restored by going the same way
back: a text that survives strict encoding and strict UTF-8 decoding was nearly certainly made so.
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection

READ_AS = ("cp1252", "latin-1", "cp437", "cp850")
"""Encodings that UTF-8 is taken for. The last two write its first bytes as lines and boxes, which the others lack."""

TIMES_MANGLED = 3

NOT_DECOMPOSED = str.maketrans(
    {"æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ı": "i"}
)
GERMAN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"})


def repaired(name: str) -> str:
    """The name in normal form C, with its letters where an encoding mangled them, even several times."""
    name = original = unicodedata.normalize("NFC", _decoded(name))
    for _ in range(TIMES_MANGLED):
        name = next((back for encoding in READ_AS if (back := _read_back(name, encoding))), name)
    return name if all(c.isascii() or unicodedata.category(c)[0] in "LM" for c in name) else original


def plain(name: str) -> str:
    """The name without accents on Latin letters; in other scripts a mark may make another letter."""
    decomposed = unicodedata.normalize("NFD", name.translate(NOT_DECOMPOSED))
    return unicodedata.normalize("NFC", re.sub("(?<=[A-Za-z])[\u0300-\u036f]+", "", decomposed))


def loose_key(name: str) -> str:
    """The same for all spellings of a name: mangled or whole, with umlauts or without, in any case and separation."""
    letters = re.sub(r"[\W_]", "", plain(repaired(name)).casefold())
    return re.sub("([aou])e", r"\1", letters)


def class_names(names: Collection[str]) -> dict[str, str]:
    """The class that each name stands for.

    Names are one class where they are the same once repaired, or where one is the other written without accents or
    with German digraphs (`Dürer`, `Durer`, `Duerer`); names that differ in case or separation alone are not.
    """
    whole = {name: repaired(name) for name in names}
    accented = {name for name in whole.values() if not name.isascii()}
    simpler = {name: {_separated(plain(name)), _separated(plain(name.translate(GERMAN)))} for name in accented}
    claims = Counter(spelling for spellings in simpler.values() for spelling in spellings)
    fuller = {spelling: name for name in accented for spelling in simpler[name] if claims[spelling] == 1}
    return {name: fuller.get(_separated(text), text) for name, text in whole.items()}


def _decoded(name: str) -> str:
    """A file name that is not UTF-8, in the encoding that it most likely is in."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raw = os.fsencode(name)
        try:
            return raw.decode("cp1252")
        except UnicodeDecodeError:
            return raw.decode("cp437")
    return name


def _read_back(name: str, encoding: str) -> str:
    """UTF-8 that was read in `encoding`, as it was written; the empty text where it cannot have been."""
    if name.isascii():
        return ""
    try:
        return unicodedata.normalize("NFC", name.encode(encoding).decode())
    except UnicodeError:
        return ""


def _separated(name: str) -> str:
    return re.sub(r"[\s_]+", " ", name)
