import hashlib
import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from resnet_lab.core.errors import ConfigError, RunError
from resnet_lab.export.exported_model import ExportError
from resnet_lab.export.hub import check_repository, push, uploads
from resnet_lab.network import checkpoint
from tests.export.fake_hub import TOKEN, FakeHub, serving

huggingface_hub = pytest.importorskip("huggingface_hub")
constants = pytest.importorskip("huggingface_hub.constants")

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning")  # within the library


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with serving(FakeHub()) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # its protocol has no fake
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def test_what_arrives(hub: FakeHub, run: Path) -> None:
    pushed = push("me/genres", uploads(run, license="mit"))
    assert (pushed.url, pushed.commit, pushed.private) == (f"{hub.url}/me/genres", "c0ffee", False)
    files = hub.files["me/genres"]
    assert sorted(files) == ["README.md", "curves.png", "metrics.csv", "model.safetensors", "run.json"]
    for name, local in (
        ("model.safetensors", "best.safetensors"),
        ("metrics.csv", "metrics.csv"),
        ("curves.png", "curves.png"),
    ):
        assert hashlib.sha256(files[name]).digest() == hashlib.sha256((run / local).read_bytes()).digest()
    assert [call for call in hub.calls if "/commit/" in call] == ["POST /api/models/me/genres/commit/main"]
    assert hub.messages[0].startswith("Upload of a network trained with resnet-lab ")


def test_what_arrives_can_be_used_and_names_no_folder_of_the_machine(hub: FakeHub, run: Path, tmp_path: Path) -> None:
    push("me/genres", uploads(run))
    files = hub.files["me/genres"]
    (tmp_path / "arrived.safetensors").write_bytes(files["model.safetensors"])
    assert checkpoint.load(tmp_path / "arrived.safetensors").fc.out_features == 3
    source = Path(json.loads((run / "run.json").read_text())["data"]["source"])
    record = json.loads(files["run.json"])
    assert record["data"]["source"] == source.name == "paintings"
    assert record["command"] == ["resnet-lab", "train", "--data=paintings", "--epochs", "2"]
    assert record["test"] == json.loads((run / "run.json").read_text())["test"]
    for name in ("README.md", "run.json", "metrics.csv", "model.safetensors"):
        assert files[name].count(str(source.parent).encode()) == 0


def test_a_second_push_adds_to_the_repository(hub: FakeHub, run: Path) -> None:
    push("me/genres", uploads(run), private=True)
    (run / "README.md").write_text("---\nlicense: mit\n---\nMy own words.\n")
    assert push("me/genres", uploads(run)).private
    assert hub.files["me/genres"]["README.md"] == b"---\nlicense: mit\n---\nMy own words.\n"


def test_a_private_push_into_a_public_repository_is_refused(hub: FakeHub, run: Path) -> None:
    hub.repositories["me/genres"] = False
    with pytest.raises(ExportError) as failure:
        push("me/genres", uploads(run), private=True)
    assert str(failure.value) == (
        f"{hub.url}/me/genres is there already and is public; make it private in its settings, or drop --private"
    )
    assert hub.files == {}


def test_no_token(hub: FakeHub, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(ExportError) as failure:
        push("me/genres", uploads(run))
    assert str(failure.value) == (
        f"not logged in to {hub.url}: run `hf auth login`, or set HF_TOKEN to a token that may write"
    )
    assert hub.calls == []


@pytest.mark.parametrize(
    ("start", "status", "message"),
    [
        (
            "/api/repos/create", 401,
            "{url} does not accept the token; make one that may write at {url}/settings/tokens, then run "
            "`hf auth login` or set HF_TOKEN",
        ),
        (
            "/api/repos/create", 403,
            "{url} does not let you write to other/genres: other is another's, or your token may only read; choose a "
            "namespace of yours, or make a token that may write",
        ),
        (
            "/api/models/other/genres/commit", 403,
            "{url} does not let you write to other/genres: other is another's, or your token may only read; choose a "
            "namespace of yours, or make a token that may write",
        ),
        ("/api/repos/create", 402, "{url} refused other/genres with status 402: Too  bad."),
        ("/objects", 400, "the upload to other/genres failed: Error while uploading '"),
        (
            "/api/validate-yaml", 400,
            "the upload to other/genres failed: Invalid metadata in README.md. - Too bad. (BadRequestError: ",
        ),
    ],
)  # fmt: skip
def test_the_hub_refuses(hub: FakeHub, run: Path, start: str, status: int, message: str) -> None:
    hub.refusals[start] = (status, "Too  bad.")
    with pytest.raises(ExportError) as failure:
        push("other/genres", uploads(run))
    assert str(failure.value).startswith(message.format(url=hub.url).replace("  ", " "))
    assert "\n" not in str(failure.value)
    assert hub.files == {}


def test_uploads_by_the_other_protocol(hub: FakeHub, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hf_xet")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    with pytest.raises(ExportError) as failure:
        push("me/genres", uploads(run))
    assert hub.calls[-1] == "GET /api/models/me/genres/xet-write-token/main"
    assert str(failure.value).startswith(f"the connection to {hub.url} failed (ConnectionError: ")
    assert hub.files == {}


def test_no_network(hub: FakeHub, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    with pytest.raises(ExportError) as failure:
        push("me/genres", uploads(run))
    assert str(failure.value) == (
        f"the connection to {url} failed (ConnectError: [Errno 111] Connection refused); check the network and try "
        "again"
    )


def test_offline_mode(hub: FakeHub, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ExportError) as failure:
        push("me/genres", uploads(run))
    assert str(failure.value).startswith(f"the connection to {hub.url} failed (OfflineModeIsEnabled: ")
    assert hub.calls == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "genres",
            "repository 'genres' must be written NAMESPACE/NAME: your user name or organisation on the hub, a slash, "
            "and a name",
        ),
        ("me/ge nres", "repository 'me/ge nres': Repo id must use alphanumeric chars"),
        ("a/b/c", "repository 'a/b/c': Repo id must be in the form 'repo_name' or 'namespace/repo_name'"),
    ],
)
def test_names_that_cannot_be(name: str, message: str) -> None:
    with pytest.raises(ConfigError) as failure:
        check_repository(name)
    assert str(failure.value).startswith(message)


def test_a_license_beside_a_card_that_is_there(run: Path) -> None:
    (run / "README.md").write_text("mine")
    with pytest.raises(ConfigError) as failure:
        uploads(run, license="mit")
    assert str(failure.value) == (
        f"{run}/README.md is there and is uploaded as it is; write the license into it, or remove it"
    )


def test_a_weights_file_is_no_run(run: Path) -> None:
    with pytest.raises(RunError, match=r"is not a run folder: it holds no run\.json"):
        uploads(run / "best.safetensors")


def test_the_library_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub.utils", None)
    with pytest.raises(ExportError) as failure:
        check_repository("me/genres")
    assert str(failure.value) == ('push-to-hub needs the package huggingface_hub; pip install "resnet-lab[hub]"')
