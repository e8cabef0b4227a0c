"""Progress in a notebook: what its cell shows, with a display that keeps it, and in a kernel."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nbformat
import pytest
from nbclient import NotebookClient

from resnet_lab.cli.progress import Screen
from resnet_lab.core.history import Epoch
from resnet_lab.interactive import progress
from resnet_lab.interactive.progress import NotebookScreen, in_notebook, watching_study, watching_training
from resnet_lab.study.trials import Trial
from resnet_lab.train.progress import TrainingWatcher
from tests.report.parsing import Page
from tests.study.fabricated import design

EPOCH = Epoch(1, 1e-3, 0.5, 0.9, 0.4, 0.9, 0.91, 3.0, 100.0)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """A notebook's shell, and the contents of the one output of its cell."""
    contents: list[dict[str, str]] = []
    handle = SimpleNamespace(update=lambda data, raw: contents.append(data))
    module, displays = ModuleType("IPython"), ModuleType("IPython.display")
    module.get_ipython = lambda: SimpleNamespace(kernel=None)  # type: ignore[attr-defined]
    displays.display = lambda data, raw, display_id: handle  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", displays)
    monkeypatch.setattr(progress, "PAUSE", 0)
    return contents


def bar(content: dict[str, str]) -> dict[str, str]:
    (found,) = Page(content["text/html"]).all("progress")
    return found


def test_a_training_is_shown_while_it_runs_and_stays(shown: list[dict[str, str]]) -> None:
    with watching_training(quiet=False) as watcher:
        assert isinstance(watcher, NotebookScreen)
        watcher.say("<b>1797 images")
        watcher.begin("epoch 1", 40, 2)
        assert bar(shown[-1]) == {"max": "40", "value": "2"}
        watcher.step(1, 2, (0.25, 0.5), 123.4)
        watcher.advance()
        assert bar(shown[-1]) == {"max": "40", "value": "3"}
        assert shown[-1]["text/plain"].endswith("epoch 1 of 2 · 123 images/s · loss 0.250, macro accuracy 0.500 so far")
        watcher.epoch(EPOCH, EPOCH)
        watcher.step(2, 2, None, 120)
        watcher.advance()
        assert "epoch 2 of 2 · 120 images/s · best 0.9100 (epoch 1)" in shown[-1]["text/plain"]
    assert Page(shown[-1]["text/html"]).all("progress") == []
    assert shown[-1]["text/plain"].split("\n") == [
        "<b>1797 images",
        "epoch 1: loss 0.500; validation 0.400, macro accuracy 0.9100 (best); 100 images/s",
    ]
    assert "<b>1797" not in shown[-1]["text/html"]


def test_of_many_epochs_the_latest_are_shown(shown: list[dict[str, str]]) -> None:
    with NotebookScreen() as screen:
        for _ in range(20):
            screen.epoch(EPOCH, EPOCH)
    assert len(shown[-1]["text/plain"].split("\n")) == progress.LINES


def test_updates_wait_for_each_other(shown: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PAUSE", 60)
    with NotebookScreen() as screen:
        screen.begin("decoding", 1000)
        before = len(shown)
        with ThreadPoolExecutor(4) as threads:
            for _ in threads.map(lambda _: screen.advance(), range(1000)):
                pass
        assert len(shown) == before
        monkeypatch.setattr(progress, "PAUSE", 0)
        screen.advance()
        assert bar(shown[-1])["value"] == "1001"  # none was lost


def test_a_study_is_shown(shown: list[dict[str, str]]) -> None:
    made = design()
    trial = Trial(made.arms[0], 0)
    with watching_study(made, quiet=False) as watcher:
        watcher.say("verdicts are about new images")
        watcher.show({"a": "waiting", "b": "waiting"}, [])
        watcher.training(trial).epoch(EPOCH, EPOCH)
        assert bar(shown[-1]) == {"max": "2", "value": "0"}
        assert shown[-1]["text/plain"].endswith("relu none, seed 0: epoch 1, best validation 0.910")
    assert shown[-1]["text/plain"] == "verdicts are about new images"


def test_quiet_or_elsewhere(shown: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    with watching_training(quiet=True) as watcher:
        assert type(watcher) is TrainingWatcher
    with watching_study(design(), quiet=True) as study:
        study.say("nothing")
    assert shown == []
    sys.modules["IPython"].get_ipython = lambda: None  # type: ignore[attr-defined]
    assert not in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()
    with watching_training(quiet=False) as watcher:
        assert isinstance(watcher, Screen)


@pytest.mark.slow
def test_in_a_kernel_nothing_but_html_is_shown(tmp_path: Path, paintings_in: Callable[[Path], Path]) -> None:
    """Without ipywidgets, with images that are decoded in threads; no warning, and no stream of lines."""
    data = paintings_in(tmp_path / "images")
    code = (
        "import resnet_lab\n"
        f"run = resnet_lab.train({str(data)!r}, model='resnet20', size=8, epochs=2, batch_size=8, compile='off', "
        "precision='fp32', out='run')\nrun"
    )
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    progressed, result = outputs = book.cells[0].outputs
    assert [each.output_type for each in outputs] == ["display_data", "execute_result"]
    assert "epoch 2: loss" in progressed.data["text/plain"]
    assert progressed.data["text/html"].lstrip().startswith('<div class="resnet-lab shown">')
    assert result.data["text/html"].count("<svg") == 2
    assert "Run(folder=" in result.data["text/plain"]
