"""Built-in trackers, read back by each package's own reader, from processes that contact nothing outside."""

import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from resnet_lab.core.errors import ConfigError, SpecError
from resnet_lab.network.component import Component
from resnet_lab.network.plugins import load
from resnet_lab.plugin_api import RunStart

COURSE = Path(__file__).with_name("tracked_course.py")
PACKAGES = {
    "tensorboard": "torch.utils.tensorboard",
    "mlflow": "mlflow",
    "wandb": "wandb",
    "aim": "aim",
}


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that answers nobody, and what it was asked for: requests of processes that no hook of Python sees."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(200))

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.fixture
def course(tmp_path: Path, proxy: tuple[str, list[bytes]]) -> Callable[[str], str]:
    """Tracks one run in two processes, the second of which resumes; gives its id."""
    address, asked = proxy
    proxies = {name: address for each in ("http_proxy", "https_proxy", "all_proxy") for name in (each, each.upper())}
    services = ("MLFLOW_", "WANDB_", "AIM_", "DO_NOT_TRACK", "NO_PROXY", "no_proxy")
    mine = {name: value for name, value in os.environ.items() if not name.startswith(services)}
    path = os.pathsep.join([str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = mine | proxies | {"HOME": str(tmp_path / "home"), "PYTHONPATH": path}
    (tmp_path / "home").mkdir()

    def one(tracker: str, *more: str) -> str:
        command = [sys.executable, COURSE, tracker, "run", *more]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])
        assert (found["connections"], asked) == ([], [])
        return str(found["id"])

    def both(tracker: str) -> str:
        pytest.importorskip(PACKAGES[tracker.partition("(")[0]], reason="needs the tracker's package")
        first = one(tracker)
        assert one(tracker, first) == first
        return first

    return both


def test_the_proxy_sees_a_request(proxy: tuple[str, list[bytes]]) -> None:
    code = "import urllib.request as r\ntry: r.urlopen('http://tracker.invalid/', timeout=9)\nexcept OSError: pass"
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"http_proxy": proxy[0]}, check=True)
    assert proxy[1][0].startswith(b"GET http://tracker.invalid/")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of tensorboard's use of NumPy and protobuf
def test_tensorboard(course: Callable[[str], str], tmp_path: Path) -> None:
    course("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss/val")] == [(1, 0.75), (2, 0.25)]
    assert [(event.step, event.value) for event in events.Scalars("accuracy/test")] == [(2, 0.875)]
    assert set(events.Tags()["scalars"]) == {
        "learning_rate", "loss/train", "loss/val", "macro_accuracy/val", "seconds", "accuracy/test",
    }  # fmt: skip


@pytest.mark.slow
def test_mlflow(course: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = course("mlflow(weights=true)")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    client = MlflowClient((tmp_path / "mlruns").as_uri())
    run = client.get_run(number)
    assert client.get_experiment(run.info.experiment_id).name == "parts"
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.params == {"config.lr": "0.125", "config.optimizer": "sgd", "data.classes": '["a", "b"]'}
    history = client.get_metric_history(number, "val_loss")
    assert [(each.step, each.value) for each in history] == [(1, 0.75), (2, 0.25)]
    assert {name: run.data.metrics[name] for name in ("test_accuracy", "best_epoch")} == {
        "test_accuracy": 0.875,
        "best_epoch": 2,
    }
    names = {each.path for each in client.list_artifacts(number)}
    assert names == {"metrics.csv", "curves.png", "best.safetensors"}
    stored = Path(client.download_artifacts(number, "metrics.csv", str(tmp_path)))
    assert stored.read_text() == (tmp_path / "run" / "metrics.csv").read_text()
    assert run.data.tags["study"] == "parts"


def wandb_records(path: Path) -> Iterator[object]:
    """Records of an offline run's file, which has the blocks of LevelDB's log format."""
    from wandb.proto import wandb_internal_pb2

    content, position, whole = path.read_bytes(), 7, b""
    while position + 7 <= len(content):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        whole += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or its last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


@pytest.mark.slow
def test_wandb(course: Callable[[str], str], tmp_path: Path) -> None:
    number = course("wandb(weights=true)")
    folders = sorted((tmp_path / "wandb").glob("offline-run-*"))  # one for each process, of one run
    records = [record for folder in folders for record in wandb_records(folder / f"run-{number}.wandb")]
    runs = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert [(run.run_id, run.project, run.run_group, run.display_name) for run in runs] == 2 * [
        (number, "resnet-lab", "parts", "run")
    ]
    config = {each.key: json.loads(each.value_json) for each in runs[-1].config.update}
    assert config["config"] == {"lr": 0.125, "optimizer": "sgd", "clip_norm": None}

    def history(name: str) -> list[float]:
        items = (item for record in records for item in record.history.item)
        return [json.loads(item.value_json) for item in items if [item.key, *item.nested_key] in ([name], ["", name])]

    assert (history("val/loss"), history("_step")) == ([0.75, 0.25], [1, 2])
    summary = {item.key: item.value_json for record in records for item in record.summary.update}
    assert (summary["test/accuracy"], summary["best_epoch"]) == ("0.875", "2")
    kept = {path.name for path in (folders[-1] / "files").iterdir() if not path.is_symlink()}
    assert {"metrics.csv", "curves.png", "best.safetensors"} <= kept


@pytest.mark.slow
@pytest.mark.filterwarnings(r"ignore:The ``declarative_base\(\)`` function")  # of aim's use of SQLAlchemy
def test_aim(course: Callable[[str], str], tmp_path: Path) -> None:
    number = course("aim")
    from aim import Repo
    from aim.sdk.index_manager import RepoIndexManager
    from aim.storage.context import Context

    repo = Repo(str(tmp_path))
    RepoIndexManager.get_index_manager(repo).index(number)  # as `aim up` does
    run = repo.get_run(number)
    assert (run.experiment, run.name, run["best_epoch"]) == ("parts", "run", 2)
    assert run["config"] == {"lr": 0.125, "optimizer": "sgd", "clip_norm": None}
    figures = {
        (each.name, each.context.to_dict().get("subset")): sorted(
            zip(each.epochs.values_list(), each.values.values_list(), strict=True)
        )
        for each in run.metrics()
    }
    assert figures["loss", "val"] == [(1, 0.75), (2, 0.25)]
    assert figures["accuracy", "test"] == [(2, 0.875)]
    text = run.get_text_sequence("metrics.csv", Context({})).values.values_list()[0]
    assert text.data == "epoch,val_loss\n1,0.75\n2,0.25\n"
    image = run.get_image_sequence("curves.png", Context({})).values.values_list()[0]
    assert image.to_pil_image().size == (4, 3)


@pytest.mark.parametrize(
    ("tracker", "package"), [*zip(PACKAGES, ("tensorboard", "mlflow-skinny", "wandb", "aim"), strict=True)]
)
def test_a_missing_package_is_named(tracker: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_ERROR_REPORTING", "MLFLOW_DISABLE_TELEMETRY", "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.setenv(name, "")
    monkeypatch.setitem(sys.modules, PACKAGES[tracker], None)
    with pytest.raises(ConfigError) as failure:
        load(only=(), kinds=("tracker",)).bind("tracker", Component.parse(tracker), "--track")()
    assert str(failure.value) == f"tracker {tracker} needs the package {package}; pip install resnet-lab[{tracker}]"


def test_a_parameter_that_there_is_not() -> None:
    with pytest.raises(SpecError) as failure:
        load(only=(), kinds=("tracker",)).bind("tracker", Component.parse("mlflow(url=x)"), "--track")
    assert str(failure.value) == "--track: tracker mlflow has no parameter 'url'; did you mean 'uri'?"


def test_a_flat_configuration(tmp_path: Path) -> None:
    config = {"train": {"lr": 0.5, "stages": [1, 2], "weights": None, "ema": {"on": True}}, "seed": 3}
    assert RunStart(tmp_path, "run", "", config).flat() == {
        "train.lr": 0.5, "train.stages": "[1, 2]", "train.ema.on": True, "seed": 3,
    }  # fmt: skip
