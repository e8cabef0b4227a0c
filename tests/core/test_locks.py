from pathlib import Path

import pytest
from filelock import FileLock

from resnet_lab.core import locks
from resnet_lab.core.locks import claimed, held


def is_free(path: Path) -> bool:
    """Asked of the library itself."""
    lock = FileLock(path, blocking=False)
    try:
        with lock:
            return True
    except TimeoutError:
        return False


def test_a_claim_is_answered_at_once(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with claimed(path) as is_mine:
        assert is_mine
        assert not is_free(path)
        with claimed(path) as is_mine_too:
            assert not is_mine_too
        assert not is_free(path), "who was refused lets nothing go"
    assert is_free(path)


def test_what_fails_inside_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(RuntimeError), claimed(path):
        raise RuntimeError
    with pytest.raises(RuntimeError), held(path):
        raise RuntimeError
    assert is_free(path)


def test_a_lock_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "POLL", 0)
    path, notes = tmp_path / "lock", []
    other = FileLock(path)
    other.acquire()

    def while_waiting() -> None:
        notes.append("waiting")
        if len(notes) == 4:
            other.release()

    with held(path, lambda: notes.append("held"), while_waiting):
        assert notes == ["held", "waiting", "waiting", "waiting"]
        assert not is_free(path)
    assert is_free(path)


def test_the_wait_ends_with_what_is_raised_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "lock"

    def stop() -> None:
        raise KeyboardInterrupt

    with FileLock(path), pytest.raises(KeyboardInterrupt), held(path, while_waiting=stop):
        pytest.fail("the other holds it")
