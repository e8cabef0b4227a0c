"""Locks between processes: a file that one of them holds until it lets go or ends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

from filelock import FileLock, Timeout

POLL = 0.2
"""Seconds between two looks at a lock that another process holds."""


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether this process holds the lock while the context lasts; another one is not waited for.

    Raises:
        OSError: the file cannot be made or locked.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def held(
    path: Path, say_waiting: Callable[[], None] = lambda: None, while_waiting: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """The lock, waited for where another process holds it.

    Args:
        say_waiting: called once, where there is a wait.
        while_waiting: called now and then meanwhile; what it raises ends the wait.

    Raises:
        OSError: the file cannot be made or locked.
    """
    waiting = False
    while True:
        with claimed(path) as is_mine:
            if is_mine:
                yield
                return
        if not waiting:
            say_waiting()
            waiting = True
        while_waiting()
        sleep(POLL)
