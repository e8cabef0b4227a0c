"""What is compared: networks, and how each runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal, TypeAlias

from resnet_lab.core.choices import Compile, Precision
from resnet_lab.core.errors import ConfigError
from resnet_lab.network.spec import ModelSpec

Maker: TypeAlias = Literal["resnet-lab", "torchvision", "timm"]
MAKERS: tuple[Maker, ...] = ("resnet-lab", "torchvision", "timm")


@dataclass(frozen=True)
class Arm:
    """A network and how it runs.

    Attributes:
        spec: of the network, with its input size.
        maker: whose code it is.
        batch: images at a time, where throughput is asked for and in training.
    """

    name: str
    spec: ModelSpec
    batch: int
    maker: Maker = "resnet-lab"
    precision: Precision = "auto"
    compile: Compile = "off"
    channels_last: bool | None = None


def arms_of(
    networks: Sequence[ModelSpec],
    components: Mapping[str, Sequence[str]],
    *,
    sizes: Sequence[int] = (),
    batches: Sequence[int] = (8,),
    precisions: Sequence[Precision] = ("auto",),
    compiled: Sequence[Compile] = ("off",),
    layouts: Sequence[bool | None] = (None,),
    peers: Iterable[Maker] = (),
) -> list[Arm]:
    """Every combination, the first of each list making the baseline, which comes first; peers of each follow it.

    An arm is called by what distinguishes it: the values of those lists that have several.

    Args:
        components: of each slot (`act`, `conv`, ...) the choices, as `ModelSpec.modified` takes them.

    Raises:
        SpecError: a choice that no network can have.
        ConfigError: two arms that are the same.
    """
    lists: dict[str, Sequence[object]] = {
        "network": networks, **components, "size": sizes or (None,), "batch": batches, "precision": precisions,
        "compile": compiled, "layout": layouts,
    }  # fmt: skip
    arms: list[Arm] = []
    for values in product(*lists.values()):
        chosen = dict(zip(lists, values, strict=True))
        network: ModelSpec = chosen["network"]  # type: ignore[assignment]
        changes = {slot: chosen[slot] for slot in components} | {"input_size": chosen["size"]}
        words = [_word(key, chosen[key]) for key, options in lists.items() if len(options) > 1]
        own = Arm(
            name=" ".join(words) or network.name,
            spec=network.modified(**changes),  # type: ignore[arg-type]
            batch=chosen["batch"],  # type: ignore[arg-type]
            precision=chosen["precision"],  # type: ignore[arg-type]
            compile=chosen["compile"],  # type: ignore[arg-type]
            channels_last=chosen["layout"],  # type: ignore[arg-type]
        )
        arms += [own, *(replace(own, name=f"{own.name} ({peer})", maker=peer) for peer in peers)]
    _require_distinct(arms)
    return arms


def listed(text: str) -> list[str]:
    """The parts of `none,cbam(reduction=8,norm=true),se@3,4`: commas in brackets and stage lists part nothing."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    found: list[str] = []
    for part in (part.strip() for part in parts):
        if found and "@" in found[-1] and (part.isdigit() or part == "stem"):
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found


def _word(key: str, value: object) -> str:
    if isinstance(value, ModelSpec):
        return value.name
    if key == "layout":
        return "layout by device" if value is None else "channels-last" if value else "channels-first"
    if key == "compile":
        return {"off": "eager", "on": "compiled"}.get(str(value), f"compile={value}")
    return {"size": f"{value}px", "batch": f"batch {value}"}.get(key, str(value))


def _require_distinct(arms: Sequence[Arm]) -> None:
    seen: dict[object, Arm] = {}
    for arm in arms:
        facts = replace(arm, name="", spec=arm.spec.model_copy(update={"name": ""}))
        if facts in seen:
            raise ConfigError(
                f"the arms {seen[facts].name!r} and {arm.name!r} are the same network, run alike; name one"
            )
        seen[facts] = arm
