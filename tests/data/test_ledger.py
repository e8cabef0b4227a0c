"""Records come back as they were written, or not at all; tests/data/test_cache.py damages whole indices."""

import sqlite3
from pathlib import Path

import pytest

from resnet_lab.data.decoding import ImageInfo
from resnet_lab.data.ledger import Ledger, LedgerRow, is_damage

FULL = ImageInfo("ab" * 32, "", 30, 20, "CMYK", ("CMYK", "rotated"), bytes(range(256)), (1, 2, 3), (4, 5, 2**53))
BAD = ImageInfo("cd" * 32, "damaged (\udcff\n)")


def records_of(ledger: Ledger) -> tuple[dict[str, LedgerRow], set[str]]:
    """Records by digest, and the digests of those that are damaged."""
    found = dict(ledger.records())
    sound = {digest: record for digest, record in found.items() if record is not None}
    return sound, found.keys() - sound.keys()


def test_records_come_back(tmp_path: Path) -> None:
    records = {FULL.digest: LedgerRow(7, 0xFFFFFFFF, FULL), BAD.digest: LedgerRow(None, None, BAD)}
    files = {b"a/\xff.jpg": (b"12 34", FULL.digest), b"b\n.jpg": (b"", BAD.digest)}
    with Ledger(tmp_path, create=True) as ledger:
        ledger.add(records.values(), files)
        ledger.set_facts(source="\udcff", form="square")
        ledger.set_facts(form="round")
    with Ledger(tmp_path) as ledger:
        assert records_of(ledger) == (records, set())
        assert {path: ledger.file(path) for path in files} == files
        assert ledger.about() == {"source": "\udcff", "form": "round"}
        assert len(ledger) == 2
        assert list(ledger.signatures([BAD.digest, FULL.digest])) == [b"", bytes(range(256))]
        with pytest.raises(KeyError):
            list(ledger.signatures(["ef" * 32]))
        ledger.forget([FULL.digest])
        assert records_of(ledger) == ({BAD.digest: LedgerRow(None, None, BAD)}, set())


@pytest.mark.parametrize(
    "change", ["row = 8", "checksum = 1", "told = replace(told, '30', '31')", "told = x'ff'", "record_checksum = NULL"]
)
def test_changed_records_are_named(tmp_path: Path, change: str) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        ledger.add([LedgerRow(7, 9, FULL), LedgerRow(None, None, BAD)], {})
    index = sqlite3.connect(tmp_path / "index.sqlite")
    with index:
        index.execute(f"UPDATE images SET {change} WHERE row = 7")
    index.close()
    with Ledger(tmp_path) as ledger:
        assert records_of(ledger) == ({BAD.digest: LedgerRow(None, None, BAD)}, {FULL.digest})


def test_all_is_written_or_nothing(tmp_path: Path) -> None:
    def broken() -> None:
        yield LedgerRow(7, 9, FULL)
        raise KeyboardInterrupt

    with Ledger(tmp_path, create=True) as ledger:
        with pytest.raises(KeyboardInterrupt):
            ledger.add(broken(), {b"a": (b"", "")})
        assert (len(ledger), ledger.file(b"a")) == (0, None)


def test_an_index_that_is_not_there_is_not_made_by_looking(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError) as failure:
        Ledger(tmp_path)
    assert not is_damage(failure.value, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("word", [b"about", b"CREATE", b"PRIMARY"])
def test_tables_whose_very_names_are_damaged(tmp_path: Path, word: bytes) -> None:
    """Python's sqlite3 then fails to decode the message that says so."""
    Ledger(tmp_path, create=True).__exit__()
    path = tmp_path / "index.sqlite"
    path.write_bytes(path.read_bytes().replace(word, word[:-1] + b"\xff"))
    with pytest.raises(sqlite3.DatabaseError, match=r"the quick check failed|malformed") as failure:
        Ledger(tmp_path)
    assert is_damage(failure.value, tmp_path)


def test_foreign_tables(tmp_path: Path) -> None:
    index = sqlite3.connect(tmp_path / "index.sqlite")
    index.execute("CREATE TABLE holidays (day TEXT)")
    index.close()
    with pytest.raises(sqlite3.DatabaseError, match="the quick check failed"):
        Ledger(tmp_path)


def test_which_errors_are_damage(tmp_path: Path) -> None:
    def error(code: int) -> sqlite3.OperationalError:
        made = sqlite3.OperationalError()
        made.sqlite_errorcode = code
        return made

    assert not is_damage(error(sqlite3.SQLITE_FULL), tmp_path)
    assert not is_damage(error(sqlite3.SQLITE_IOERR_READ), tmp_path)
    assert not is_damage(sqlite3.ProgrammingError("Cannot operate on a closed database."), tmp_path)
    assert not is_damage(error(sqlite3.SQLITE_READONLY), tmp_path), "there is no file that could be written"
    (tmp_path / "index.sqlite").touch()
    assert is_damage(error(sqlite3.SQLITE_READONLY), tmp_path), "sqlite took a damaged byte for a prohibition"
    assert is_damage(error(sqlite3.SQLITE_CORRUPT), tmp_path)
