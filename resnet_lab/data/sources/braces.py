"""Braces in the names of shards, counted before they are expanded."""

import re
from functools import lru_cache
from string import ascii_lowercase, ascii_uppercase

from resnet_lab.core.errors import DataError
from resnet_lab.core.records import repr_of

MAX_SHARDS = 100_000
MAX_LENGTH = 4096
"""Longest path or URL with braces."""

MAX_DEPTH = 16
LETTERS = ascii_uppercase + ascii_lowercase

_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.-?(\d+))?|([A-Za-z])\.\.([A-Za-z])(?:\.\.-?(\d+))?")


@lru_cache(maxsize=8)
def expanded(pattern: str) -> tuple[str, ...]:
    """Every shard of a pattern, whose parts are separated by `::`.

    Raises:
        DataError: webdataset is not installed, braces that do not match, more shards than `MAX_SHARDS`, or a variable,
            which would put what the environment holds into a name that a file may have made up.
    """
    where = f"wds:{pattern}" if len(pattern) < 200 else repr_of(f"wds:{pattern}")
    number = 0
    for part in pattern.split("::"):
        if "${" in part:
            raise DataError(f"{where}: variables in the names of shards are not read; write the value itself")
        if len(part) > MAX_LENGTH:
            raise DataError(f"{where}: the name of shards has {len(part):,} letters, and at most {MAX_LENGTH:,}")
        number += _count(part, where)
    if number > MAX_SHARDS:
        raise DataError(f"{where}: {number:,} shards, and a set has at most {MAX_SHARDS:,}; write fewer in braces")
    try:
        from webdataset.shardlists import expand_urls
    except ImportError:
        raise DataError(
            'shards are read with the library webdataset, which is not installed: pip install "resnet-lab[webdataset]"'
        ) from None
    return tuple(expand_urls(pattern))


def _count(pattern: str, where: str) -> int:
    """The names that a pattern stands for, which is not expanded."""
    starts: list[int] = []
    before: list[int] = []  # of each open brace, the alternatives that a comma has ended
    here = [1]  # of each open brace, the names of the alternative that is being read
    position = 0
    while position < len(pattern):
        letter = pattern[position]
        if letter == "\\":
            position += 1
        elif letter == "{":
            starts.append(position + 1)
            before.append(0)
            here.append(1)
            if len(starts) > MAX_DEPTH:
                raise DataError(f"{where}: braces within braces, deeper than {MAX_DEPTH}")
        elif letter == "," and starts:
            before[-1] += here[-1]
            here[-1] = 1
        elif letter == "}":
            if not starts:
                break
            found = _RANGE.fullmatch(pattern, starts.pop(), position)
            alternatives = before.pop() + here.pop()
            here[-1] *= alternatives if found is None else _length(found)
        position += 1
    if starts or position < len(pattern):
        raise DataError(f"{where}: the braces do not match; close each that is open")
    return here[0]


def _length(found: re.Match[str]) -> int:
    """Length of a range of numbers or letters."""
    first, last, step = found.group(1, 2, 3) if found[1] else found.group(4, 5, 6)
    ends = (int(first), int(last)) if found[1] else (LETTERS.index(first), LETTERS.index(last))
    return abs(ends[1] - ends[0]) // (int(step or 1) or 1) + 1
