"""The kit as tests of a plugin's own suite, run by pytest in a process of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

OTHERS = ("cost", "onnx", "compile", "export", "network", "spec")
SUITE = f"""
from torch import nn
from resnet_lab.testing import conformance

class Doubled(nn.Module):
    def forward(self, x):
        return x.double() * 2

skip = dict.fromkeys({OTHERS}, "not in a hurry")
test_conforms = conformance("activation", nn.Softsign, skip=skip)
test_breaks = conformance("activation", Doubled, skip=skip)
"""


@pytest.mark.slow
def test_a_test_for_each_check(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(SUITE)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rfs", "-W", "error", "-p", "no:cacheprovider", "test_mine.py"],
        cwd=tmp_path,
        env={**os.environ, "RESNET_LAB_PLUGINS": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert re.search(r"1 failed, \d+ passed, \d+ skipped", done.stdout), done.stdout + done.stderr
    assert (
        "dtype: failed: the output is float64 [float32, input 2x64x8x8]; hint: where float32 is needed inside, end "
        "with .to(x.dtype)"
    ) in done.stdout
    assert "not in a hurry" in done.stdout
