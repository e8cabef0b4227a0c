import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.mark.skipif(not (BENCHMARKS / "bytes_moved.py").exists(), reason="the program's benchmarks are not here")
def test_a_block_moves_at_most_65_hundredths_of_the_compiled_one_s_bytes():
    """ResNet-50's first stage with GELU and CBAM, in training: the whole block, and without its convolutions."""
    code = "import json, bytes_moved; print(json.dumps(bytes_moved.counted('layer1', 32)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout.splitlines()[-1])
    compiled, fused, convolutions = row["compiled"], row["fused, compiled"], row["convolutions"]
    assert fused <= 0.65 * compiled < 0.5 * row["eager"]
    assert fused - convolutions <= 0.57 * (compiled - convolutions)
