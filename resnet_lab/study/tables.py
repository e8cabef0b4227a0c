"""Everything a study found as tables of plain rows, for CSV, Parquet and LaTeX."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from resnet_lab.bench.timed_networks import MODES
from resnet_lab.core.errors import ConfigError
from resnet_lab.core.escaping import cell, latex
from resnet_lab.evaluation.metrics.headline import NAMES
from resnet_lab.study.results import StudyFindings
from resnet_lab.study.statistics import LEVEL, Effect
from resnet_lab.study.trials import StudyFolder, trials_of
from resnet_lab.study.writing import p_value, verdict_text

TableRow: TypeAlias = dict[str, Any]

OUTCOME_COLUMNS = ("best_epoch", "epochs", "seconds", "problem", "diverged")

TRAINING_COLUMNS = ("epochs", "lr", "batch_size", "compile")

STANDING_COLUMNS = ("look", "looks", "state")

COST_COLUMNS = {
    f"{mode}_{name}": (mode, name)
    for mode in MODES
    for name in ("median_ms", "low_ms", "high_ms", "ratio", "ratio_low", "ratio_high", "images", "memory")
}


def make_tables(found: StudyFindings, folder: StudyFolder) -> dict[str, list[TableRow]]:
    """`trials`, `effects`, `arms` and `curves`.

    Raises:
        RunError: a damaged run folder.
    """
    return {
        "trials": _trials(found),
        "effects": [_effect(effect, found) for family in found.families for effect in family],
        "arms": _arms(found),
        "curves": _curves(found, folder),
    }


def _trials(found: StudyFindings) -> list[TableRow]:
    """One row per finished trial: arm, seed, levels, scores, seconds, problem, and whether it diverged."""
    levels = {arm.name: arm.levels for arm in found.study.arms}
    rows = []
    for outcome in found.outcomes.values():
        row: TableRow = {"arm": outcome.arm, "seed": outcome.seed, **levels[outcome.arm], "lr": outcome.lr}
        scores = outcome.scored(found.study.plan.last_epochs)
        row |= {name: scores.get(name) for name in NAMES}
        rows.append(row | {name: getattr(outcome, name) for name in OUTCOME_COLUMNS})
    return rows


def _effect(effect: Effect, found: StudyFindings) -> TableRow:
    low, high = effect.interval or (None, None)
    spans = {
        "simultaneous": effect.simultaneous, "new": effect.new_interval, "pool": effect.pool_interval,
    }  # fmt: skip
    ends = {
        f"{name}_{side}": None if span is None else span[number]
        for name, span in spans.items()
        for number, side in enumerate(("low", "high"))
    }
    share, share_low, share_high = effect.improvement or (None, None, None)
    return {
        "name": effect.name,
        "kind": effect.kind,
        "n": effect.n,
        "difference": effect.difference,
        "low": low,
        "high": high,
        "median": effect.median,
        "worst": effect.worst,
        "worst_seed": effect.worst_seed,
        "outliers": " ".join(map(str, effect.outliers)),
        "skew": effect.skew,
        "population": effect.population,
        **ends,
        "p_t": effect.p_t,
        "p_flip": effect.p_flip,
        "p_holm": effect.p_holm,
        "size": effect.size,
        "improvement": share,
        "improvement_low": share_low,
        "improvement_high": share_high,
        "time_ratio": found.time_ratios.get(effect.name),
        "verdict": effect.verdict,
        "p_looks": effect.p_looks,
        **{name: getattr(effect.standing, name, None) for name in STANDING_COLUMNS},
        "differs_within_margin": effect.differs_within_margin,
    }


def _arms(found: StudyFindings) -> list[TableRow]:
    rows = []
    for row in found.arms:
        low, high = row.interval or (None, None)
        values: TableRow = {
            "arm": row.arm.name,
            **row.arm.levels,
            "parameters": row.parameters,
            "macs": row.macs,
            **{name: getattr(row.arm.train, name) for name in TRAINING_COLUMNS},
            "trials": row.n,
            "stopped_after_look": row.stopped,
            "failures": len(row.problems),
            "diverged": len(row.diverged),
            "collapsed": len(row.collapsed),
            "mean": row.mean,
            "low": low,
            "high": high,
            "median": row.median,
            "worst": None if row.worst is None else row.worst[0],
            "worst_seed": None if row.worst is None else row.worst[1],
            "seconds_an_epoch": row.seconds,
            "time_ratio": row.time_ratio,
        }
        rows.append(values | {column: _cost(found, row.arm.name, *which) for column, which in COST_COLUMNS.items()})
    return rows


def _cost(found: StudyFindings, arm: str, mode: Any, name: str) -> float | None:
    cost = None if found.costs is None else found.costs.of(arm, mode)
    if cost is None:
        return None
    low, high = cost.interval_ms or (None, None)
    ratio_low, ratio_high = cost.ratio_interval or (None, None)
    ends = {"low_ms": low, "high_ms": high, "ratio_low": ratio_low, "ratio_high": ratio_high}
    value: float | None = ends[name] if name in ends else getattr(cost, name)
    return value


def _curves(found: StudyFindings, folder: StudyFolder) -> list[TableRow]:
    """One row per epoch of every trial that was started."""
    return [
        {"arm": trial.arm.name, "seed": trial.seed, **epoch}
        for trial in trials_of(found.study)
        if (run := folder.run(trial)).metrics.exists()
        for epoch in run.epochs()
    ]


def as_csv(rows: Sequence[TableRow]) -> bytes:
    """CSV with a line of column names, for people (`escaping.cell`); empty where there are no rows."""
    text = io.StringIO()
    if rows:
        columns = list(dict.fromkeys(name for row in rows for name in row))
        table = csv.writer(text, lineterminator="\n")
        table.writerow(map(cell, columns))
        table.writerows([cell(row.get(name)) for name in columns] for row in rows)
    return text.getvalue().encode()


def as_parquet(rows: Sequence[TableRow]) -> bytes:
    """The same, with types.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ConfigError(
            'Parquet is written with pyarrow, which is not installed; pip install "resnet-lab[parquet]"'
        ) from None
    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), sink)
    return sink.getvalue()


def as_latex(found: StudyFindings) -> str:
    """A table of all effects and arms, for the package booktabs."""
    metric, interval = found.study.plan.metric, latex(f"{LEVEL:.0%} interval")
    lines = [
        r"\begin{tabular}{lrrrrrrrl}",
        r"\toprule",
        rf" & $\Delta$ {latex(metric)} & {interval} & median & worst & $p_\mathrm{{adj}}$ & $n$ & time & verdict \\",
    ]
    for family in found.families:
        lines += [r"\midrule", *(_latex_row(effect, found.time_ratios) for effect in family)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex_row(effect: Effect, time_ratios: Mapping[str, float]) -> str:
    name = r" $\times$ ".join(map(latex, effect.name.split(" x ")))
    ratio = time_ratios.get(effect.name)
    time = "" if ratio is None else rf"{ratio:.2f}$\times$"
    if effect.difference is None:
        return rf"{name} & & & & & & 0 & & {verdict_text(effect)} \\"
    ends = "" if effect.interval is None else "[${:+.4f}$, ${:+.4f}$]".format(*effect.interval)
    cells: Iterable[str] = (
        name, f"${effect.difference:+.4f}$", ends, f"${effect.median:+.4f}$", f"${effect.worst:+.4f}$",
        p_value(effect.p_holm), str(effect.n), time, verdict_text(effect),
    )  # fmt: skip
    return " & ".join(cells) + r" \\"
