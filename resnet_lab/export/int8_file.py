"""ONNX files in int8, by onnxruntime's static quantisation. Legend: N batch, C channels, S size, K classes.

Weights of convolutions are rounded to int8 with a scale per output channel, activations to uint8 with a scale per
tensor, from their extremes on images of the training part (arXiv:1712.05877). The classifier stays in float32.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet_lab.core.watcher import Watcher
from resnet_lab.data.loader import Loader
from resnet_lab.device import choose
from resnet_lab.device.folding import folded
from resnet_lab.device.onnx_graph import INPUT, OUTPUT, as_onnx, onnx_session, traced
from resnet_lab.evaluation.metrics import paired
from resnet_lab.evaluation.metrics.headline import LEVEL, headline
from resnet_lab.export.agreement import random_images
from resnet_lab.export.exported_model import ExportedModel
from resnet_lab.export.run_images import RunImages

CALIBRATION = 256
"""Images of the training part that the ranges of activations are taken from, at most."""

BATCH = 8
"""Images that go through the network at a time during calibration, which keeps their activations."""

OPERATORS = ("Conv", "Relu", "Add", "MaxPool")
"""Operators that are computed in int8; others, such as GELU, are in float32 between them."""


@dataclass(frozen=True)
class AccuracyLoss:
    """Accuracy that int8 costs, on the validation part.

    Attributes:
        float32, int8: macro-averaged accuracy of each, in [0, 1].
        difference: of int8 from float32.
        interval: of the difference, paired by image; None where none would hold.
        method: how the interval was computed.
        level: of the interval.
        changed: images whose first class is another.
        validation_images: N.
    """

    float32: float
    int8: float
    difference: float
    interval: tuple[float, float] | None
    method: str
    level: float
    changed: int
    validation_images: int


def write_int8(original: ExportedModel, path: Path, watcher: Watcher) -> tuple[None, dict[str, Any]]:
    """Write a file with the input and output of the float file, whose metadata say what accuracy it costs.

    Returns:
        No agreement, since outputs differ; `AccuracyLoss` and how the file was calibrated.

    Raises:
        ExportError: a part that cannot be exported, or the run's images are not there.
    """
    placement = choose("cpu", "fp32", "off", channels_last=False)
    images = RunImages(original, placement, "int8", watcher)
    calibration, labels = images.of("train", CALIBRATION)
    watcher.say(f"calibrating int8 on {len(labels)} images of the training part")
    reduce_range = not torch.cpu._is_vnni_supported()
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        plain = Path(folder, "float.onnx")
        exported = _folded_graph(original)
        exported.save(str(plain))
        quantise(plain, path, _batches(calibration), reduce_range=reduce_range)
        loss = _accuracy_loss(onnx_session(plain), onnx_session(path), *images.of("val"))
    about = {
        **asdict(loss),
        "calibration_images": len(labels),
        "calibration": "extremes of images of the training part",
        "reduced_range": reduce_range,
    }
    _describe(path, {**original.properties, "int8": json.dumps(about)})
    return None, {"opset": exported.model.opset_imports[""], "input": INPUT, "output": OUTPUT, "int8": about}


def _folded_graph(original: ExportedModel) -> Any:
    with original.faults_of_plugins("ONNX"):
        try:
            network: torch.nn.Module = folded(original.model)
        except Exception:  # a plugin's code; onnxruntime folds what it can
            network = original.model
        return as_onnx(traced(network, random_images(original, 2)))


def quantise(plain: Path, path: Path, batches: Iterator[Tensor], *, reduce_range: bool) -> None:
    """Write a graph in int8.

    Args:
        plain: the graph in float32, in a folder of its own.
        batches: normalised images, (N, C, S, S).
        reduce_range: 7 bits for weights: without VNNI instructions, sums of two products in 16 bits would overflow.
    """
    library = import_module("onnxruntime.quantization")
    preprocess = import_module("onnxruntime.quantization.shape_inference").quant_pre_process
    prepared = plain.with_name("prepared.onnx")
    preprocess(str(plain), str(prepared), skip_symbolic_shape=True)

    class Reader(library.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(batches, None)
            return None if batch is None else {INPUT: batch.contiguous().numpy()}

    library.quantize_static(
        str(prepared),
        str(path),
        Reader(),
        quant_format=library.QuantFormat.QDQ,
        op_types_to_quantize=list(OPERATORS),
        per_channel=True,
        reduce_range=reduce_range,
        activation_type=library.QuantType.QUInt8,
        weight_type=library.QuantType.QInt8,
        calibrate_method=library.CalibrationMethod.MinMax,
    )


def _batches(loader: Loader) -> Iterator[Tensor]:
    for indices, x, _ in loader.evaluation():
        yield from torch.split(x[: len(indices)], BATCH)


def _accuracy_loss(
    float32: Callable[[Tensor], Tensor],
    int8: Callable[[Tensor], Tensor],
    validation: Loader,
    labels: NDArray[np.int64],
) -> AccuracyLoss:
    first, second = (_probabilities(run, validation) for run in (float32, int8))
    name = "macro_accuracy"
    difference = paired(labels, first, second).differences[name]
    return AccuracyLoss(
        float32=headline(labels, first)[name],
        int8=headline(labels, second)[name],
        difference=difference.value,
        interval=difference.ends,
        method=difference.method,
        level=LEVEL,
        changed=int((first.argmax(1) != second.argmax(1)).sum()),
        validation_images=len(labels),
    )


def _probabilities(run: Callable[[Tensor], Tensor], images: Loader) -> NDArray[np.float32]:
    outputs = torch.cat([run(x)[: len(indices)] for indices, x, _ in images.evaluation()])
    found: NDArray[np.float32] = outputs.softmax(1).numpy()
    return found


def _describe(path: Path, properties: dict[str, str]) -> None:
    onnx = import_module("onnx")
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, properties)
    onnx.save(model, str(path))
