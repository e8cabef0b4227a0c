"""`study report --watch`, whose waits are replaced by what happens meanwhile."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from resnet_lab.cli import study_watch
from resnet_lab.core.locks import held
from resnet_lab.study.design import Study
from resnet_lab.study.trials import StudyFolder, trials_of
from tests.study.fabricated import by_chance, design, fabricate, fabricate_trial

RIGHTS = by_chance({"plain": 0.6, "eca": 0.7})
PAGE = Path("study/report.html")
WATCH = ("study", "report", "study", "--watch")


@pytest.fixture
def study() -> Study:
    return design(arms={"plain": {}, "eca": {"attn": "eca"}}, seeds=3)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterator[None]], list[float]]:
    """Has every wait run the next part of a generator; gives the seconds waited."""

    def happening(events: Iterator[None]) -> list[float]:
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            next(events)

        monkeypatch.setattr(study_watch, "sleep", sleep)
        return waits

    return happening


def finish(folder: StudyFolder, study: Study, arm: str, seed: int, problem: str | None = None) -> None:
    (trial,) = [each for each in trials_of(study) if (each.arm.name, each.seed) == (arm, seed)]
    fabricate_trial(folder, trial, RIGHTS, problem=problem)


def test_an_unfinished_study_that_finishes(cli: Callable, study: Study, meanwhile: Callable) -> None:
    folder = fabricate(Path("study"), study, RIGHTS, waiting=(("plain", 2), ("eca", 2)))
    pages: list[str] = []

    def events() -> Iterator[None]:
        pages.append(PAGE.read_text())
        written = PAGE.stat().st_ino
        yield
        assert PAGE.stat().st_ino == written, "nothing has changed"
        finish(folder, study, "plain", 2)
        yield
        pages.append(PAGE.read_text())
        finish(folder, study, "eca", 2)
        yield
        pages.append(PAGE.read_text())
        with held(folder.bench.with_suffix(".lock")):
            yield
            yield
        yield

    waits = meanwhile(events())
    code, out, err = cli(*WATCH, "--every", 7, "--markdown", "report.md")
    assert code == 0
    assert waits == [7] * 6, "until no costs are being measured any more"
    for page, done in zip(pages, (4, 5, 6), strict=True):
        assert f"<b>{done} of 6 trials done.</b>" in page
        assert 'id="reload" data-seconds="7" checked> This page reloads every 7 seconds.' in page
        assert f"{done} of 6 trials done: study/report.html\n" in err
    assert 'id="reload"' not in PAGE.read_text()
    assert "not finished" not in PAGE.read_text()
    assert "page: study/report.html" in out
    assert "3 seeds" in Path("report.md").read_text()


def test_a_study_without_a_result_is_waited_for(cli: Callable, study: Study, meanwhile: Callable) -> None:
    folder = StudyFolder(Path("study"))
    folder.note(study)

    def events() -> Iterator[None]:
        assert not PAGE.exists()
        finish(folder, study, "plain", 0, "out of memory")
        yield
        assert not PAGE.exists()
        for trial in trials_of(study)[1:]:
            fabricate_trial(folder, trial, RIGHTS)
        yield
        yield

    meanwhile(events())
    code, out, err = cli(*WATCH, "--json")
    assert code == 0
    assert err == (
        "resnet-lab: waiting for a first result: study: no trial has finished; run the study first: "
        "`resnet-lab study run`\nresnet-lab: 6 of 6 trials done: study/report.html\n"
    )
    assert json.loads(out)["page"] == str(PAGE)
    assert PAGE.exists()


def test_ctrl_c_leaves_a_page_that_does_not_reload(cli: Callable, study: Study, meanwhile: Callable) -> None:
    fabricate(Path("study"), study, RIGHTS, waiting=(("eca", 2),))

    def events() -> Iterator[None]:
        assert 'id="reload" data-seconds="15"' in PAGE.read_text()
        signal.raise_signal(signal.SIGINT)
        yield

    meanwhile(events())
    code, out, err = cli(*WATCH, "--json")
    assert (code, out) == (130, "")
    assert err.endswith("resnet-lab: stopped\n")
    assert 'id="reload"' not in PAGE.read_text()
    assert "1 of 6 trials is missing" in PAGE.read_text()


def test_a_study_of_which_every_trial_fails_ends(cli: Callable, study: Study, meanwhile: Callable) -> None:
    folder = StudyFolder(Path("study"))
    folder.note(study)

    def events() -> Iterator[None]:
        for trial in trials_of(study):
            fabricate_trial(folder, trial, RIGHTS, problem="out of memory")
        yield

    meanwhile(events())
    code, _, err = cli(*WATCH)
    assert code == 2
    assert err.endswith("study: all of the 6 finished trials failed, the first with: out of memory\n")
    assert not PAGE.exists()


def test_every_is_of_watch(cli: Callable) -> None:
    code, _, err = cli("study", "report", "study", "--every", 5)
    assert code == 2
    assert err == ("resnet-lab: --every is how often --watch looks at the trials; give --watch too, or leave it out\n")


@pytest.mark.parametrize("watch", [(), ("--watch",)])
def test_no_study_is_refused_and_not_waited_for(cli: Callable, meanwhile: Callable, watch: tuple[str, ...]) -> None:
    waits = meanwhile(iter(()))
    Path("empty").mkdir()
    for folder in ("empty", "missing"):
        code, _, err = cli("study", "report", folder, *watch)
        assert code == 2
        assert err == (
            f"resnet-lab: {folder} is not a study folder: it holds no study.json; name one that `resnet-lab study run` "
            "made\n"
        )
    assert not waits
    assert not list(Path("empty").iterdir())
