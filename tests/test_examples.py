import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str) -> str:
    return subprocess.run([sys.executable, EXAMPLES / name], check=True, capture_output=True, text=True).stdout


def test_build_and_compare() -> None:
    """ResNet-18 has 122 tensors; CBAM without norm adds three to each of four blocks, 2 C^2 / 16 + 98 weights."""
    assert run("build_and_compare.py").splitlines() == [
        "CBAM adds 12 tensors; the other 122 start equal: True",
        "plain: 11,202,162 parameters, 1,813,586,944 MACs",
        f"CBAM in stages 3 and 4: {11_202_162 + 2 * (2 * 256**2 // 16 + 98) + 2 * (2 * 512**2 // 16 + 98):,} "
        f"parameters, {1_813_586_944 + sum(2 * (4 * c**2 // 16 + 98 * s**2) for c, s in ((256, 14), (512, 7))):,} MACs",
    ]
