"""Configuration of how trained networks run."""

from resnet_lab.core.choices import Runtime
from resnet_lab.core.option import SPEED, option
from resnet_lab.core.records import Record


class InferenceConfig(Record):
    """Options of `predict` and `eval` beside those that training has too."""

    runtime: Runtime = option(
        "auto", "What computes the network: torch, ONNX Runtime (CPU, fp32), or the faster for these images.", SPEED
    )
