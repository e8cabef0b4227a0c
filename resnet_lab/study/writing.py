"""A study's findings in words, JSON and Markdown: formats, computes nothing."""

from dataclasses import asdict, replace
from typing import Any

from resnet_lab.bench.config import Mode
from resnet_lab.core.escaping import markdown
from resnet_lab.core.figure_names import figure_name
from resnet_lab.core.wording import counted, large
from resnet_lab.evaluation.metrics.headline import NOT_SHARES
from resnet_lab.study.costs import ArmCost, Costs
from resnet_lab.study.endpoint import endpoint
from resnet_lab.study.plan import Plan
from resnet_lab.study.remarks import WITHHELD, claim, happened
from resnet_lab.study.results import ArmRow, StudyFindings
from resnet_lab.study.sequential import UNLIKELY
from resnet_lab.study.statistics import FEWEST_EQUIVALENT, LEVEL, Effect


def in_words(effect: Effect, metric: str, time_ratio: float | None) -> str:
    """One sentence: the change, its difference with interval, seeds, time, verdict."""
    scale, unit = (1.0, "") if metric in NOT_SHARES else (100.0, " points")
    events = _events(effect)
    if effect.difference is None:
        return f"{effect.name}: no seed in which all its trials finished{events}: exploratory"
    interval = ""
    if effect.interval is not None:
        low, high = (scale * end for end in effect.interval)
        interval = f", {LEVEL:.0%} interval [{low:+.2f}, {high:+.2f}]"
    times = "" if time_ratio is None else f", at {time_ratio:.2f}x the training time"
    seeds = f"{effect.n} seed{'s' if effect.n != 1 else ''}"
    difference = f"{scale * effect.difference:+.2f}{unit} {figure_name(metric)}{interval}"
    within = ", differs, within the margin" if effect.differs_within_margin else ""
    reason = f"; {WITHHELD}" if effect.verdict == "withheld" else ""
    look = "" if effect.standing is None else f"; {effect.standing}"
    return f"{effect.name}: {difference}, {seeds}{events}{times}{within}{reason}{look}: {effect.verdict}"


def _events(effect: Effect) -> str:
    """Arms that failed or collapsed, in brackets with their seeds; nothing where none did."""
    noted = []
    for arm in dict.fromkeys((*effect.failed, *effect.diverged, *effect.collapsed)):
        diverged, failed, collapsed = (each.get(arm, ()) for each in (effect.diverged, effect.failed, effect.collapsed))
        otherwise = tuple(seed for seed in failed if seed not in diverged)
        events = {"diverged": diverged, "failed": otherwise, "collapsed": collapsed}
        noted += [happened(arm, what, seeds) for what, seeds in events.items() if seeds]
    return f" ({', '.join(noted)})" if noted else ""


def as_json(found: StudyFindings) -> dict[str, Any]:
    """Every number."""
    return {
        "name": found.study.plan.name,
        "metric": found.study.plan.metric,
        "epochs_scored": found.study.plan.epochs_scored,
        "endpoint": endpoint(found.study.plan),
        "changes": [asdict(change) for change in found.changes],
        "margin": found.study.plan.margin,
        "population": found.study.plan.population,
        "failures": found.study.plan.failures,
        "claim": claim(found.study),
        "baseline": found.study.arms[0].name,
        "effects": [_effect_json(effect, found) for effect in found.effects],
        "arms": [
            {
                **(_effect_json(effect, found) if effect is not None else _baseline_json(row)),
                "parameters": row.parameters,
                "macs": row.macs,
                "mean": row.mean,
                "median_score": row.median,
                "worst_score": None if row.worst is None else {"seed": row.worst[1], "score": row.worst[0]},
                "mean_interval": None if row.interval is None else list(row.interval),
                "seconds_an_epoch": row.seconds,
                "epochs": row.arm.train.epochs,
                "lr": row.arm.train.lr,
                "batch_size": row.arm.train.batch_size,
                "compile": row.arm.train.compile,
                "costs": _costs_json(found, row.arm.name),
                "trials": row.n,
                "stopped": row.stopped,
                "problems": {str(seed): text for seed, text in row.problems.items()},
                "diverged": list(row.diverged),
                "collapsed": list(row.collapsed),
            }
            for row, effect in zip(found.arms, [None, *found.families[-1]], strict=True)
        ],
        "trials": [asdict(outcome) for outcome in found.outcomes.values()],
        "machine": None if found.costs is None else dict(found.costs.machine),
        "missing": found.missing,
        "remarks": found.remarks,
    }


def _baseline_json(row: ArmRow) -> dict[str, Any]:
    """JSON of the baseline, with the keys of every arm, though there is nothing to compare it with."""
    nothing = {"difference": 0.0, "interval": None, "p_holm": None}
    return {"name": row.arm.name, **nothing, "verdict": "baseline", "n": row.n}


def _costs_json(found: StudyFindings, arm: str) -> dict[str, Any]:
    costs = {} if found.costs is None else found.costs.arms.get(arm, {})
    return {mode: {**asdict(cost), "images_a_second": cost.images_a_second} for mode, cost in costs.items()}


def _effect_json(effect: Effect, found: StudyFindings) -> dict[str, Any]:
    values = {**asdict(effect), "n": effect.n, "time_ratio": found.time_ratios.get(effect.name)}
    values["differs_within_margin"] = effect.differs_within_margin
    values |= {name: getattr(effect, name) for name in ("median", "worst", "outliers", "skew", "is_skewed")}
    for what in ("diverged", "failed", "collapsed"):
        values[what] = {arm: list(seeds) for arm, seeds in values[what].items()}
    values["in_words"] = in_words(effect, found.study.plan.metric, values["time_ratio"])
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


EFFECT_COLUMNS = (
    "", "difference", "95% interval", "median", "worst seed", "outliers", "simultaneous", "for new images",
    "for these images", "p (t)", "p (flip)", "p (adjusted)", "d", "better in", "verdict",
)  # fmt: skip


def as_markdown(found: StudyFindings) -> str:
    """Verdicts in words, then tables of effects, arms and failures, and a paragraph on method."""
    plan = found.study.plan
    lines = [f"# {markdown(plan.name)}", ""]
    for effect in found.effects or found.families[-1]:
        diverged, failed, collapsed = (
            {markdown(arm): seeds for arm, seeds in each.items()}
            for each in (effect.diverged, effect.failed, effect.collapsed)
        )
        named = replace(effect, name=markdown(effect.name), diverged=diverged, failed=failed, collapsed=collapsed)
        lines.append(f"- {in_words(named, plan.metric, found.time_ratios.get(effect.name))}")
    for family in found.families:
        title = "Effects" if family is found.families[0] and found.effects else "Arms against the baseline"
        lines += ["", f"## {title}", "", *_head(EFFECT_COLUMNS), *(_markdown_row(effect) for effect in family)]
    columns = (
        "arm", "parameters", "MACs", plan.metric, "95% interval", "median", "worst seed", "s per epoch", "time",
        "trials",
    )  # fmt: skip
    lines += ["", "## Arms", "", *_head(columns)]
    for row in found.arms:
        cells = (
            markdown(row.arm.name), f"{row.parameters:,}", large(row.macs), _number(row.mean),
            _interval(row.interval), _number(row.median),
            "" if row.worst is None else "{:.4f} ({})".format(*row.worst), _number(row.seconds, 2),
            "" if row.time_ratio is None else f"{row.time_ratio:.2f}x", trials_text(row),
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    if found.costs is not None:
        lines += ["", *_costs_markdown(found, found.costs)]
    for row in found.arms:
        lines += [
            f"\n{markdown(row.arm.name)}, seed {seed} failed: {markdown(text)}" for seed, text in row.problems.items()
        ]
    lines += ["", "## Method", "", method(found), "", *(f"- {markdown(remark)}" for remark in found.remarks)]
    return "\n".join(lines) + "\n"


def _costs_markdown(found: StudyFindings, costs: Costs) -> list[str]:
    """A table of measured times with their ratios to the baseline's, and what they were measured on."""
    modes: dict[Mode, str] = {"latency": "one image", "infer": "a batch", "train": "a training step"}
    lines = list(_head(("arm", *(f"{what} (ms) | ratio" for what in modes.values()), "images/s", "training memory")))
    lines[1] = "|" + "---|" * (2 * len(modes) + 3)
    for row in found.arms:
        cells = [markdown(row.arm.name)]
        for mode in modes:
            cost = costs.of(row.arm.name, mode)
            cells += ["", ""] if cost is None else [f"{cost.median_ms:.2f}", ratio_text(cost)]
        infer, train = costs.of(row.arm.name, "infer"), costs.of(row.arm.name, "train")
        cells.append("" if infer is None else f"{infer.images_a_second:,.0f}")
        cells.append("" if train is None or train.memory is None else f"{train.memory / 2**20:,.0f} MiB")
        lines.append(f"| {' | '.join(cells)} |")
    machine, threads = costs.machine, counted(costs.machine["threads"], "thread")
    return [
        *lines,
        "",
        markdown(f"Interleaved rounds on {machine['name']}, {threads}, torch {machine['torch']}."),
        *(f"- {markdown(remark)}" for remark in costs.remarks),
    ]


def ratio_text(cost: ArmCost) -> str:
    """Ratio of its time to the baseline's, with interval."""
    if cost.ratio_interval is None:
        return f"{cost.ratio:.2f}"
    return "{:.2f} ({:.2f} to {:.2f})".format(cost.ratio, *cost.ratio_interval)


def _head(columns: tuple[str, ...]) -> tuple[str, str]:
    return f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)


def method(found: StudyFindings) -> str:
    """A paragraph for a paper."""
    plan, arms = found.study.plan, found.study.arms
    tested = sum(len(family) for family in found.families)
    tuning = (
        f" The learning rate of each arm is the best of {', '.join(f'{lr:g}' for lr in plan.tune_lr)} on the "
        "validation part at the first seed."
        if plan.tune_lr
        else ""
    )
    margin = (
        ""
        if plan.margin is None
        else f" With {FEWEST_EQUIVALENT} blocks or more, differences whose 95% interval, which is not adjusted for the "
        f"number of tests, lies within {plan.margin:g} count as equivalent."
    )
    several = len(found.families) > 1
    procedure = (
        "by Bonferroni's procedure for effects of factors, and by Holm's for arms with the error that those leave "
        "unused (Dmitrienko, Offen and Westfall 2003)"
        if several
        else "by Holm's procedure"
    )
    about = (
        " The variance of a mean has the covariance that seeds have by images that they both tested, so that intervals "
        "are of the difference on new images."
        if plan.population == "new"
        else " Intervals are of the difference on these images, and not of new ones."
    )
    return (
        f"{len(arms)} arms were trained in {'up to ' if plan.looks else ''}{plan.seeds} blocks; within a block all "
        "arms share the split, the order and augmentation of images, and the initial weights of the parameters that "
        f"they have in common. Of each run {_tested(plan)}.{tuning} Scores ({plan.metric}) were compared by paired "
        "differences within blocks, with Student's t interval and a paired t test; p-values were adjusted "
        f"{procedure}, {tested} tests in all; simultaneous intervals are Bonferroni's within each family."
        f"{_looks_in_method(plan)}{about}{_failures_in_method(found)} Exact sign-flip permutation tests are reported "
        f"too.{margin}"
    )


def _tested(plan: Plan) -> str:
    if not plan.last_epochs:
        return "the epoch with the highest validation macro-averaged accuracy was tested once"
    if plan.last_epochs == 1:
        return "the last epoch was tested, whatever its validation accuracy"
    return f"the last {plan.last_epochs} epochs were tested, and their scores averaged"


def _markdown_row(effect: Effect) -> str:
    better = "" if effect.improvement is None else "{:.0%} ({:.0%} to {:.0%})".format(*effect.improvement)
    cells = [
        markdown(effect.name), _number(effect.difference), _interval(effect.interval), _number(effect.median),
        "" if effect.worst is None else f"{effect.worst:.4f} ({effect.worst_seed})",
        ", ".join(map(str, effect.outliers)), _interval(effect.simultaneous),
        _interval(effect.new_interval), _interval(effect.pool_interval),
        p_value(effect.p_t), p_value(effect.p_flip), p_value(effect.p_holm),
        "" if effect.size is None else f"{effect.size:.2f}", better, verdict_text(effect),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def verdict_text(effect: Effect) -> str:
    """Verdict of an effect in a table."""
    within = " (differs, within the margin)" if effect.differs_within_margin else ""
    if effect.standing is None:
        return f"{effect.verdict}{within}"
    return f"{effect.verdict}{'' if effect.standing.state == 'decided' else ','} {effect.standing}{within}"


def trials_text(row: ArmRow) -> str:
    """Number of an arm's trials, and why it has no more."""
    return f"{row.n}" if row.stopped is None else f"{row.n}, stopped after look {row.stopped}"


def p_value(value: float | None) -> str:
    """p to three digits; nothing where there is none."""
    return "" if value is None else f"{value:.3g}"


def _looks_in_method(plan: Plan) -> str:
    if plan.more_seeds:
        return (
            " The number of seeds was open: p-values and intervals are of the anytime-valid t test of Wang and Ramdas "
            "(arXiv:2310.03722; right Haar mixture over the scale, standard normal over the standardised mean)."
        )
    if not plan.looks:
        return ""
    return (
        f" The study was sequential, with looks after {', '.join(map(str, plan.looks))} blocks that were fixed before "
        "the first trial. The t tests' p-values are those of the smallest p so far, scaled by the share of blocks, "
        "over all looks, and intervals are repeated ones (Jennison and Turnbull 1999), at nominal levels proportional "
        "to the number of blocks. Effects are estimated at the look that decided them; those of which no verdict by "
        f"the last look was likely (predictive probability below {UNLIKELY:.0%}) were stopped as futile, and arms that "
        "no open effect needed were not trained any further."
    )


def _failures_in_method(found: StudyFindings) -> str:
    if not any(row.problems for row in found.arms):
        return ""
    if found.study.plan.failures == "worst":
        return " Trials that failed count as a score of 0, as was declared before the first."
    return " Seeds at which an arm failed are left out, and arms that failed unequally often are not tested."


def _number(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _interval(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"
