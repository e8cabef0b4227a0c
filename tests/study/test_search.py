import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from resnet_lab.core.errors import ConfigError, DataError
from resnet_lab.network.plugins import load
from resnet_lab.study import search as searching
from resnet_lab.study import trials
from resnet_lab.study.design import read_study
from resnet_lab.study.outcome import Outcome
from resnet_lab.study.search import Found, Tried, noted, search
from resnet_lab.study.space import Space, space_from
from resnet_lab.study.trials import StudyFolder, Trial
from resnet_lab.train.interruption import Interrupted
from resnet_lab.train.progress import TrainingWatcher
from resnet_lab.train.tally import DivergedError

optuna = pytest.importorskip("optuna", reason="needs the package optuna")
REGISTRY = load(only=[])
LR = {"train.lr": {"low": 1e-3, "high": 1.0, "log": True}}


def space(**study: Any) -> Space:
    study = {"factors": {"act": ["relu"], "attn": ["none", "eca", "se"]}, "search": LR, **study}
    model = {"model": "resnet20", "input_size": 8}
    train = {"compile": "off"}
    return space_from({"study": study, "model": model, "data": {"source": "digits"}, "train": train}, "s.toml")


class Watching:
    def __init__(self) -> None:
        self.rows: list[Tried] = []
        self.places: list[tuple[int, int]] = []

    def tried(self, row: Tried, done: int, total: int) -> None:
        self.rows.append(row)
        self.places.append((done, total))

    def training(self, values: Any) -> TrainingWatcher:
        return TrainingWatcher()


def merit(trial: Trial) -> float:
    """The best is `se` at a rate of 0.03; the test part would say the contrary."""
    attention = {"none": 0.5, "eca": 0.6, "se": 0.7}[str(trial.arm.spec.stages[0].block.attn or "none")]
    return attention - abs(trial.arm.train.lr - 0.03)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what is trained, which takes no time."""
    names: list[str] = []

    def train(study: Any, trial: Trial, *_: Any) -> None:
        names.append(trial.name)
        if trial.arm.train.lr > 0.3:
            raise DivergedError("the loss is no longer a number")

    def finished(trial: Trial, folder: StudyFolder) -> Outcome:
        scores = {"macro_accuracy": 1 - merit(trial)}
        return Outcome(trial.name, "arm", trial.seed, None, scores, (merit(trial), 1.0), 1, 1, 2.0, trial.rate, {})

    monkeypatch.setattr(trials, "_train", train)
    monkeypatch.setattr(trials, "_finished", finished)
    return names


def run(folder: Path, tries: int, where: Space | None = None) -> tuple[Found, Watching]:
    watcher = Watching()
    return search(where or space(), folder, tries, REGISTRY, watcher), watcher


@pytest.mark.slow
def test_the_validation_part_decides(tmp_path: Path, trained: list[str]) -> None:
    found, watcher = run(tmp_path, 14)
    assert watcher.places == [(done, 14) for done in range(15)]
    assert (watcher.rows[0].number, watcher.rows[0].values) == (None, {"act": "relu", "attn": "none"})
    assert found.baseline == watcher.rows[0]
    assert sorted(row.number for row in found.tried) == list(range(14))
    kept = [row.validation for row in found.tried if row.validation is not None]
    assert kept == sorted(kept, reverse=True)
    best = found.tried[0]
    assert best.values["attn"] == "se"
    assert best.validation == pytest.approx(0.7 - abs(best.values["train.lr"] - 0.03))  # type: ignore[operator]
    assert all(1e-3 <= row.values["train.lr"] <= 1.0 for row in found.tried)  # type: ignore[operator]
    assert set(found.importances) == {"attn", "train.lr"}
    assert sum(found.importances.values()) == pytest.approx(1)


@pytest.mark.slow
def test_failed_tries_are_pruned_and_reported(tmp_path: Path, trained: list[str]) -> None:
    """Divergence, and a combination that cannot be built, do not end the search."""
    grouped = space(factors={"norm": ["batch", "group(groups=32)"], "model": ["resnet20", "resnet18"]}, search=LR)
    found, _ = run(tmp_path, 10, grouped)
    problems = {row.problem for row in found.tried if row.problem is not None}
    assert "the loss is no longer a number" in problems
    assert any("32" in problem for problem in problems if "loss" not in problem)
    failed = [row.problem is not None for row in found.tried]
    assert failed == sorted(failed)
    assert not all(failed)
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path}/optuna.db")
    pruned = {trial.number for trial in study.trials if trial.state is optuna.trial.TrialState.PRUNED}
    assert pruned == {row.number for row in found.tried if row.problem is not None}
    study._storage._backend.engine.dispose()


def test_equal_experiments_are_trained_once(tmp_path: Path, trained: list[str]) -> None:
    found, _ = run(tmp_path, 5, space(search={}))
    assert len(found.tried) == 5
    assert len(trained) == len(set(trained)) <= 3
    again, _ = run(tmp_path, 5, space(search={}))
    assert again.tried == found.tried


@pytest.mark.slow
def test_a_stopped_search_resumes_with_the_same_tries(
    tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every fourth training is stopped by SIGTERM: the same tries, each begun anew once and lost never."""
    quiet, _ = run(tmp_path / "quiet", 9)
    undisturbed = trained.copy()
    trained.clear()
    train, calls = trials._train, []

    def stopping(*arguments: Any) -> None:
        calls.append(arguments[1].name)
        if len(calls) % 4 == 0:
            raise Interrupted(15)
        train(*arguments)

    monkeypatch.setattr(trials, "_train", stopping)
    stops = 0
    while True:
        try:
            found, _ = run(tmp_path / "stopped", 9)
            break
        except Interrupted:
            stops += 1
    assert stops >= 2
    assert trained == undisturbed
    assert found.tried == quiet.tried


@pytest.mark.slow
def test_a_started_try_without_values_is_given_up(tmp_path: Path, trained: list[str]) -> None:
    run(tmp_path, 2)
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/optuna.db")
    optuna.load_study(study_name="search", storage=storage).ask()
    storage.engine.dispose()
    found, _ = run(tmp_path, 4)
    assert [row.number for row in sorted(found.tried, key=lambda row: row.number or 0)] == [0, 1, 3, 4]


def test_the_best_is_to_be_confirmed(tmp_path: Path, trained: list[str]) -> None:
    """The confirmation is a study that can be read, of the same experiments, at seeds that the search did not see."""
    where = space(seeds=4, first_seed=7, margin=0.01, metric="accuracy", name='a "b"', budget={"epochs": 2})
    found, _ = run(tmp_path, 6, where)
    assert found.confirm == tmp_path / "confirm.toml"
    study = read_study(found.confirm)
    assert [arm.name for arm in study.arms] == ["baseline", "found"]
    assert [arm.hash for arm in study.arms] == [
        where.arm(found.baseline.values).hash,
        where.arm(found.tried[0].values).hash,
    ]
    assert list(study.seeds) == [8, 9, 10, 11]
    assert (study.plan.metric, study.plan.margin, study.plan.name) == ("accuracy", 0.01, 'a "b"-confirm')
    assert study.plan.budget.epochs == 2
    assert "chosen on the validation part at one seed" in found.confirm.read_text()


def test_nothing_better_than_the_baseline(tmp_path: Path, trained: list[str]) -> None:
    found, _ = run(tmp_path, 3, space(factors={"attn": ["se", "eca"]}, search={}))
    assert found.confirm is None
    assert not (tmp_path / "confirm.toml").exists()


def test_what_would_fail_in_every_try_ends_it(
    tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(error: Exception) -> Callable[..., None]:
        def train(*_: Any) -> None:
            raise error

        return train

    monkeypatch.setattr(trials, "_train", failing(DataError("digits are gone")))
    with pytest.raises(DataError, match="digits are gone"):
        run(tmp_path, 2)
    monkeypatch.setattr(trials, "_train", failing(DivergedError("the loss is no longer a number")))
    with pytest.raises(ConfigError) as failure:
        run(tmp_path, 2)
    assert str(failure.value) == "s.toml: the baseline failed: the loss is no longer a number"


def test_folders(tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError) as failure:
        noted(tmp_path)
    assert str(failure.value) == (
        f"{tmp_path} is not a search folder: it holds no search.json; name one that `resnet-lab study search` made"
    )
    run(tmp_path, 1)
    assert noted(tmp_path).tables == json.loads(json.dumps(space().tables))
    with pytest.raises(ConfigError) as failure:
        run(tmp_path, 1, space(search={}))
    assert str(failure.value) == f"{tmp_path} has a search of another space; choose another folder with --out"
    with FileLock(tmp_path / "search.lock"), pytest.raises(ConfigError) as failure:
        run(tmp_path, 2)
    assert str(failure.value) == (f"{tmp_path}: another process searches in this folder; wait for it, or stop it first")
    monkeypatch.setattr(searching, "carry_out", lambda *_: None)
    with pytest.raises(ConfigError, match=r"another process works on arm-\w+-seed0; stop it first$"):
        run(tmp_path, 2)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError) as failure:
        run(tmp_path, 2)
    assert str(failure.value) == 'a search needs the package optuna: pip install "resnet-lab[optuna]"'


def test_tries_are_bounded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as failure:
        search(space(), tmp_path / "found", 10**9, REGISTRY, Watching())
    assert str(failure.value) == "1,000,000,000 tries, and a search has at most 100,000; give fewer with --trials"
    assert not (tmp_path / "found").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 10**6, "nested deeper than 64 lists and tables"),
        ("{}", "tables: field required"),
        ('{"tables": []}', "tables: input should be a table, got []"),
        ('{"tables": {}, "plugin_files": ["a.py"]}', "plugin_files.0: input should be a table, got 'a.py'"),
        ('{"tables": {}, "plugin_files": [{"source": "0"}]}', "plugin_files.0.path: field required"),
    ],
)  # fmt: skip
def test_a_damaged_record_of_a_search(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "search.json").write_text(text)
    for reader in (noted, searching.plugin_files):
        with pytest.raises(ConfigError) as failure:
            reader(tmp_path)
        assert str(failure.value) == f"{tmp_path}/search.json: damaged: {problem}; restore the file"
    (tmp_path / "search.json").write_text('{"format": 2}')
    with pytest.raises(ConfigError) as failure:
        noted(tmp_path)
    assert str(failure.value) == (
        f"{tmp_path}/search.json: format 2 is newer than this resnet-lab reads (1); upgrade resnet-lab"
    )
