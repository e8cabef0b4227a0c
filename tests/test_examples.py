import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from resnet_lab.cli import main
from tests.bench.short import shorten

EXAMPLES = Path(__file__).parent.parent / "examples"


def resnet_lab(*arguments: str) -> None:
    """Run the program in this process; it must succeed."""
    with pytest.raises(SystemExit) as end:
        main([*arguments])
    assert not end.value.code


def run(name: str, *arguments: str | Path) -> str:
    command = [sys.executable, EXAMPLES / name, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_build_and_compare() -> None:
    """ResNet-18 has 122 tensors; CBAM without norm adds three to each of four blocks, 2 C^2 / 16 + 98 weights."""
    assert run("build_and_compare.py").splitlines() == [
        "CBAM adds 12 tensors; the other 122 start equal: True",
        "plain: 11,202,162 parameters, 1,813,586,944 MACs",
        f"CBAM in stages 3 and 4: {11_202_162 + 2 * (2 * 256**2 // 16 + 98) + 2 * (2 * 512**2 // 16 + 98):,} "
        f"parameters, {1_813_586_944 + sum(2 * (4 * c**2 // 16 + 98 * s**2) for c, s in ((256, 14), (512, 7))):,} MACs",
    ]


@pytest.mark.slow
def test_train_explain_and_read(tmp_path: Path) -> None:
    """One after the other, since each needs what the one before it made."""
    out = run("train_from_python.py", tmp_path / "run").splitlines()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert out[0] == f"epoch {record['best_epoch']} was the best on the validation part"
    assert f"accuracy {record['test']['accuracy']:.2f}" in out[1]
    assert out[2] == "10 classes, (1, 10) logits"

    images = tmp_path / "images"
    images.mkdir()
    for name, level in (("light.png", 230), ("dark.png", 20)):
        Image.new("RGB", (20, 30), (level, level, level)).save(images / name)
    (images / "broken.png").write_bytes(b"none")
    out = run("explain_a_folder.py", tmp_path / "run", images, tmp_path / "maps").splitlines()
    assert sorted(line.split(":")[0] for line in out) == ["broken.png", "dark.png", "light.png"]
    drawn = [line.rsplit(" ", 1)[1] for line in out if "drawn as" in line]
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == sorted(drawn)
    assert len(drawn) == 2


def test_read_a_study(tmp_path: Path) -> None:
    """Differences 0.1, 0.1 and 0.2 have mean 0.1333 and standard deviation 0.0577."""
    rows = ["arm,seed,macro_accuracy", *(f"none,{seed},0.5" for seed in range(3))]
    rows += [f"eca,{seed},{score}" for seed, score in enumerate((0.6, 0.6, 0.7))]
    (tmp_path / "trials.csv").write_text("\n".join(rows))
    (tmp_path / "effects.csv").write_text(
        "name,kind,n,difference,low,high,verdict\n"
        "attn eca,main,3,0.1333,-0.01,0.28,undecided\n"
        "eca,arm,3,0.1333,-0.01,0.28,undecided\n"
    )
    out = run("read_a_study.py", tmp_path)
    assert "0.1333  0.0577    3.0" in out
    assert "eca: +0.1333 [-0.0100, +0.2800], 3 seeds: undecided" in out


@pytest.mark.slow
def test_custom_block(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two 3x3 convolutions side by side have the parameters of the basic block's two in a row where width stays."""
    monkeypatch.setenv("RESNET_LAB_PLUGIN_FILES", "")  # which `--plugin` sets
    found = {}
    for name in ("basic", "parallel"):
        arguments = ["--plugin", str(EXAMPLES / "custom_block.py"), "--block", name, "--json"]
        resnet_lab("build", "--model", "resnet20", *arguments)
        found[name] = json.loads(capsys.readouterr().out)
    lost = sum(9 * out * (out - before) for out, before in {32: 16, 64: 32}.items())  # where the second sees fewer
    assert found["parallel"]["parameters"] == found["basic"]["parameters"] - lost


@pytest.mark.slow
def test_custom_block_conforms(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)
    monkeypatch.setenv("RESNET_LAB_PLUGIN_FILES", "")
    resnet_lab("plugins", "check", "parallel", "--plugin", str(EXAMPLES / "custom_block.py"))
