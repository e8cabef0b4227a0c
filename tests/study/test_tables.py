import builtins
import csv
import html
import io
import re
from typing import Any

import pandas
import pytest
from markdown_it import MarkdownIt

from resnet_lab.core.errors import ConfigError
from resnet_lab.network.plugins import default_registry
from resnet_lab.study.outcome import Outcome
from resnet_lab.study.results import StudyFindings, findings
from resnet_lab.study.tables import as_csv, as_latex, as_parquet, make_tables
from resnet_lab.study.trials import StudyFolder, Trial
from resnet_lab.study.writing import as_markdown
from tests.study.fabricated import by_chance, design
from tests.study.fabricated import found as found_of
from tests.study.small import study

SCORES = {("none", 0): 0.5, ("none", 1): 0.6, ("none", 2): 0.7, ("eca", 0): 0.6, ("eca", 1): 0.7, ("eca", 2): 0.9}
VERSIONS = {"torch": "2.11"}


@pytest.fixture
def found(tmp_path: Any) -> tuple[StudyFindings, StudyFolder]:
    """Findings of scores that were not measured: 2 arms, 3 seeds."""
    chosen, folder = study(seeds=3), StudyFolder(tmp_path)
    folder.note(chosen)
    for arm in chosen.arms:
        for seed in chosen.seeds:
            trial = Trial(arm, seed)
            scores = {"macro_accuracy": SCORES[arm.name, seed], "log_loss": 1.0}
            seconds = 10.0 if arm.name == "none" else 12.5
            folder.keep(
                trial,
                Outcome(trial.name, arm.name, seed, None, scores, (0.5, 1.0), 1, 1, seconds, trial.rate, VERSIONS),
            )
    return findings(chosen, folder, default_registry()), folder


def test_rows_by_hand(found: tuple[StudyFindings, StudyFolder]) -> None:
    rows = make_tables(*found)
    effect, arm = rows["effects"]
    assert effect["name"] == "attn eca"
    assert (effect["n"], effect["difference"]) == (3, pytest.approx(0.4 / 3))
    # differences 0.1, 0.1, 0.2: standard deviation 0.1 / sqrt(3); t(0.975, 2) = 4.302653
    reach = 4.302653 * (0.1 / 3**0.5) / 3**0.5
    assert (effect["low"], effect["high"]) == pytest.approx((0.4 / 3 - reach, 0.4 / 3 + reach), rel=1e-6)
    assert effect["time_ratio"] == pytest.approx(1.25)
    assert arm["difference"] == pytest.approx(effect["difference"])
    baseline, changed = rows["arms"]
    assert (baseline["mean"], changed["mean"]) == pytest.approx((0.6, 2.2 / 3))
    assert (baseline["train_median_ms"], baseline["failures"]) == (None, 0)
    assert [(row["arm"], row["seed"]) for row in rows["trials"]] == [
        ("none", 0), ("eca", 0), ("none", 1), ("eca", 1), ("none", 2), ("eca", 2),
    ]  # fmt: skip
    assert rows["curves"] == []


def test_pandas_reads_both(found: tuple[StudyFindings, StudyFolder]) -> None:
    for name, rows in make_tables(*found).items():
        if name == "curves":
            assert as_csv(rows) == b""
            continue
        from_csv = pandas.read_csv(io.BytesIO(as_csv(rows)), keep_default_na=False, na_values=[""])
        from_parquet = pandas.read_parquet(io.BytesIO(as_parquet(rows)))
        assert list(from_csv.columns) == list(from_parquet.columns) == list(rows[0])
        first = next(iter(rows[0]))
        assert from_parquet[first].tolist() == from_csv[first].tolist()
    scores = pandas.read_parquet(io.BytesIO(as_parquet(make_tables(*found)["trials"])))
    assert scores.groupby("arm")["macro_accuracy"].mean()["none"] == pytest.approx(0.6)


def test_columns_of_all_rows() -> None:
    (first, second) = csv.DictReader(io.StringIO(as_csv([{"a": 1}, {"a": 2, "b": "x,y"}]).decode()))
    assert (first, second) == ({"a": "1", "b": ""}, {"a": "2", "b": "x,y"})


def test_parquet_needs_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    own = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return own(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ConfigError, match=r'Parquet is written with pyarrow, which is not installed; pip install "res'):
        as_parquet([{"a": 1}])


def test_latex(found: tuple[StudyFindings, StudyFolder]) -> None:
    lines = as_latex(found[0]).splitlines()
    assert lines[2] == (
        r" & $\Delta$ macro\_accuracy & 95\% interval & median & worst & $p_\mathrm{adj}$ & $n$ & time & verdict \\"
    )
    assert lines[4] == (
        r"attn eca & $+0.1333$ & [$-0.0101$, $+0.2768$] & $+0.1000$ & $+0.1000$ & "
        r"0.0572 & 3 & 1.25$\times$ & undecided \\"
    )
    assert all(line.count(" & ") == 8 for line in lines if line.endswith(r"\\"))
    assert (lines[0], lines[-1]) == (r"\begin{tabular}{lrrrrrrrl}", r"\end{tabular}")


def test_markdown_tables_are_whole(found: tuple[StudyFindings, StudyFolder]) -> None:
    blocks = [block for block in as_markdown(found[0]).split("\n\n") if block.startswith("|")]
    assert len(blocks) == 3
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1


NASTY = "[x](y) <b>|`*_# =1+1"


def test_names_stay_names(tmp_path: Any) -> None:
    """Markdown is read by another library; LaTeX and CSV by hand."""
    chosen = design(arms={"plain": {}, NASTY: {"attn": "eca"}, "=1+1": {"act": "gelu"}, "-2": {"act": "silu"}})
    judged, folder = found_of(
        tmp_path, chosen, by_chance({arm.name: 0.7 for arm in chosen.arms}), failed={(NASTY, 0): f"why\n{NASTY}"}
    )
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(as_markdown(judged))
    assert set(re.findall(r"</?([a-z0-9]+)", page)) == {
        "h1", "h2", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td",
    }  # fmt: skip
    assert html.unescape(page).count(f"<td>{NASTY}</td>") == 2
    assert f"{NASTY}, seed 0 failed: why\\n{NASTY}" in html.unescape(page)
    rows = [line for line in as_latex(judged).splitlines() if "=1+1" in line]
    assert rows[0].startswith(r"{[}x{]}(y) \textless{}b\textgreater{}\textbar{}`{*}\_\# =1+1 & $")
    rows = list(csv.DictReader(io.StringIO(as_csv(make_tables(judged, folder)["arms"]).decode())))
    assert [row["arm"] for row in rows] == ["plain", NASTY, "'=1+1", "-2"]
