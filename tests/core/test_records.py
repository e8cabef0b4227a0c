"""Records within bounds: what a file holds, it is read or refused in a moment, with one sentence."""

import ast
import json
from pathlib import Path
from time import process_time
from typing import Annotated, Any

import pytest
from pydantic import Field, TypeAdapter

import resnet_lab
from resnet_lab.core.errors import RunError
from resnet_lab.core.records import (
    DEPTH,
    ENTRIES,
    VALUES,
    Entries,
    Finite,
    Malformed,
    OpenRecord,
    Record,
    parse_json,
    parse_toml,
    read_json,
    validated,
)

SECONDS = 5


@pytest.mark.parametrize(
    "content",
    [
        {"a": [1, -2.5, "b", None, True], "ü\udcff": {}},
        [[[]]],
        "a \" quote, \\ and [brackets]",
        0,
        -(2**63),
        1e-300,
    ],
)  # fmt: skip
def test_what_the_library_writes_is_read(content: Any) -> None:
    for text in (json.dumps(content), json.dumps(content, indent=1)):
        assert parse_json(text) == content
        assert parse_json(text.encode()) == content


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"[" * 10**7, f"nested deeper than {DEPTH} lists and tables"),
        (b'{"a":' * 1000, f"nested deeper than {DEPTH} lists and tables"),
        (b"[" + b"0," * VALUES + b"0]", f"more than {VALUES:,} values"),
        (b"1" * 10**6, "a whole number of 1,000,000 digits"),
        (b"-1e999", "the number -1e999 is too large"),
        (b"1e" + b"9" * 10**6, "the number 1e999999999999999999... is too large"),
        (b"[NaN]", "NaN is not a number"),
        (b"-Infinity", "-Infinity is not a number"),
        (b'{"a": {"b": 1, "c": 2, "b": 3}}', "the key 'b' occurs twice in one table"),
        (b"{" + b'"a": 1,' * 10**5 + b'"a": 1}', "the key 'a' occurs twice in one table"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        (b'"' + b'\\"' * 10**6, "not JSON: Unterminated string starting at: line 1 column 1 (char 0)"),
        (b"{", "not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b"", "not JSON: Expecting value: line 1 column 1 (char 0)"),
    ],
    ids=lambda value: value[:20].decode(errors="replace") if isinstance(value, bytes) else "",
)
def test_what_is_beyond_a_bound_is_refused_at_once(text: bytes, problem: str) -> None:
    start = process_time()
    with pytest.raises(Malformed) as failure:
        parse_json(text)
    assert str(failure.value) == problem
    assert process_time() - start < SECONDS


def test_brackets_in_texts_are_none() -> None:
    assert parse_json(json.dumps(["[" * 1000, '\\"[' * 1000])) == ["[" * 1000, '\\"[' * 1000]
    assert len(parse_json(json.dumps({"a": "," * (VALUES + 1)}))["a"]) == VALUES + 1


def test_non_finite_numbers_are_refused() -> None:
    assert str(parse_json("[NaN, -Infinity]", non_finite=True)) == "[nan, -inf]"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"a = " + b"[" * 10**5, "nested too deep"),
        (b"a = " + b"1" * 10**5, "Exceeds the limit"),
        (b"\xff", "'utf-8' codec can't decode byte 0xff"),
        (b"a", "Expected '=' after a key"),
    ],
)
def test_toml_that_is_none(text: bytes, problem: str) -> None:
    with pytest.raises(Malformed, match=f"^not TOML: {problem}"):
        parse_toml(text)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content, most, problem in (
        (None, 10, "cannot be read: No such file or directory"),
        (b"[1, 2, 3, 4]", 10, "larger than 10 bytes, the limit for such a file; write it again"),
        (b"[1", 10, "damaged: not JSON: Expecting ',' delimiter: line 1 column 3 (char 2); write it again"),
    ):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(RunError) as failure:
            read_json(path, RunError, most=most, remedy="write it again")
        assert str(failure.value) == f"{path}: {problem}"
    with pytest.raises(RunError, match="zero: larger than 10 bytes"):
        read_json(Path("/dev/zero"), RunError, most=10)


class Inner(Record):
    width: int
    names: Entries[str] | None = None


class Outer(OpenRecord):
    inner: list[Inner] = Field(default_factory=list)
    size: Finite = 1.0


def test_a_sentence_has_place_and_cause() -> None:
    for data, problem in (
        ({"inner": [{"width": 1}, {"width": "wide"}]}, "inner.1.width: input should be a valid integer, "
         "unable to parse string as an integer, got 'wide'"),
        ({"size": float("nan")}, "size: input should be a finite number, got nan"),
        ({"inner": [{"width": 1, "\x1b[31m": 2}]}, "inner.0.\\x1b[31m: extra inputs are not permitted, got 2 (unknown"
         " key; check its spelling, or upgrade resnet-lab)"),
        ({"inner": [{}]}, "inner.0.width: field required"),
        (7, "input should be a table, got 7"),
    ):  # fmt: skip
        with pytest.raises(RunError) as failure:
            validated(Outer, data, "here", RunError, "mend it")
        assert str(failure.value) == f"here: {problem}; mend it"
    assert validated(Outer, {"of a later version": 1}, "here", RunError).size == 1


@pytest.mark.parametrize(
    ("kind", "given", "problem"),
    [
        (tuple[str, ...], "flip", "input should be a list, got 'flip'"),
        (list[int], 3, "input should be a list, got 3"),
        (set[int], {"a": 1}, "input should be a list, got {'a': 1}"),
        (frozenset[str], 3, "input should be a list, got 3"),
        (dict[str, int], [1], "input should be a table, got [1]"),
        (Inner, 3, "input should be a table, got 3"),
        (Path, 3, "input should be a path, written as text, got 3"),
        (None, 3, "input should be null, got 3"),
        (Annotated[tuple[int, ...], Field(min_length=1)], [], "list should have at least 1 item, got []"),
        (Annotated[list[int], Field(max_length=2)], [1, 2, 3], "list should have at most 2 items, got [1, 2, 3]"),
        (Annotated[dict[str, int], Field(min_length=1)], {}, "table should have at least 1 item, got {}"),
    ],
)
def test_types_are_named_as_json_and_toml_have_them(kind: Any, given: object, problem: str) -> None:
    with pytest.raises(RunError) as failure:
        validated(TypeAdapter(kind), given, "here", RunError)
    assert str(failure.value) == f"here: {problem}"


def test_a_sentence_stays_short() -> None:
    long = "x" * 10**6
    start = process_time()
    for data in (
        {"inner": [{"width": long}]},
        {"inner": [{"width": [long] * 1000}]},
        {"inner": [{"width": 1, long: 2}]},
        {"inner": [{"width": 1, "names": dict.fromkeys(map(str, range(10**6)), 1)}]},
    ):
        with pytest.raises(RunError) as failure:
            validated(Outer, data, "here", RunError)
        assert len(str(failure.value)) < 1000
    assert str(failure.value) == f"here: inner.0.names: input should have at most {ENTRIES:,} entries"
    assert process_time() - start < SECONDS


OWN_MESSAGES = {"device/processes.py", "bench/process_memory.py", "data/sources/permission.py"}
"""Messages between processes of one command, which nobody else writes."""


def test_no_other_module_reads_json_or_toml() -> None:
    package = Path(resnet_lab.__file__).parent
    reading = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and (node.value.id, node.attr) in {(m, f) for m in ("json", "tomllib") for f in ("load", "loads")}
            ) or (isinstance(node, ast.Attribute) and node.attr == "model_validate_json"):
                reading.add(str(path.relative_to(package)))
    assert (
        reading == {"core/records.py", "study/search.py"} | OWN_MESSAGES
    )  # a search compares with what it would write
