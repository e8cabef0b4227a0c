import os
import subprocess
import sys
from pathlib import Path


def test_kernels_in_the_interpreter():
    """`interpreted.py`: the variable has to be set before Triton is imported."""
    tests = Path(__file__).with_name("interpreted.py")
    options = ["-q", "-p", "no:cacheprovider", "-W", "error", "--import-mode=importlib", "-c", os.devnull]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", str(tests.parent), str(tests)],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTEST_ADDOPTS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
