"""Coverage of each tensor when pretrained weights were loaded, as plain data."""

from typing import Literal, get_args

from resnet_lab.core.records import Record

Kind = Literal["loaded", "converted", "diagonal", "replaced", "new", "shape_differs", "unused"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Group(Record):
    """Tensors with the same fate; `parameters` leaves out the running statistics of batch norms."""

    names: tuple[str, ...] = ()
    parameters: int = 0


class StageCoverage(Record):
    """Coverage of the tensors of `stem`, `layer1` to `layerN` or `fc`; unused ones may be `elsewhere`.

    Attributes:
        loaded: have the values of the weights.
        converted: the kernel that images go through first, made for other input channels.
        diagonal: depthwise filters that have the diagonal of a dense kernel.
        replaced: the classifier, which is reinitialised for other classes.
        new: are not in the weights, and keep their initial values.
        shape_differs: are in the weights with another shape, and keep their initial values.
        unused: of the weights; the network has no place for them.
    """

    stage: str
    loaded: Group = Group()
    converted: Group = Group()
    diagonal: Group = Group()
    replaced: Group = Group()
    new: Group = Group()
    shape_differs: Group = Group()
    unused: Group = Group()


class Difference(Record):
    """A tensor's shape in the weights and in the network."""

    name: str
    weights: tuple[int, ...]
    network: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} is {self.weights} in the weights and {self.network} in the network"


class Coverage(Record):
    """Result of `load_weights`.

    Attributes:
        source: the weights, for a reader.
        share: of the network's parameters outside the classifier that have values of the weights, in (0, 1].
        differences: the shapes where kernels of another shape met: of the kinds `converted`, `diagonal`
            and `shape_differs`.
        notes: what a user should know of these.
        differing: parts of the network that are others in the weights' network, where that is known.
        unseen: parts without parameters, which weights do not show, of a network whose weights' network is not known.
        mean: of each input channel, on a scale of [0, 1], that the weights were trained with; None where not known.
    """

    source: str
    share: float
    stages: tuple[StageCoverage, ...]
    differences: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def total(self, kind: Kind) -> Group:
        """The tensors of a kind, of all stages."""
        groups: list[Group] = [getattr(stage, kind) for stage in self.stages]
        names = tuple(name for group in groups for name in group.names)
        return Group(names=names, parameters=sum(group.parameters for group in groups))

    def to_json(self) -> str:
        """JSON text that `model_validate_json` reads back to an equal object."""
        return self.model_dump_json(indent=2)

    def sentence(self) -> str:
        """One sentence: source, share, and the number of tensors of each kind that there are."""
        counts = [f"{len(names)} {kind.replace('_', ' ')}" for kind in KINDS if (names := self.total(kind).names)]
        return f"{self.source}: {self.extent} (tensors: {', '.join(counts)})"

    @property
    def extent(self) -> str:
        """The share in words, in which neither little is nothing nor much all, nor all parameters the whole network."""
        if self.share == 1 and self.differing:
            return "all parameters outside the classifier loaded, into a network that differs from the weights'"
        if self.share == 1 and self.unseen:
            return "all parameters outside the classifier loaded; parts without parameters cannot be seen in weights"
        percent = f"{self.share:.1%}"
        if percent == "0.0%":
            percent = "less than 0.1%"
        elif percent == "100.0%" and self.share < 1:
            percent = "more than 99.9%"
        return f"{percent} of the parameters outside the classifier loaded"
