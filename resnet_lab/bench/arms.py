"""Arms of a bench: networks, and how each runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Literal, TypeAlias

from resnet_lab.core.choices import Compile, Precision
from resnet_lab.core.errors import ConfigError
from resnet_lab.network.spec import ModelSpec

Maker: TypeAlias = Literal["resnet-lab", "torchvision", "timm"]
MAX_ARMS = 1024
MAX_BATCH = 10**6
MAKERS: tuple[Maker, ...] = ("resnet-lab", "torchvision", "timm")


@dataclass(frozen=True)
class BenchArm:
    """A network and how it runs.

    Attributes:
        spec: of the network, with its input size.
        maker: whose code it is.
        batch: images at a time, where throughput is asked for and in training.
        recomputes: whether its training step computes activations again (`network.recomputation`).
        has_kernels: whether its training step runs plugins' kernels, where there are some for the device.
    """

    name: str
    spec: ModelSpec
    batch: int
    maker: Maker = "resnet-lab"
    precision: Precision = "auto"
    compile: Compile = "off"
    channels_last: bool | None = None
    recomputes: bool = False
    has_kernels: bool = True


def arms_of(
    networks: Sequence[ModelSpec],
    components: Mapping[str, Sequence[str]],
    *,
    sizes: Sequence[int] = (),
    batches: Sequence[int] = (8,),
    precisions: Sequence[Precision] = ("auto",),
    compiled: Sequence[Compile] = ("off",),
    layouts: Sequence[bool | None] = (None,),
    recomputed: Sequence[bool] = (False,),
    peers: Iterable[Maker] = (),
) -> list[BenchArm]:
    """Every combination, the first of each list making the baseline, which comes first; peers of each follow it.

    An arm is called by what distinguishes it: the values of those lists that have several.

    Args:
        components: of each slot (`act`, `conv`, ...) the choices, as `ModelSpec.modified` takes them.

    Raises:
        SpecError: a choice that no network can have.
        ConfigError: two arms that are the same, too many, a batch out of range, or activations that are to be computed
            again by a peer or in compiled code.
    """
    lists: dict[str, Sequence[object]] = {
        "network": networks, **components, "size": sizes or (None,), "batch": batches, "precision": precisions,
        "compile": compiled, "layout": layouts, "recomputed": recomputed,
    }  # fmt: skip
    count = prod(map(len, lists.values())) * (1 + len(peers := tuple(peers)))
    if count > MAX_ARMS:
        raise ConfigError(f"{count:,} arms, and a bench has at most {MAX_ARMS:,}; name fewer of each")
    for batch in batches:
        if not 1 <= batch <= MAX_BATCH:
            raise ConfigError(f"a batch has 1 to {MAX_BATCH:,} images, got {batch}")
    arms: list[BenchArm] = []
    for values in product(*lists.values()):
        chosen = dict(zip(lists, values, strict=True))
        network: ModelSpec = chosen["network"]  # type: ignore[assignment]
        changes = {slot: chosen[slot] for slot in components} | {"input_size": chosen["size"]}
        words = [_word(key, chosen[key]) for key, options in lists.items() if len(options) > 1]
        own = BenchArm(
            name=" ".join(words) or network.name,
            spec=network.modified(**changes),  # type: ignore[arg-type]
            batch=chosen["batch"],  # type: ignore[arg-type]
            precision=chosen["precision"],  # type: ignore[arg-type]
            compile=chosen["compile"],  # type: ignore[arg-type]
            channels_last=chosen["layout"],  # type: ignore[arg-type]
            recomputes=chosen["recomputed"],  # type: ignore[arg-type]
        )
        if own.recomputes and (own.compile != "off" or peers):
            raise ConfigError("checkpoint_activations is of our networks, uncompiled; leave peers and compile out")
        arms += [own, *(replace(own, name=f"{own.name} ({peer})", maker=peer) for peer in peers)]
    _require_distinct(arms)
    return arms


def _word(key: str, value: object) -> str:
    if isinstance(value, ModelSpec):
        return value.name
    if key == "layout":
        return "layout by device" if value is None else "channels-last" if value else "channels-first"
    if key == "recomputed":
        return "activations recomputed" if value else "activations kept"
    if key == "compile":
        return {"off": "eager", "on": "compiled"}.get(str(value), f"compile={value}")
    return {"size": f"{value}px", "batch": f"batch {value}"}.get(key, str(value))


def _require_distinct(arms: Sequence[BenchArm]) -> None:
    seen: dict[object, BenchArm] = {}
    for arm in arms:
        facts = replace(arm, name="", spec=arm.spec.model_copy(update={"name": ""}))
        if facts in seen:
            raise ConfigError(
                f"the arms {seen[facts].name!r} and {arm.name!r} are the same network, run alike; name one"
            )
        seen[facts] = arm
