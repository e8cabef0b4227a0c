"""Public weights used as they are: their own network, classes and preprocessing, without any training."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, FiniteFloat

from resnet_lab.core.choices import Fit
from resnet_lab.core.comma_list import comma_list
from resnet_lab.core.errors import CheckpointError, ConfigError, DataError, nearest
from resnet_lab.core.records import LARGE, Malformed, Record, parse_json, read_bytes, validated
from resnet_lab.network import zoo
from resnet_lab.network.builder import assemble, plugins_needed, sources_needed
from resnet_lab.network.checkpoint import Metadata
from resnet_lab.network.model import ResNet
from resnet_lab.network.plugins import Registry
from resnet_lab.network.spec import ModelSpec, Side
from resnet_lab.network.weights.compatibility import anatomy, anatomy_of
from resnet_lab.network.weights.coverage import Coverage, Kind
from resnet_lab.network.weights.layouts import IMAGENET_MEAN, IMAGENET_STD, with_names_of
from resnet_lab.network.weights.loading import load_weights
from resnet_lab.network.weights.sources import Weights, open_weights

_GATES = ("none", "se", "eca", "cbam(norm=true)")
_IMAGENET: dict[str, Any] = {"size": 224, "resize": 256, "fit": "crop", "mean": IMAGENET_MEAN, "std": IMAGENET_STD}


class Preprocessing(Record):
    """Overrides of the weights' own preprocessing; None keeps it.

    Attributes:
        size: height and width of the network's input in pixels.
        resize: the shorter side before the middle is cut out; 0 cuts out as much as there is.
        fit: how a picture becomes square.
        mean: of each input channel, on a scale of [0, 1].
    """

    size: Side | None = None
    resize: int | None = Field(default=None, ge=0, le=2**16)
    fit: Fit | None = None
    mean: tuple[FiniteFloat, ...] | None = None
    std: tuple[FiniteFloat, ...] | None = None

    @classmethod
    def parse(cls, texts: Sequence[str]) -> "Preprocessing":
        """Read `imagenet` and `KEY=VALUE`, the later ones winning; raises `ConfigError` for other text."""
        values: dict[str, Any] = {}
        for text in texts:
            key, equals, value = text.partition("=")
            if text == "imagenet":
                values |= _IMAGENET
            elif not equals or key not in cls.model_fields:
                known = (*(f"{name}=" for name in cls.model_fields), "imagenet")
                raise ConfigError(f"--preprocess {text}: not of the form KEY=VALUE; {nearest(text, known)}")
            elif key in ("mean", "std"):
                values[key] = comma_list(value)
            else:
                values[key] = int(value) if value.isdecimal() else value
        return validated(cls, values, "--preprocess", ConfigError)


@dataclass(frozen=True)
class Adopted:
    """Weights with all that using them needs.

    Attributes:
        metadata: as a weights file of this program has it.
        model: in evaluation mode, on the CPU.
        outputs: the names that each class may go by, in the order of the logits.
    """

    metadata: Metadata
    model: ResNet
    coverage: Coverage
    outputs: tuple[tuple[str, ...], ...]

    def positions_of(self, classes: Sequence[str], where: str) -> tuple[int, ...]:
        """The output of each of a source's classes; raises `DataError` where a class has none, or several."""
        found = []
        for name in classes:
            exact = [number for number, names in enumerate(self.outputs) if name in names]
            alike = exact or [number for number, names in enumerate(self.outputs) if _plain(name) in map(_plain, names)]
            if len(alike) != 1:
                what = f"stands for several outputs ({', '.join(map(str, alike))})" if alike else "is none of theirs"
                close = "" if alike else f": {nearest(name, (each[0] for each in self.outputs[:1000]))}"
                raise DataError(
                    f"{where}: class {name!r} {what} by the names of {self.coverage.source}{close}; "
                    "name the classes of the outputs with --classes FILE"
                )
            found.append(alike[0])
        if len(set(found)) < len(found):
            [twice] = [output for output, number in Counter(found).most_common(1) if number > 1]
            names = " and ".join(repr(name) for name, output in zip(classes, found, strict=True) if output == twice)
            raise DataError(f"{where}: classes {names} are both output {twice} of {self.coverage.source}; rename one")
        return tuple(found)


def adopt(
    source: str,
    registry: Registry,
    *,
    spec: ModelSpec | None = None,
    outputs: tuple[tuple[str, ...], ...] = (),
    preprocessing: Preprocessing | None = None,
) -> Adopted:
    """Pretrained weights as a network that is ready to be used.

    Args:
        source: what `open_weights` takes.
        spec: the network; without it the one that the weights are recorded to be of, or whose tensors they are.
        outputs: the names that each class may go by; without them those of the weights.

    Raises:
        CheckpointError: as `load_weights`; or not every tensor of the network is in the weights, the network cannot be
            told, or mean, deviation or names of the classes are not known.
        ConfigError: another number of names than classes, or a preprocessing that cannot be.
    """
    weights = open_weights(source, spec or zoo.get("resnet50"))
    spec = spec or weights.spec or _network_of(weights, registry)
    if spec is None:
        raise CheckpointError(
            f"{weights.name}: its tensors are those of no network of the zoo ({anatomy_of(weights.tensors)}); "
            "name it with --model or --spec"
        )
    chosen = preprocessing or Preprocessing()
    spec = weights.network(spec).modified(
        num_classes=_num_classes(weights, spec, registry), input_size=chosen.size or weights.size or spec.input_size
    )
    model = assemble(spec, registry).model.eval()
    coverage = load_weights(model, spec, weights)
    _require_whole(coverage)
    outputs = outputs or weights.outputs
    if len(outputs) != spec.head.num_classes:
        have = f"{len(outputs)} names" if outputs else "no names"
        kind: type[CheckpointError | ConfigError] = ConfigError if outputs else CheckpointError
        raise kind(
            f"{weights.name}: the classifier has {spec.head.num_classes} classes, and there are {have} for them; give "
            "--classes FILE with one name per line, or a JSON list of names, in the order of the classifier"
        )
    resize, fit = (weights.resize if chosen.resize is None else chosen.resize), chosen.fit or weights.fit
    if chosen.resize:
        fit = chosen.fit or "crop"
    metadata = Metadata(
        spec=spec,
        classes=_unique([names[0] for names in outputs]),
        mean=_each_channel("mean", chosen.mean or weights.mean, spec, weights.name),
        std=_each_channel("std", chosen.std or weights.std, spec, weights.name),
        fit=fit,
        resize=resize if fit == "crop" else 0,
        plugins=plugins_needed(spec, registry),
        plugin_sources=sources_needed(spec, registry),
    )
    if 0 < metadata.resize < spec.input_size:
        raise ConfigError(
            f"--preprocess: {spec.input_size} pixels cannot be cut out of a picture whose shorter side is "
            f"{metadata.resize}; give resize=0 or at least {spec.input_size}, or a smaller size"
        )
    return Adopted(metadata, model, coverage, outputs)


def read_outputs(path: Path) -> tuple[tuple[str, ...], ...]:
    """The names of each output, from a file of names.

    One line per class, of several names between tabs; or JSON: a list, or a table from positions (`{"0": ["n01440764",
    "tench"]}`), of names or of lists of names.

    Raises:
        ConfigError: no such file, or of another form.
    """
    try:
        text = read_bytes(path, LARGE, ConfigError).decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: the names of the classes cannot be read: not UTF-8") from None
    if not text.lstrip().startswith(("[", "{")):
        rows = [line.split("\t") for line in text.splitlines() if line.strip()]
        return tuple(tuple(name.strip() for name in row if name.strip()) for row in rows)
    problem = f"{path}: not a list of names, nor a table from 0, 1, 2 ... to names"
    try:
        content = parse_json(text)
        if isinstance(content, dict):
            content = [content[str(number)] for number in range(len(content))]
        return tuple(tuple(_names(each)) for each in content)
    except Malformed as error:
        raise ConfigError(f"{problem}: {error}") from None
    except (ValueError, KeyError, TypeError):
        raise ConfigError(problem) from None


def _names(content: object) -> list[str]:
    names = [content] if isinstance(content, str) else content
    if not (isinstance(names, list) and names and all(isinstance(name, str) and name for name in names)):
        raise ValueError
    return names


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name).strip().casefold()


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    """The names, those that stand for several outputs with the output's number."""
    counts = Counter(names)
    return tuple(name if counts[name] == 1 else f"{name} ({number})" for number, name in enumerate(names))


def _each_channel(key: str, values: tuple[float, ...] | None, spec: ModelSpec, where: str) -> tuple[float, ...]:
    if values is None:
        raise CheckpointError(
            f"{where}: the {key} that images were normalised with is not known; give --preprocess imagenet, or "
            "--preprocess mean=R,G,B and --preprocess std=R,G,B on a scale of 0 to 1"
        )
    if len(values) != spec.in_channels or (key == "std" and min(values) <= 0):
        what = "above 0 " if key == "std" else ""
        raise ConfigError(f"--preprocess {key}: {spec.in_channels} numbers {what}are wanted, got {values}")
    return values


def _num_classes(weights: Weights, spec: ModelSpec, registry: Registry) -> int:
    """Number of classes of the weights' classifier, if they have one."""
    names = assemble(spec, registry, device="meta").model.state_dict().keys()
    classifier = with_names_of(names, weights.tensors).get("fc.weight")
    if classifier is None:
        raise CheckpointError(
            f"{weights.name}: the weights have no classifier, so nothing can be scored; train one with "
            "resnet-lab train --weights"
        )
    return len(classifier)


def _require_whole(coverage: Coverage) -> None:
    kinds: tuple[Kind, ...] = ("new", "shape_differs", "replaced")
    missing = [name for kind in kinds for name in coverage.total(kind).names]
    if missing:
        raise CheckpointError(
            f"{coverage.source}: tensors of the network are not in the weights as it has them ({len(missing)}, such as "
            f"{missing[0]}), so this is another network; name it with --model or --spec"
        )
    unused = [name for stage in coverage.stages if stage.stage != "elsewhere" for name in stage.unused.names]
    if unused:
        raise CheckpointError(
            f"{coverage.source}: tensors of the weights have no place in the network ({len(unused)}, such as "
            f"{unused[0]}), so this is another network; name it with --model or --spec"
        )


def _network_of(weights: Weights, registry: Registry) -> ModelSpec | None:
    """The first network of the zoo, perhaps with a gate, that has these tensors."""
    found = anatomy_of(weights.tensors)
    for row in zoo.ROWS:
        if anatomy(row.spec) != found:
            continue
        for gate in _GATES:
            spec = row.spec.modified(attn=gate)
            targets = assemble(spec, registry, device="meta").model.state_dict()
            shapes = {
                name: tuple(tensor.shape)
                for name, tensor in with_names_of(targets, weights.tensors).items()
                if not name.startswith("fc.")
            }
            wanted = {
                name: tuple(tensor.shape)
                for name, tensor in targets.items()
                if tensor.is_floating_point() and not name.startswith("fc.")
            }
            if wanted.items() <= shapes.items() and not any(
                name.startswith(("conv1.", "bn1.", "layer")) for name in shapes.keys() - wanted.keys()
            ):
                return spec
    return None
