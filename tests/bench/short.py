"""Measurements so short that they mean nothing, for tests of all else: with `-p tests.bench.short`, for all of them."""

from functools import partial

import pytest

from resnet_lab.bench import interleaved_timing, measuring, roofline


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


def shorten(patch: pytest.MonkeyPatch) -> None:
    """Shorten benches until the patches are undone; a study's bench takes six rounds."""
    patch.setattr(interleaved_timing, "SAMPLE", 0.001)
    patch.setattr(interleaved_timing, "WARM_SECONDS", 0.01)
    patch.setattr(interleaved_timing, "MOST_WARM", 3)
    patch.setattr(roofline, "COPIED", 2**22)
    patch.setattr(roofline, "SIDES", {"cpu": (128,), "gpu": (128,)})
    patch.setattr(roofline, "SECONDS", 0.01)
    patch.setattr("resnet_lab.study.costs.bench", partial(measuring.bench, rounds=6))
