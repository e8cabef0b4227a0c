from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import QUICK


def test_bad_input(cli: Callable, paintings: Path, tmp_path: Path) -> None:
    assert cli("eval", "absent") == (
        2, "", "resnet-lab: absent is not a run folder: it holds no run.json; name one that `resnet-lab train` made\n",
    )  # fmt: skip
    cli("train", "--data", paintings, *QUICK, "--epochs", 1, "--out", "run")
    (paintings / "red").rename(paintings / "green")
    code, out, err = cli("eval", "run", "--data", paintings)
    assert (code, out) == (2, "")
    assert err == (
        f"resnet-lab: {paintings}: its classes are not the network's: missing ['red'], unknown ['green']; "
        "use a folder with the same class names\n"
    )
    Path("run/best.safetensors").unlink()
    code, _, err = cli("eval", "run")
    assert code == 2
    assert err.startswith("resnet-lab: run/best.safetensors: cannot read the weights file: No such file")
