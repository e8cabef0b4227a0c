"""Figures of docs/study.md, computed from the files in benchmarks/results/ and from the program."""

from typing import Any

from tests.figures.pages import Section, percent, percents, stored

PARTS = ("random", "fixed", "folds")
LOOKS = (4, 6, 8, 10, 14, 20)


def cases(name: str, **wanted: Any) -> list[dict[str, Any]]:
    found = stored(f"2026-11-30-cpu-simulated-{name}")["cases"]
    return [case for case in found if all(case[key] == value for key, value in wanted.items())]


def test_target_population() -> None:
    section = Section("study", "Target population")
    section.tables.pop(0)  # formulas
    factorial = cases("verdicts-folds", design="2 x 2 x 2")

    def three(seeds: int, rho: float, name: str) -> str:
        (row,) = (
            [
                case[name]
                for part in PARTS
                for case in factorial
                if (case["seeds"], case["rho"], case["part"]) == (seeds, rho, part)
            ],
        )
        return ", ".join(map(percent, row))

    names = ("false_verdicts", "false_verdicts_pool", "coverage")
    section.table(
        [seeds, f"{rho:.2f}", *(three(seeds, rho, name) for name in names)]
        for seeds in (6, 10, 20)
        for rho in (0.0, 0.04, 0.1)
    )
    blocks = cases("blocks")
    rows = []
    for seeds in (6, 10, 20):
        random, folds = (
            {case["blocks"]: case for case in blocks if case["seeds"] == seeds}[name] for name in ("random", "folds")
        )
        rows.append(
            [
                seeds, f"{random['rho']:.2f}, {folds['rho']:.2f}", percent(random["false_verdicts_pool"]),
                percent(random["false_verdicts_new"]), percent(folds["false_verdicts_new"]),
                percent(random["coverage_new"]), percent(folds["coverage_new"]),
            ]
        )  # fmt: skip
    section.table(rows)
    section.tables.pop(0)  # of the long check null-studies, whose studies were not kept
    every = cases("verdicts-folds")
    others = [case for case in every if case["design"] != "2 x 2 x 2"]
    named = cases("verdicts-designs", kind="global", design="8 named arms")
    partial = cases("verdicts", kind="partial") + cases("verdicts-designs", kind="partial")
    section.says(
        f"of which {len(others)} such cases were simulated, have false verdicts in {percents(case['false_verdicts'] for case in others)}, "
        f"and intervals that hold in {percents(case['coverage'] for case in others)}",
        f"Of all {len(every)} the largest is {percent(max(case['false_verdicts'] for case in every))}",
        f"the {len(named)} such cases have false verdicts in {percents(case['false_verdicts'] for case in named)}, and "
        f"intervals that hold in {percents(case['coverage'] for case in named)}",
        f"at most {percent(max(case['false_verdicts'] for case in partial))} of studies have a false verdict, and "
        f"intervals hold the truth in {percents(case['coverage'] for case in partial)}: "
        f"{len(cases('verdicts', kind='partial'))} cases of 2 x 2 x 2",
    )


def test_looks() -> None:
    section = Section("study", "Looks: sequential studies")
    section.tables.pop(0)  # thresholds, which tests/study hold against simulation
    rows: list[list[object]] = []
    for case in (case for case in cases("looks") if case["kind"] in ("pair", "equivalence")):
        difference, margin = case["means"][1], case["margin"]
        beyond, held = [], []
        for which in ("sequential", "fixed"):
            found = case[which]
            null, same = difference == 0, margin is not None and difference < margin
            share = found["false_verdicts"] if null else found["found"]
            beyond.append(f"{percent(share, 0 if share == 1 else 1)}{' (false)' if null else ''}")
            held.append("" if margin is None else f"{percent(found['equivalent'])}{'' if same else ' (false)'}")
        rows.append(
            [f"{difference:g}", "" if margin is None else f"{margin:g}", *beyond, *held, f"{case['trainings']:.2f}"]
        )
    section.table([[a, b, c, d, e, f, g] for a, b, c, d, e, f, g in rows])
    section.table(
        [
            None,
            None,
            *(
                percent(case[which]["false_verdicts"], 0 if case[which]["false_verdicts"] == 0 else 1)
                for which in ("sequential", "fixed")
            ),
            *(
                "" if case[which]["found"] is None else percent(case[which]["found"])
                for which in ("sequential", "fixed")
            ),
            f"{case['trainings']:.2f}",
        ]
        for kind in ("null", "arms", "images")
        for case in cases("looks-designs", kind=kind)
    )
    groups = (
        cases("looks-partial", kind="null"), cases("looks-partial", kind="partial", design="2 x 2 x 2"),
        cases("looks-partial", kind="partial", design="half fraction"), cases("looks-partial", design="1 x 5"),
        cases("looks-partial", design="8 named arms"),
    )  # fmt: skip

    def range_of(group: list[dict[str, Any]], which: str) -> str:
        shares = sorted(case[which]["false_verdicts"] for case in group)
        low, high = percent(shares[0], 0 if shares[0] == 0 else 1), percent(shares[-1])
        return high if low == high else f"{low[:-1]} to {high}"

    section.table(
        [
            None, len(group), range_of(group, "sequential"), range_of(group, "fixed"),
            f"{min(case['trainings'] for case in group):.2f} to {max(case['trainings'] for case in group):.2f}",
        ]
        for group in groups
    )  # fmt: skip


def test_failures_collapses_and_skew() -> None:
    section = Section("study", "Failures, collapses and skew")
    section.tables.pop(0)  # words
    pairs, factorial = cases("trouble", design="2 named arms"), cases("trouble", design="2 x 2 x 2")

    def row(trouble: object, *, withheld: bool = False) -> list[object]:
        found = [case for case in pairs if case["trouble"] == trouble]
        more = [f" ({percent(case['withheld'], 0)})" if withheld else "" for case in found]
        return [None, *(percent(case["false_verdicts"]) + text for case, text in zip(found, more, strict=True))]

    section.table(
        [
            row("bad"), row("good"), row(0.02), row(0.05), row(0.1), row("left out"),
            row("withhold", withheld=True), row("worst"),
        ]
    )  # fmt: skip
    told = max(case["false_and_told"] for case in pairs)

    def false(kind: str, trouble: str | None = None) -> list[float]:
        return [
            case["false_verdicts"] for case in factorial if case["kind"] == kind and trouble in (None, case["trouble"])
        ]

    section.says(
        f"at most {percent(told)} of these studies",
        f"skewed luck makes {percents(false('skewed'))} false",
        f"collapses {percents(false('collapses'))}",
        f"failures {percents(false('failures', 'left out'))} left out, {percent(max(false('failures', 'withhold')))} at most withheld, "
        f"and {percents(false('failures', 'worst'))} with a score of 0",
        f"({percent(1 - 0.05 ** (1 / 6), 0)} for 6)",
        f"{1000:,} studies each",
    )
