import importlib.util

import pytest

from resnet_lab.core.errors import ConfigError
from resnet_lab.device import choose, onnx_graph
from resnet_lab.device.onnx_graph import require_packages
from resnet_lab.export.exported_model import ExportError


def test_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    absent = ("onnxruntime", "onnxscript")
    monkeypatch.setattr(onnx_graph, "find_spec", lambda name: None if name in absent else there("json"))
    for what, kind in (("the export to ONNX", ExportError), ("--runtime onnx", ConfigError)):
        with pytest.raises(kind) as failure:
            require_packages(what, kind)
        assert str(failure.value) == (
            f"{what} needs onnx, onnxruntime, onnxscript; not installed: onnxruntime, onnxscript; "
            'pip install "resnet-lab[onnx]"'
        )


def test_a_package_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def imported(name: str) -> None:
        if name == "onnxruntime":
            raise ImportError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(onnx_graph, "find_spec", lambda name: name)
    monkeypatch.setattr(onnx_graph, "import_module", imported)
    with pytest.raises(ExportError) as failure:
        require_packages("the export to ONNX", ExportError)
    assert str(failure.value) == (
        "the export to ONNX needs onnxruntime, which is installed and cannot be imported (libgomp.so.1: cannot open "
        "shared object file); install it again"
    )
    require_packages("the export to ONNX", imported=("onnx", "onnxscript"))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"device": "cuda"}, "device is cuda; use device cpu"),
        ({"precision": "bf16"}, "precision is bf16; use precision fp32"),
        ({"compile": "on"}, "compile is on; use compile off"),
    ],
)
def test_onnx_runtime_computes_in_fp32_on_the_cpu(asked: dict, sentence: str) -> None:
    with pytest.raises(ConfigError) as failure:
        choose(**asked, runtime="onnx")
    assert str(failure.value) == (
        f"runtime onnx computes in fp32 on the CPU without torch's compiler, and {sentence}, or another runtime"
    )
    placement = choose(runtime="onnx")
    assert (placement.device.type, placement.precision, placement.compile) == ("cpu", "fp32", "off")
    with pytest.raises(ConfigError) as failure:
        choose(runtime="tvm")  # type: ignore[arg-type]
    assert str(failure.value) == "runtime 'tvm' must be one of auto, torch, onnx"
