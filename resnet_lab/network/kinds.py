"""The kinds of component, a row each: whatever differs from kind to kind, and every list of kinds, is read from here.

A new kind is a row, a hook in `hookspecs` whose docstring is its contract, and a module of `builtin` that registers its
default by that hook. Options, specs, factors of studies, templates and checks follow from the row.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Place: TypeAlias = Literal["stem", "block", "head"]
"""Places of a component in a network."""

Output: TypeAlias = Literal["same", "strided", "reduced", "pooled"]
"""Output shape of a module for (N, C, H, W): the same; ceil(H / stride) rows; ceil(H / r) with an r of its own; or
(N, C, 1, 1)."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Kind of component, and all that the program must know of it.

    Attributes:
        name: in `plugins new|check|list` and in errors; its hook is `register_` with it in the plural.
        slot: the option that chooses one without its dashes, and the key in `ModelSpec.modified`, TOML and factors.
        spec_field: of the specs of its places; `slot` by default.
        places: where it stands; none for what is no part of a network.
        default: the built-in that stands where none was chosen, and that others are compared with.
        given: the positional arguments of a factory.
        output: of a module.
        traits: what a plugin may declare at registration, with the default of each.
        parameters: that every component of the kind takes and the program reads, with annotation and default.
        words: in sentences.
        title: in help texts.
        lacks: what a block without a place for it has none of; `words` by default.
        short: what may be written for the name.
        needs_place: whether a choice that a block never asks for is an error.
        input_kept: whether a module must not overwrite its input.
        elementwise: whether each output value must depend on one input value alone.
        applies_parts: whether a module must apply every part that it asks for.
        hint: for a module whose output has another shape.
        builtin: the module that registers the program's own.
    """

    name: str
    slot: str
    words: str
    title: str
    default: str = ""
    given: tuple[str, ...] = ()
    spec_field: str = ""
    places: tuple[Place, ...] = ()
    output: Output = "same"
    traits: Mapping[str, bool] = field(default_factory=dict)
    parameters: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    lacks: str = ""
    short: str = ""
    needs_place: bool = True
    input_kept: bool = True
    elementwise: bool = False
    applies_parts: bool = False
    hint: str = ""
    builtin: str = ""

    @property
    def option(self) -> str:
        """Option of the command line."""
        return f"--{self.slot}"

    @property
    def hook(self) -> str:
        """Hook by which plugins register components of this kind."""
        return f"register_{self.name}s"

    @property
    def key(self) -> str:
        """Its field in the specs of its places."""
        return self.spec_field or self.slot

    @property
    def module(self) -> str:
        """That registers the program's own."""
        return self.builtin or f"resnet_lab.network.builtin.{self.name}s"


_ROWS = (
    Kind(
        name="activation",
        slot="act",
        words="activation",
        title="Activation",
        places=("stem", "block"),
        default="relu",
        input_kept=False,
        elementwise=True,
        hint="an activation gives each value a value: keep the shape",
    ),
    Kind(
        name="convolution",
        slot="conv",
        short="conv",
        words="3x3 convolution",
        title="3x3 convolution",
        places=("block",),
        default="dense",
        given=("in_channels", "out_channels", "stride", "groups", "bias"),
        output="strided",
        traits={"mixes_channels": True, "takes_groups": True},
        hint="pad so that the output has ceil(H / stride) rows: padding = dilation * (kernel_size - 1) // 2, and "
        "pass the stride on",
    ),
    Kind(
        name="norm",
        slot="norm",
        words="norm",
        title="Normalisation",
        places=("stem", "block"),
        default="batch",
        given=("channels",),
        traits={"adds_bias": True},
        hint="keep the shape; count pixels from x.shape, not from a size that was in mind",
    ),
    Kind(
        name="attention",
        slot="attn",
        words="attention",
        lacks="place for an attention",
        title="Attention",
        places=("block",),
        default="none",
        given=("channels",),
        parameters={"position": (Literal["branch", "inner", "output"], "branch")},
        hint="a gate must broadcast over (N, C, H, W); pool with pixel_mean(x)",
    ),
    Kind(
        name="block",
        slot="block",
        spec_field="kind",
        words="block",
        title="Block",
        places=("block",),
        default="basic",
        needs_place=False,
        applies_parts=True,
        given=("in_channels", "width", "out_channels", "stride", "parts"),
        output="strided",
        hint="branch and shortcut must both end at out_channels and ceil(H / stride) rows; pass the stride on to one "
        "convolution of the branch and to parts.shortcut",
    ),
    Kind(
        name="shortcut",
        slot="shortcut",
        words="shortcut",
        title="Shortcut",
        places=("block",),
        default="projection",
        given=("in_channels", "out_channels", "stride", "parts"),
        output="strided",
        needs_place=False,
        hint="end at out_channels and ceil(H / stride) rows, as the branch does",
    ),
    Kind(
        name="stem",
        slot="stem",
        spec_field="kind",
        words="stem",
        title="Stem",
        places=("stem",),
        default="plain",
        given=("in_channels", "out_channels", "parts"),
        output="reduced",
        hint="pad so that H becomes ceil(H / r) for one r, however large the image",
    ),
    Kind(
        name="downsample",
        slot="downsample",
        words="downsampling",
        lacks="place for a downsampling",
        title="Downsampling of the residual branch",
        places=("block",),
        default="strided",
        given=("channels", "stride"),
        output="strided",
        hint="pad so that the output has ceil(H / stride) rows, as many as a strided 3x3 convolution gives",
    ),
    Kind(
        name="pool",
        slot="pool",
        words="pool before the classifier",
        title="Pool before the classifier",
        places=("head",),
        default="average",
        given=("channels",),
        output="pooled",
        hint="reduce all pixels to one: pixel_mean(x) gives (N, C, 1, 1)",
    ),
    Kind(name="dataset", slot="data", words="data set", title="Data set"),
    Kind(name="tracker", slot="track", words="tracker", title="Tracker"),
)

KINDS: dict[str, Kind] = {row.name: row for row in _ROWS}
"""Kinds by name; the order is that of options, lists and arms."""

AUGMENTATION = Kind(name="augmentation", slot="augment", words="augmentation", title="Augmentation")
"""Chosen like a component, and the program's own alone: there is no hook."""


def kind_of(name: str) -> Kind:
    """The row of a kind."""
    return AUGMENTATION if name == AUGMENTATION.name else KINDS[name]


def of_networks() -> tuple[Kind, ...]:
    """Kinds that are parts of a network."""
    return tuple(kind for kind in KINDS.values() if kind.places)


def placed(place: Place) -> Iterator[Kind]:
    """Kinds that stand in a place."""
    return (kind for kind in KINDS.values() if place in kind.places)
