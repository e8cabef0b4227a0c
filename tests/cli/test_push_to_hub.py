import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.export.fake_hub import TOKEN, FakeHub, serving

constants = pytest.importorskip("huggingface_hub.constants")
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning")  # within the library


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with serving(FakeHub()) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def test_a_push(cli: Callable, trained: Path, hub: FakeHub) -> None:
    code, out, err = cli("push-to-hub", "run", "me/genres", "--private", "--json")
    assert code == 0, err
    assert f"uploading 5 files to {hub.url}/me/genres (private)" in err
    printed = json.loads(out)
    files = {file["name"]: file for file in printed.pop("files")}
    assert printed == {
        "repository": "me/genres", "url": f"{hub.url}/me/genres", "commit": "c0ffee", "private": True, "dry_run": False,
    }  # fmt: skip
    assert files.keys() == hub.files["me/genres"].keys()
    for name, content in hub.files["me/genres"].items():
        assert (files[name]["bytes"], files[name]["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    code, out, _ = cli("push-to-hub", "run", "me/genres")
    assert code == 0
    assert out.splitlines()[-1] == f"{hub.url}/me/genres at c0ffee"


def test_a_dry_run_sends_nothing(cli: Callable, trained: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    code, out, _ = cli("push-to-hub", "run", "me/genres", "--dry-run")
    assert code == 0
    assert hub.calls == []
    size = (trained / "best.safetensors").stat().st_size
    *files, last = out.splitlines()
    assert [line.split()[-1] for line in files] == [
        "model.safetensors", "README.md", "run.json", "metrics.csv", "curves.png",
    ]  # fmt: skip
    assert files[0].split()[0] == f"{size:,}"
    assert last == "nothing was sent to me/genres"
    assert not (trained / "README.md").exists()
    printed = json.loads(cli("push-to-hub", "run", "me/genres", "--dry-run", "--json").out)
    assert (printed["dry_run"], printed["url"], printed["commit"]) == (True, None, None)


def test_bad_input(cli: Callable, trained: Path, hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, message in {
        ("run", "genres"): "repository 'genres' must be written NAMESPACE/NAME",
        ("empty", "me/genres"): "empty is not a run folder: it holds no run.json",
        ("run/best.safetensors", "me/genres"): "run/best.safetensors is not a run folder",
    }.items():
        code, out, err = cli("push-to-hub", *arguments)
        assert (code, out) == (2, "")
        assert err.startswith(f"resnet-lab: {message}")
        assert err.count("\n") == 1
    hub.refusals["/api/repos"] = (403, "No.")
    code, out, err = cli("push-to-hub", "run", "other/genres")
    assert (code, out) == (2, "")
    assert err == (
        f"resnet-lab: {hub.url} does not let you write to other/genres: other is another's, or your token may only "
        "read; choose a namespace of yours, or make a token that may write\n"
    )
