"""Tables within bounds: read, or refused with one sentence that names the line."""

import ast
from pathlib import Path

import pytest

import resnet_lab
from resnet_lab.core.errors import RunError
from resnet_lab.core.tables import csv_table, read_text, rows_of


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a,b\n1,2\n3\n", "{path}: line 3: 1 values for 2 columns; restore the file"),
        ("a,b\n1,2,3\n", "{path}: line 2: 3 values for 2 columns; restore the file"),
        ("a,c\n", "{path} has no column 'b'"),
        ("", "{path} has no column 'a'"),
        ("a,b,a\n", "{path} has two columns 'a'; remove one"),
        (
            "a,b\n" + "x" * 200_000,
            "{path}: line 2: not CSV: field larger than field limit (131072); restore the file",
        ),
        ("a,b\n" + "1,2\n" * 100, "{path}: larger than 300 bytes, the limit for such a file"),
    ],
)
def test_tables_that_are_damaged(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(RunError) as failure:
        list(rows_of(path, ("a", "b"), RunError, most=300 if "larger than 3" in problem else 10**6))
    assert str(failure.value) == problem.format(path=path)


def test_a_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes('\ufeffa,b,c\n1,"two\nlines",3\n\n4,\xff,6\n'.encode("latin-1", "ignore"))
    path.write_bytes(b"\xef\xbb\xbfa,b,c\n" + b'1,"two\nlines",3\n\n4,\xff,6\n')
    assert list(rows_of(path, ("a", "c"), RunError)) == [
        (3, {"a": "1", "b": "two\nlines", "c": "3"}), (5, {"a": "4", "b": "\udcff", "c": "6"}),
    ]  # fmt: skip


def test_other_dialects() -> None:
    lines = ["a;b\n", '1; "x;y"\n', "\n", "2;\n"]
    columns, rows = csv_table(lines, Path("t"), RunError, "", delimiter=";", skipinitialspace=True, strict=True)
    assert columns == ["a", "b"]
    assert list(rows) == [(2, ["1", "x;y"]), (4, ["2", ""])]


def test_text_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("\ufeffDürer".encode())
    assert read_text(path, 100, RunError) == "Dürer"
    path.write_bytes("Dürer".encode("latin-1"))
    with pytest.raises(RunError) as failure:
        read_text(path, 100, RunError)
    assert str(failure.value) == f"{path}: not UTF-8 at byte 1; save it as CSV in UTF-8"


def test_no_other_module_reads_csv() -> None:
    package = Path(resnet_lab.__file__).parent
    reading = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in ("reader", "DictReader"))
        or (isinstance(node, ast.ImportFrom) and node.module == "csv" and node.names[0].name != "writer")
    }
    assert reading == {"core/tables.py"}
