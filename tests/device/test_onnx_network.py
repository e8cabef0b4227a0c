"""Networks run by ONNX Runtime, beside torch."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

import resnet_lab
from resnet_lab.core.errors import ConfigError
from resnet_lab.device import choose, inference, onnx_network, optimize_for_inference
from resnet_lab.device.compiled_code import own_code_folder
from resnet_lab.device.onnx_cache import FOLDER, keep_graph, key_of
from resnet_lab.device.onnx_graph import PACKAGES
from tests.device.networks import SHAPE, Choosing, Listener, lived_in, small

for package in PACKAGES:
    pytest.importorskip(package)

EXPORTING = "exporting the network to ONNX, which can take some seconds"


class Untold(nn.Module):
    """Network with an operator that ONNX does not have."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.special.bessel_j0(x)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESNET_LAB_CACHE", str(tmp_path))
    return tmp_path


def kept() -> list[Path]:
    folder = own_code_folder()
    assert folder is not None
    return sorted((folder / FOLDER).glob("*"))


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """Sets the seconds that a batch seems to take by torch and by ONNX Runtime."""

    def set_seconds(torch_s: float, onnx_s: float) -> None:
        def seconds(run: object, x: Tensor, batches: int = 1) -> float:
            return onnx_s if isinstance(run, onnx_network.OnnxNetwork) else torch_s

        monkeypatch.setattr(inference, "_seconds", seconds)

    return set_seconds


def test_outputs_are_torchvision_s_for_any_number_of_images() -> None:
    torch.manual_seed(0)
    theirs = lived_in(torchvision.models.resnet18(num_classes=7)).eval()
    ours = resnet_lab.build("resnet18", num_classes=7)
    ours.load_state_dict(theirs.state_dict())
    network = optimize_for_inference(ours, choose(runtime="onnx"))
    for number in (2, 1, 5):
        x = torch.randn(number, 3, 32, 32)
        with torch.inference_mode():
            torch.testing.assert_close(network(x), theirs(x), rtol=1e-4, atol=1e-4)
    assert network.runtime == "onnx"
    (path,) = kept()
    graph = pytest.importorskip("onnx").load(path).graph
    assert {node.op_type for node in graph.node if "Norm" in node.op_type} == set()


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"act": "gelu", "attn": "cbam"}, {"norm": "group(groups=8)", "conv": "depthwise"}])
def test_other_components(changes: dict[str, Any]) -> None:
    model = lived_in(resnet_lab.build("resnet20", num_classes=7, **changes)).eval()
    x = torch.randn(3, 3, 32, 32)
    network = optimize_for_inference(model, choose(runtime="onnx"))
    with torch.inference_mode():
        torch.testing.assert_close(network(x), model(x), rtol=1e-4, atol=1e-4)


def test_a_kept_graph_is_loaded_and_a_damaged_one_made_again() -> None:
    x = torch.randn(SHAPE)
    model, placement = lived_in(small()).eval(), choose(runtime="onnx")

    def notes_of(network: nn.Module, images: Tensor = x) -> list[str]:
        listener = Listener()
        outputs = optimize_for_inference(network, placement, watcher=listener)(images)
        torch.testing.assert_close(outputs, network(images).detach(), rtol=1e-5, atol=1e-5)
        return listener.notes

    assert notes_of(model) == [EXPORTING]
    assert notes_of(model) == []
    (path,) = kept()
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    for damaged in (bytes(content), b""):
        path.write_bytes(damaged)
        assert notes_of(model) == [EXPORTING]
        assert kept() == [path]
        assert notes_of(model) == []
    with torch.no_grad():
        model[-1].bias[0] += 1  # type: ignore[operator]
    assert notes_of(model) == [EXPORTING]
    assert notes_of(model, torch.randn(4, 3, 9, 9)) == [EXPORTING]
    assert len(kept()) == 3


def test_what_a_key_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = torch.Size(SHAPE)

    def key(*last: nn.Module) -> str | None:
        return key_of(torch.fx.symbolic_trace(small(*last).eval()), shape)

    assert key() == key()
    keys = {key(), key(nn.Hardtanh(0, 1)), key(nn.Hardtanh(0, 2)), key(nn.GELU()), key(nn.GELU(approximate="tanh"))}
    assert len(keys) == 5
    monkeypatch.setattr("resnet_lab.device.onnx_cache.version", lambda name: "0")
    assert key() not in keys
    assert key_of(small(), shape) is None  # its code is not known


def test_functions_of_others_are_not_kept() -> None:
    x = torch.randn(SHAPE)
    graph = torch.fx.symbolic_trace(small().eval())
    last = next(node for node in graph.graph.nodes if node.op == "output")
    with graph.graph.inserting_before(last):
        called = graph.graph.call_function(theirs, last.args)
    last.args = (called,)
    graph.recompile()
    assert key_of(graph, x.shape) is None


def theirs(x: Tensor) -> Tensor:
    return x * 2


def test_a_folder_that_others_can_enter_is_not_used() -> None:
    folder = own_code_folder()
    assert folder is not None
    folder.chmod(0o777)
    keep_graph("0" * 64, b"graph")
    assert list(folder.iterdir()) == []
    x = torch.randn(SHAPE)
    model = lived_in(small()).eval()
    torch.testing.assert_close(optimize_for_inference(model, choose(runtime="onnx"))(x), model(x).detach())
    assert list(folder.iterdir()) == []


def test_the_oldest_graphs_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_lab.device.onnx_cache.KEPT", 2)
    for number in range(4):
        keep_graph(str(number), b"graph")
        (path,) = (path for path in kept() if path.name.startswith(str(number)))
        os.utime(path, (number, number))
    assert [path.name[0] for path in kept()] == ["2", "3"]


@pytest.mark.parametrize(
    ("images", "by_torch", "by_onnx", "exported", "runtime"),
    [
        (None, 1.0, 0.5, False, "torch"),  # how many images are to come is not known
        (400, 1.0, 0.5, False, "torch"),  # 100 batches, of which a tenth of the time is what an export may take
        (404, 1.0, 0.5, True, "onnx"),
        (404, 1.0, 1.5, True, "torch"),
    ],
)
def test_auto_takes_it_where_it_pays_and_is_faster(
    watch: Callable[[float, float], None],
    images: int | None,
    by_torch: float,
    by_onnx: float,
    exported: bool,
    runtime: str,
) -> None:
    watch(by_torch, by_onnx)
    x, listener = torch.randn(SHAPE), Listener()
    network = optimize_for_inference(
        lived_in(small()), choose("cpu", "fp32", "off", runtime="auto"), images, watcher=listener
    )
    network(x)
    assert (network.runtime, listener.notes) == (runtime, [EXPORTING] * exported)


def test_a_kept_graph_pays_for_a_tenth_of_the_images(watch: Callable[[float, float], None]) -> None:
    watch(1.0, 0.5)
    x, model = torch.randn(SHAPE), lived_in(small())
    optimize_for_inference(model, choose(runtime="onnx"))(x)
    for images, runtime in ((40, "torch"), (44, "onnx")):
        network = optimize_for_inference(model, choose("cpu", "fp32", "off", runtime="auto"), images)
        network(x)
        assert network.runtime == runtime


@pytest.mark.parametrize(
    "asked", [{"precision": "bf16", "runtime": "auto"}, {"precision": "fp32", "runtime": "torch"}], ids=str
)
def test_auto_never_takes_it_for(watch: Callable[[float, float], None], asked: dict[str, Any]) -> None:
    watch(1.0, 0.5)
    network = optimize_for_inference(lived_in(small()), choose("cpu", compile="off", **asked), 10**6)
    network(torch.randn(SHAPE))
    assert network.runtime == "torch"


def test_auto_without_the_packages(watch: Callable[[float, float], None], monkeypatch: pytest.MonkeyPatch) -> None:
    watch(1.0, 0.5)
    monkeypatch.setattr("resnet_lab.device.onnx_graph.find_spec", lambda name: None)
    network, listener = lived_in(small()), Listener()
    found = optimize_for_inference(network, choose("cpu", "fp32", "off", runtime="auto"), 10**6, watcher=listener)
    found(torch.randn(SHAPE))
    assert (found.runtime, listener.notes) == ("torch", [])
    with pytest.raises(ConfigError) as failure:
        optimize_for_inference(network, choose(runtime="onnx"))(torch.randn(SHAPE))
    assert str(failure.value) == (
        "--runtime onnx needs onnx, onnxruntime, onnxscript; not installed: onnx, onnxruntime, onnxscript; "
        'pip install "resnet-lab[onnx]"'
    )


@pytest.mark.parametrize(
    ("last", "problem"),
    [
        (Choosing(), "the network cannot be exported to ONNX ("),
        (Untold(), "the network cannot be exported to ONNX (ConversionError: "),
    ],
)
def test_what_cannot_be_exported(watch: Callable[[float, float], None], last: nn.Module, problem: str) -> None:
    watch(1.0, 0.5)
    model, listener, x = small(last), Listener(), torch.randn(SHAPE)
    network = optimize_for_inference(model, choose("cpu", "fp32", "off", runtime="auto"), 10**6, watcher=listener)
    torch.testing.assert_close(network(x), model.eval()(x).detach(), rtol=1e-5, atol=1e-5)
    assert network.runtime == "torch"
    assert listener.notes[-1].startswith(f"left to torch: {problem}")
    with pytest.raises(ConfigError) as failure:
        optimize_for_inference(model, choose(runtime="onnx"))(x)
    assert str(failure.value).startswith(problem)
    assert str(failure.value).endswith("; use --runtime torch")
    assert kept() == []


def test_other_answers(watch: Callable[[float, float], None], monkeypatch: pytest.MonkeyPatch) -> None:
    watch(1.0, 0.5)
    session = onnx_network.onnx_session
    monkeypatch.setattr(onnx_network, "onnx_session", lambda graph: lambda x: session(graph)(x).roll(1, 1))
    model, listener, x = lived_in(small()), Listener(), torch.randn(SHAPE)
    network = optimize_for_inference(model, choose("cpu", "fp32", "off", runtime="auto"), 10**6, watcher=listener)
    torch.testing.assert_close(network(x), model.eval()(x).detach(), rtol=1e-5, atol=1e-5)
    sentence = "ONNX Runtime does not compute what torch does: another first class for some of 4 images"
    assert listener.notes[-1] == f"left to torch: {sentence}"
    with pytest.raises(ConfigError) as failure:
        optimize_for_inference(model, choose(runtime="onnx"))(x)
    assert str(failure.value) == f"{sentence}; use --runtime torch"
    assert kept() == []


def test_it_takes_the_threads_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    made, real = [], onnxruntime.InferenceSession

    def session(graph: object, options: Any, **about: Any) -> Any:
        made.append((options.intra_op_num_threads, about["providers"]))
        return real(graph, options, **about)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    optimize_for_inference(small(), choose(runtime="onnx"))(torch.randn(SHAPE))
    assert made == [(torch.get_num_threads(), ["CPUExecutionProvider"])]
