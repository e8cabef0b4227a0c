"""Bench configuration."""

from typing import Annotated, Any, Literal

from pydantic import Field

from resnet_lab.core.choices import Precision
from resnet_lab.core.errors import ConfigError
from resnet_lab.core.option import ARMS, MEASURING, SPEED, option
from resnet_lab.core.records import Record, Share, validated
from resnet_lab.network.spec import Side

Mode = Literal["latency", "infer", "train"]
Layout = Literal["auto", "channels-last", "channels-first"]

BatchSize = Annotated[int, Field(ge=1, le=10**6, strict=True)]
Rounds = Annotated[int, Field(ge=1, le=100_000, strict=True)]

_ONE = Field(min_length=1)
ROUNDS = 15
INTERVAL = 0.01
MAKING_ARMS = ("size", "batch_size", "precision", "compile", "layout", "checkpoint_activations")
"""Fields every combination of whose values makes arms, the first the baseline."""


class BenchConfig(Record):
    """Configuration of a bench; each field is an option of the command line."""

    size: tuple[Side, ...] = option((), "Input sizes in pixels.", ARMS, metavar="LIST", shown="the network's")
    batch_size: Annotated[tuple[BatchSize, ...], _ONE] = option(
        (8,), "Batch sizes.", ARMS, metavar="LIST", formerly="--batch"
    )
    precision: Annotated[tuple[Precision, ...], _ONE] = option(
        ("auto",), "Precisions of convolutions and matrix products.", ARMS
    )
    compile: Annotated[tuple[Literal["off", "on", "max"], ...], _ONE] = option(
        ("off",), "Whether networks are compiled.", ARMS
    )
    layout: Annotated[tuple[Layout, ...], _ONE] = option(("auto",), "Memory layouts of images and feature maps.", ARMS)
    checkpoint_activations: Annotated[tuple[Literal["off", "on"], ...], _ONE] = option(
        ("off",), "Whether training steps compute activations again in the backward pass.", ARMS
    )
    mode: Annotated[tuple[Mode, ...], _ONE] = option(
        ("latency", "infer", "train"), "Inference of one image, of a batch, and a training step.", MEASURING
    )
    rounds: Rounds = option(ROUNDS, "Measurement rounds, at most; fewer than 6 give no intervals.", MEASURING)
    interval: Share = option(
        INTERVAL,
        "Half width of a ratio's interval, relative to it, at which an arm's rounds end; three times that where the "
        "arm is clearly faster or slower; 0 for all rounds.",
        MEASURING,
    )
    explain: bool = option(False, "Explain why each arm is faster or slower than its MACs suggest.", MEASURING)
    process_memory: bool = option(False, "Also measure each arm's memory in a separate process.", MEASURING)
    device: str = option("auto", "auto, cpu, cuda, cuda:0, or the experimental mps and xpu.", SPEED, metavar="DEVICE")


def bench_config(values: dict[str, Any]) -> BenchConfig:
    """A checked configuration; raises `ConfigError` on a value out of range."""
    return validated(BenchConfig, values, "bench", ConfigError)
