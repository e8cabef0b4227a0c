"""The keys of a study file, other than the base experiment's tables."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from resnet_lab.core.option import DESIGN, option
from resnet_lab.core.records import Count, Entries, Finite, Record, Seed
from resnet_lab.network.kinds import of_networks
from resnet_lab.train.config import Positive

Varied = Literal["init", "split", "order"]
Population = Literal["new", "pool"]
Failures = Literal["withhold", "worst"]
Blocks = Literal["folds", "random"]
SEEDS: dict[Varied, str] = {"init": "init_seed", "split": "split_seed", "order": "order_seed"}
"""The key of a training that each is."""

Metric = Literal[
    "accuracy", "macro_accuracy", "macro_precision", "macro_recall", "macro_f1", "weighted_precision",
    "weighted_recall", "weighted_f1", "top5_accuracy", "log_loss", "brier", "mean_p_true",
]  # fmt: skip
LOWER_IS_BETTER = ("log_loss", "brier")
SHORT = ("model", "depth", *(kind.slot for kind in of_networks()), "widen", "input_size")
"""Keys of the network that factors and arms may name without `model.` before them."""

FOLDS = 10
"""Folds where none are given: training, validation and test parts as large as without folds."""

MAX_ARMS = 1024
MAX_SEEDS = 10_000
MAX_TRIALS = 100_000
MAX_LEVELS = 1024

MAX_LOOKS = 50
FEWEST = 3
"""Seeds below which a study is exploratory."""

Seeds = Annotated[int, Field(ge=1, le=MAX_SEEDS, strict=True)]


class Budget(Record):
    """Budget of every arm, of which one is given; by default the epochs of the base experiment.

    Attributes:
        epochs: for each arm.
        steps: of the optimiser; rounded down to whole epochs, one at least.
        macs: multiply-adds of all training images' forward passes, in 10^12; a cheaper arm trains longer.
        seconds: on the device, by a step that is timed before; a faster arm trains longer.
    """

    epochs: Count | None = None
    steps: Count | None = None
    macs: Positive | None = None
    seconds: Positive | None = None


class Range(Record):
    """Values that a search may take: whole numbers where both ends are, else any between them.

    Attributes:
        log: whether each factor of ten is as likely as the next.
    """

    low: int | Finite
    high: int | Finite
    log: bool = False


class Plan(Record):
    """The keys of a study file, other than the base experiment's tables; each with a single value is an option.

    Attributes:
        looks, adaptive: `looks` has the numbers of a study that is made, whichever of both was given.
        seeds: how many; block s of a study has seed `first_seed` + s.
        factors: levels of each, the first being the baseline's.
        arms: instead of factors, changes by name; the first is the baseline.
        search: ranges of a search beside the factors, by key as factors are; a study that is run has none.
    """

    name: str = option("study", "Name of the study.", DESIGN, shown="by what is varied")
    description: str = option("", "The study's question, in a sentence.", DESIGN, shown="none")
    recipe: str | None = option(
        None, "Base experiment of the arms.", DESIGN, metavar="NAME", shown="digits-quick, unless --data is given"
    )
    seeds: Seeds = option(6, "Number of seeds per arm.", DESIGN)
    looks: Annotated[tuple[Seeds, ...], Field(max_length=MAX_LOOKS)] = option(
        (),
        "Numbers of seeds at which a sequential study may end, such as 4,6,8,10,14,20; the last replaces --seeds.",
        DESIGN,
    )
    adaptive: bool = option(
        False, "A sequential study with looks at 4, 6, 8, 10 and 14 seeds, and at its last (20 by default).", DESIGN
    )
    more_seeds: bool = option(
        False, "Seeds may be added at any time: verdicts by t tests that hold at every number of seeds.", DESIGN
    )
    first_seed: Seed = option(0, "The first seed.", DESIGN)
    metric: Metric = option("macro_accuracy", "Metric of the verdicts, on the test part.", DESIGN, metavar="NAME")
    epochs_scored: Count | Literal["best", "last"] = option(
        "best",
        "Epoch that is scored on the test part: the best on the validation part, the last, or the mean of the last N.",
        DESIGN,
        metavar="best|last|N",
    )
    margin: Positive | None = option(None, "Equivalence margin, in the metric's unit.", DESIGN)
    population: Population = option(
        "new",
        "Images that verdicts are about: new ones like these, or the pool that the seeds' test parts are drawn from.",
        DESIGN,
    )
    failures: Failures = option(
        "withhold",
        "Verdicts where arms fail unequally often: none, or with failed trials scored as 0, the worst.",
        DESIGN,
    )
    vary: Annotated[tuple[Varied, ...], Field(min_length=1)] = option(
        get_args(Varied), "What is varied across seeds; the rest keeps the first seed.", DESIGN
    )
    blocks: Blocks | None = option(
        None,
        "Test parts of the seeds: disjoint folds of the images (--folds), or redrawn for each seed.",
        DESIGN,
        shown="folds, if the program makes the split",
    )
    fraction: Literal["full", "half"] = option(
        "full",
        "half leaves out every arm that differs from the baseline in an odd number of factors.",
        DESIGN,
    )
    factors: Entries[tuple[str | int | Finite | bool, ...]] = Field(default_factory=dict)
    arms: Entries[dict[str, Any]] = Field(default_factory=dict)
    budget: Budget = Budget()
    tune_lr: Annotated[tuple[Positive, ...], Field(max_length=MAX_LEVELS)] = option(
        (),
        "Learning rates to tune: each arm takes the best on the validation part, tried at the first seed only.",
        DESIGN,
    )
    search: Entries[Range] = Field(default_factory=dict)

    @property
    def default_folds(self) -> int:
        """Folds where none are given; with tuning two more than seeds, whose images no seed is tested on."""
        return max(FOLDS, self.seeds + (2 if self.tune_lr else 0))

    @property
    def last_epochs(self) -> int:
        """Last epochs whose mean score counts; 0 where it is the best epoch's."""
        names = {"best": 0, "last": 1}
        return names[self.epochs_scored] if isinstance(self.epochs_scored, str) else self.epochs_scored
