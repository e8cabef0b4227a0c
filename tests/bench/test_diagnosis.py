from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch._inductor import cpp_builder
from torch._inductor.exc import InvalidCxxCompiler

from resnet_lab.bench import diagnosis
from resnet_lab.bench.diagnosis import diagnose
from resnet_lab.core.errors import ConfigError
from resnet_lab.device import choose
from resnet_lab.network.registry import Owner, PluginStatus


@pytest.fixture(autouse=True)
def a_quiet_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One core in use of its two, a GPU's torch without driver or GPU, a cache of its own."""
    monkeypatch.setenv("RESNET_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv(diagnosis.VARIABLE, raising=False)
    monkeypatch.setattr(diagnosis, "busy_cores", lambda: 0.0)
    monkeypatch.setattr(diagnosis, "allowed_cores", lambda: 2)
    monkeypatch.setattr(diagnosis, "bytes_free", lambda: 10**12)
    monkeypatch.setattr(diagnosis.shutil, "which", lambda name: None)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", lambda: "g++")
    monkeypatch.setattr(diagnosis, "choose", lambda device: choose(device, "bf16"))


def advice() -> tuple[str, ...]:
    return diagnose(SimpleNamespace(plugins=[], failures=[])).advice


def test_a_machine_in_order_has_no_advice() -> None:
    found = diagnose(SimpleNamespace(plugins=[], failures=[]))
    assert found.advice == ()
    assert found.facts["plugins"] == "none"
    assert found.facts["compiler"] == "g++"
    assert found.facts["processor"].startswith("2 of ")
    assert f"torch {torch.__version__} (built for the CPU)" in found.facts["versions"]
    assert "cpu in bf16 (as asked)" in found.facts["device"]
    assert found.facts["cache"].endswith("0.0 GiB in 0 folders, 931.3 GiB free")


def test_the_gpu_that_torch_does_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert advice() == (
        "torch was built for CUDA, and there is no GPU: its CPU build computes the same and takes some 5 GB less "
        "(https://pytorch.org/get-started/locally/)",
    )
    monkeypatch.setattr(diagnosis.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert advice() == ("an NVIDIA driver is installed, and torch sees no GPU: see what nvidia-smi says",)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert advice() == ("an NVIDIA driver is installed, and torch sees no GPU: install a torch built for CUDA",)


def test_without_bf16_and_with_or_without_onnx_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "choose", lambda device: choose(device, "fp32"))
    slow = (
        "the processor has no bf16 in hardware, so that networks run in fp32; smaller images in the first epochs save "
        "time (train --progressive 0.57,1)"
    )
    monkeypatch.setattr(diagnosis, "_is_installed", lambda package: True)
    assert advice() == (slow,)
    monkeypatch.setattr(diagnosis, "_is_installed", lambda package: package != "onnxruntime")
    assert advice() == (
        slow, 'predict and eval can be faster by ONNX Runtime in fp32: pip install "resnet-lab[onnx]"',
    )  # fmt: skip
    assert "not onnx" in diagnose(SimpleNamespace(plugins=[], failures=[])).facts["optional packages"]


def test_a_busy_processor_and_too_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "busy_cores", lambda: 1.5)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert advice() == (
        "other programs keep 1.5 cores busy: times vary, and train takes only the cores that are free (--threads N "
        "takes more)",
        "OMP_NUM_THREADS is 1, and 2 cores may be used: unset it to use them all",
    )


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", missing)
    assert advice() == (
        "there is no C++ compiler, so that networks are not compiled (compiled steps were measured to be 1.02 to 1.26 "
        "times as fast on a CPU): install g++ or clang",
    )


def test_a_cache_that_others_can_enter(tmp_path: Path) -> None:
    assert advice() == ()  # which made the folder
    [folder] = (tmp_path / "cache").iterdir()
    folder.chmod(0o755)
    assert advice() == (
        f"{folder} can be entered by other users, so that compiled code and graphs are not kept: chmod 700 it",
    )
    folder.chmod(0o700)
    assert advice() == ()


def test_a_cache_that_cannot_be_written_or_is_full(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(diagnosis, "bytes_free", lambda: 2**30)
    monkeypatch.setattr(diagnosis.os, "access", lambda path, mode: path != tmp_path)
    assert advice() == (
        f"{tmp_path / 'cache'} cannot be written, so that images are decoded again each time: set RESNET_LAB_CACHE",
        "only 1.0 GiB are free for the cache: run resnet-lab data cache clear, or set RESNET_LAB_CACHE",
    )


def test_plugins_that_failed() -> None:
    failed = PluginStatus("broken", Owner("its-distribution", "2.0"), "failed", "ImportError: no module")
    found = diagnose(SimpleNamespace(plugins=[failed], failures=[failed]))
    assert found.facts["plugins"] == "broken (failed)"
    assert found.advice == ("plugin broken (its-distribution 2.0) failed: ImportError: no module",)


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="device 'cuda' is not there: torch sees 0 CUDA devices"):
        diagnose(SimpleNamespace(plugins=[], failures=[]), "cuda")


def test_extras_are_those_of_the_distribution() -> None:
    """Every extra of pyproject.toml."""
    import tomllib

    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert {name for name, _ in diagnosis._extras()} == set(declared["optional-dependencies"])
