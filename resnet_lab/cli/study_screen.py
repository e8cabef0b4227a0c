"""A study on the screen: its trials while they run, what it would take, and what it found."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean
from time import monotonic
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from resnet_lab.bench.config import Mode
from resnet_lab.cli import output
from resnet_lab.core.figure_names import figure_name
from resnet_lab.core.history import Epoch
from resnet_lab.core.wording import counted, large
from resnet_lab.study.costs import Costs
from resnet_lab.study.design import Study
from resnet_lab.study.endpoint_comparison import DIFFERENT, EndpointOutlook
from resnet_lab.study.outcome import Outcome
from resnet_lab.study.plan import Plan
from resnet_lab.study.planning import Forecast
from resnet_lab.study.remarks import claim, scored_at
from resnet_lab.study.results import StudyFindings
from resnet_lab.study.statistics import LEVEL, Effect
from resnet_lab.study.trials import State, Trial, trials_of
from resnet_lab.study.writing import as_json, in_words, p_value, trials_text, verdict_text
from resnet_lab.train.progress import TrainingWatcher

SCORE = 8
"""Characters of a column with a score in it."""

NARROWEST = 128
"""Characters of a line, below which names and intervals would be cut."""

COLOURS = {
    "better": "green",
    "worse": "red",
    "equivalent": "cyan",
    "undecided": "yellow",
    "withheld": "yellow",
    "exploratory": "magenta",
}


class StudyScreen:
    """Shows every trial: a live table on a terminal, a line per finished trial elsewhere; on standard error."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.console = output.console(stderr=True)
        self.live = Live(console=self.console, transient=True, refresh_per_second=4)
        self.is_live = self.console.is_terminal
        self._logged: set[str] = set()
        self._status = ""
        self._states: dict[str, State] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._start, self._done_before = monotonic(), -1

    def say(self, text: str) -> None:
        """Implements `StudyWatcher.say`."""
        self.console.print(text, soft_wrap=True)

    def show(self, states: dict[str, State], outcomes: Sequence[Outcome]) -> None:
        """Implements `StudyWatcher.show`."""
        self._states, self._outcomes = states, {outcome.trial: outcome for outcome in outcomes}
        if self._done_before < 0:
            self._done_before = len(outcomes)
            self._logged = set(self._outcomes)
        for outcome in outcomes:
            if outcome.trial not in self._logged:
                self._logged.add(outcome.trial)
                if not self.is_live:
                    self.say(f"{len(self._outcomes)} of {len(states)}: {_in_words(outcome, self.study.plan)}")
        if self.is_live:
            self.live.update(self.shown())

    def training(self, trial: Trial) -> TrainingWatcher:
        """Implements `StudyWatcher.training`."""
        self._states[trial.name] = "running"
        self.status(f"{trial.arm.name}, seed {trial.seed}")
        return _Trial(self, trial)

    def status(self, text: str) -> None:
        """Progress of the trial that runs in this process."""
        self._status = text
        if self.is_live:
            self.live.update(self.shown())

    def shown(self) -> Group:
        """All trials, or as many as the terminal has room for: those of finished arms are left out first."""
        rows: dict[str, list[Trial]] = {arm.name: [] for arm in self.study.arms}
        for trial in trials_of(self.study):
            rows[trial.arm.name].append(trial)
        room = max(1, self.console.height - 7)
        over = [name for name, trials in rows.items() if all(trial.name in self._outcomes for trial in trials)]
        hidden = over[: max(0, len(rows) - room)]
        names = [name for name in rows if name not in hidden]
        waiting = max(0, len(names) - room)
        note = f"arms not shown: {len(hidden)} over, {waiting} not" if hidden or waiting else ""
        draw = self._scores if self._fits(rows) else self._marks
        line = output.text(f"{self._status}{self._left()}", no_wrap=True, overflow="ellipsis")
        return Group(line, draw({name: rows[name] for name in names[:room]}), output.text(note, style="dim"))

    def _fits(self, rows: Mapping[str, Sequence[Trial]]) -> bool:
        """Whether a column for each seed does."""
        return max(map(cell_len, rows)) + 4 + SCORE * len(self.study.seeds) <= self.console.width

    def _scores(self, rows: Mapping[str, Sequence[Trial]]) -> Table:
        table = Table(box=box.SIMPLE_HEAD)
        table.add_column("arm", no_wrap=True)
        for seed in self.study.seeds:
            table.add_column(f"{seed}", justify="right", min_width=SCORE - 2)
        for name, trials in rows.items():
            table.add_row(output.text(name), *map(self._cell, trials))
        return table

    def _cell(self, trial: Trial) -> Text:
        outcome = self._outcomes.get(trial.name)
        if outcome is None:
            return output.text({"running": "..."}.get(self._states.get(trial.name, ""), "."), style="dim")
        if outcome.problem is not None:
            return output.text("failed", style="red")
        score = outcome.scored(self.study.plan.last_epochs).get(self.study.plan.metric)
        return output.text("?", style="red") if score is None else output.text(f"{score:.3f}")

    def _marks(self, rows: Mapping[str, Sequence[Trial]]) -> Table:
        """A mark for each trial, and the mean of those that have a score."""
        table = Table(box=box.SIMPLE_HEAD)
        table.add_column("arm", no_wrap=True, max_width=self.console.width // 2)
        table.add_column("mean", justify="right", no_wrap=True, min_width=5)
        table.add_column("# over, x failed, > running", no_wrap=True)
        for name, trials in rows.items():
            outcomes = [outcome for trial in trials if (outcome := self._outcomes.get(trial.name)) is not None]
            plan = self.study.plan
            every = (each.scored(plan.last_epochs).get(plan.metric) for each in outcomes)
            mean = f"{fmean(scores):.3f}" if (scores := [score for score in every if score is not None]) else ""
            table.add_row(output.text(name), mean, output.text("".join(map(self._mark, trials))))
        return table

    def _mark(self, trial: Trial) -> str:
        outcome = self._outcomes.get(trial.name)
        if outcome is None:
            return ">" if self._states.get(trial.name) == "running" else "."
        return "x" if outcome.problem is not None else "#"

    def _left(self) -> str:
        done = len(self._outcomes) - self._done_before
        if done < 1 or len(self._outcomes) == len(self._states):
            return ""
        each = (monotonic() - self._start) / done
        return f" · {_duration(each * (len(self._states) - len(self._outcomes)))} left"


class _Trial(TrainingWatcher):
    def __init__(self, screen: StudyScreen, trial: Trial) -> None:
        self._screen = screen
        self._name = f"{trial.arm.name}, seed {trial.seed}"

    def epoch(self, epoch: Epoch, best: Epoch) -> None:
        self._screen.status(f"{self._name}: epoch {epoch.epoch}, best validation {best.val_macro_accuracy:.3f}")


class _Quiet:
    """Silent watcher, for one of several processes, or with `--json`."""

    def say(self, text: str) -> None:
        pass

    def show(self, states: dict[str, State], outcomes: Sequence[Outcome]) -> None:
        pass

    def training(self, trial: Trial) -> TrainingWatcher:
        return TrainingWatcher()


@contextmanager
def watching(study: Study, *, quiet: bool) -> Iterator[StudyScreen | _Quiet]:
    """A screen while the study runs, or nothing."""
    if quiet:
        yield _Quiet()
        return
    screen = StudyScreen(study)
    if not screen.is_live:
        yield screen
        return
    with screen.live:
        yield screen


def print_forecast(study: Study, estimate: Forecast) -> None:
    """Print what would run, how long it takes, and which differences it could find."""
    console = output.console()
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("arm")
    for column in ("ms per step", "steps per epoch", "epochs", "per trial"):
        table.add_column(column, justify="right")
    for each in estimate.arms:
        row = (f"{each.step_ms:.1f}", str(each.steps), str(each.epochs), _duration(each.seconds))
        table.add_row(output.text(each.arm), *row)
    console.print(table)
    console.print(
        f"{'at most ' if study.plan.looks else ''}{estimate.trials} trials of {len(study.arms)} arms, "
        f"{study.plan.seeds} seeds: {_duration(estimate.seconds)} of training one after the other",
        soft_wrap=True,
    )
    if study.plan.looks:
        looks = ", ".join(map(str, study.plan.looks))
        console.print(
            f"it may end at looks after {looks} seeds; power is that of all seeds without looks", soft_wrap=True
        )
    console.print(
        f"{estimate.tests} effects are tested first, their p-values adjusted for their number; the sign-flip test can "
        f"give p = {estimate.smallest_p:.2g} at least",
        soft_wrap=True,
    )
    console.print(output.text(claim(study)), soft_wrap=True)
    console.print(output.text(scored_at(study.plan)), soft_wrap=True)
    if estimate.problem is not None:
        console.print(output.text(f"no verdict: {estimate.problem}", style="red"), soft_wrap=True)
    if not estimate.spreads:
        console.print(
            "how large a difference these seeds can find depends on the spread of paired differences: give --spread, "
            "or --pilot with a study folder in which two seeds or more are finished",
            soft_wrap=True,
        )
        return
    for spread in estimate.spreads:
        shared = f", of which two seeds share a variance of {spread.covariance:.2g}" if spread.covariance else ""
        console.print(f"spread of paired differences ({spread.kind}): {spread.deviation:.4g}{shared}")
    power = Table(box=box.SIMPLE_HEAD)
    for column in ("effect", "true difference", "found with these seeds", "seeds for 80%"):
        power.add_column(column, justify="right")
    for outlook in estimate.outlooks:
        seeds = "more than 1,000" if outlook.seeds is None else str(outlook.seeds)
        power.add_row(outlook.kind, f"{outlook.difference:g}", f"{outlook.power:.0%}", seeds)
    console.print(power)


def print_endpoints(endpoints: Sequence[EndpointOutlook]) -> None:
    """Print what a pilot shows of each endpoint; nothing without one."""
    if not endpoints:
        return
    console = output.console()
    console.width = max(console.width, NARROWEST)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("effect in the pilot", no_wrap=True)
    table.add_column("endpoint")
    for column in ("mean", "sd", "gain / sd", "n", "seeds for 80%"):
        table.add_column(column, justify="right", no_wrap=True)
    previous = ""
    for each in endpoints:
        ratio = "" if each.ratio is None else f"{each.ratio:+.2f}"
        seeds = "more than 1,000" if each.seeds is None else str(each.seeds)
        name, previous = "" if each.contrast == previous else each.contrast, each.contrast
        cells = (f"{each.mean:+.4f}", f"{each.deviation:.4f}", ratio, str(each.n), seeds)
        table.add_row(output.text(name), output.text(each.words), *cells)
    console.print(table)
    console.print(DIFFERENT, soft_wrap=True)


def print_findings(found: StudyFindings) -> None:
    """Verdicts in words, then the effects and the arms."""
    console = output.console()
    console.width = max(console.width, NARROWEST)
    metric = found.study.plan.metric
    for effect in found.effects or found.families[-1]:
        text = in_words(effect, metric, found.time_ratios.get(effect.name))
        console.print(output.text(text, style=COLOURS[effect.verdict]), soft_wrap=True)
    if found.effects:
        _print_whole(console, _effects("effect", found.effects))
    arms = Table(box=box.SIMPLE_HEAD)
    arms.add_column("arm", no_wrap=True)
    for column in ("params", "MACs", metric, f"{LEVEL:.0%} interval", "s/epoch", "time", "trials"):
        arms.add_column(column, justify="right", no_wrap=True)
    for row in found.arms:
        mean = "" if row.mean is None else f"{row.mean:.4f}"
        ends = "" if row.interval is None else "{:.4f} to {:.4f}".format(*row.interval)
        arms.add_row(
            output.text(row.arm.name), large(row.parameters), large(row.macs), mean, ends,
            "" if row.seconds is None else f"{row.seconds:.2f}",
            "" if row.time_ratio is None else f"{row.time_ratio:.2f}x", trials_text(row),
        )  # fmt: skip
    _print_whole(console, arms)
    if found.costs is not None:
        _print_whole(console, _costs(found, found.costs))
    _print_whole(console, _effects("arm against the baseline", found.families[-1]))
    for row in found.arms:
        for seed, problem in row.problems.items():
            console.print(output.text(f"{row.arm.name}, seed {seed} failed: {problem}", style="red"), soft_wrap=True)
    if found.missing:
        console.print(f"{len(found.missing)} trials have not finished: the results are those of the others")
    for remark in found.remarks:
        console.print(output.text(remark, style="dim"), soft_wrap=True)


def _print_whole(console: Console, table: Table) -> None:
    """Print a table with all its columns: a narrower terminal wraps its lines."""
    wanted = Measurement.get(console, console.options.update(max_width=output.WIDEST), table).maximum
    console.width = max(console.width, wanted)
    console.print(table)


def show_findings(found: StudyFindings, json: bool, files: Mapping[str, Any] | None = None) -> None:
    """Print them, with `files` where the output is JSON."""
    if json:
        output.print_json({**as_json(found), **(files or {})})
    else:
        print_findings(found)


def _costs(found: StudyFindings, costs: Costs) -> Table:
    """Times with their ratios to the baseline's, from interleaved rounds."""
    modes: dict[Mode, str] = {"latency": "one image", "infer": "a batch", "train": "training step"}
    machine = costs.machine
    where = (
        f"{machine['name']}, {counted(machine['threads'], 'thread')}, torch {machine['torch']}; time ratios to the "
        "baseline, interleaved"
    )
    table = Table(box=box.SIMPLE_HEAD, caption=where, caption_justify="left")
    table.add_column("arm", no_wrap=True)
    for what in modes.values():
        table.add_column(f"{what} (ms)", justify="right", no_wrap=True)
        table.add_column("time", justify="right", no_wrap=True)
    table.add_column("images/s", justify="right", no_wrap=True)
    for row in found.arms:
        cells = []
        for mode in modes:
            cost = costs.of(row.arm.name, mode)
            cells += ["", ""] if cost is None else [f"{cost.median_ms:.2f}", f"{cost.ratio:.2f}x"]
        infer = costs.of(row.arm.name, "infer")
        table.add_row(output.text(row.arm.name), *cells, "" if infer is None else f"{infer.images_a_second:,.0f}")
    return table


def _effects(title: str, effects: Sequence[Effect]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(title, no_wrap=True)
    for column in (
        "difference",
        f"{LEVEL:.0%} interval",
        "median",
        "worst seed",
        "p (t)",
        "p (flip)",
        "p (adjusted)",
        "d",
        "n",
    ):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", max_width=30)
    for effect in effects:
        ends = "" if effect.interval is None else "{:+.4f} to {:+.4f}".format(*effect.interval)
        table.add_row(
            output.text(effect.name), "" if effect.difference is None else f"{effect.difference:+.4f}", ends,
            "" if effect.median is None else f"{effect.median:+.4f}",
            "" if effect.worst is None else f"{effect.worst:+.4f} ({effect.worst_seed})",
            p_value(effect.p_t), p_value(effect.p_flip), p_value(effect.p_holm),
            "" if effect.size is None else f"{effect.size:+.2f}", str(effect.n),
            output.text(verdict_text(effect), style=COLOURS[effect.verdict]),
        )  # fmt: skip
    return table


def _in_words(outcome: Outcome, plan: Plan) -> str:
    name = f"{outcome.arm}, seed {outcome.seed}"
    if outcome.problem is not None:
        return f"{name} failed: {outcome.problem}"
    found = outcome.scored(plan.last_epochs).get(plan.metric)
    if plan.last_epochs and not outcome.last_scores and outcome.validation is not None:  # of tuning
        return f"{name}: validation macro accuracy {outcome.validation[0]:.4f} in {_duration(outcome.seconds)}"
    score = "is not known" if found is None else f"{found:.4f}"
    return f"{name}: {figure_name(plan.metric)} {score} in {_duration(outcome.seconds)}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
