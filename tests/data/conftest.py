from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test of the data room begins with a cache of its own."""
    monkeypatch.setenv("RESNET_LAB_CACHE", str(tmp_path / "cache"))
