"""Folders and files that come from somebody else: nothing that they name runs, and nothing outside them is touched."""

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_lab.cli import main
from resnet_lab.network.spec import ModelSpec
from resnet_lab.study.trials import StudyFolder
from tests.study.fabricated import design

QUICK = ("--model", "resnet20", "--size", "8", "--epochs", "1", "--batch-size", "8", "--precision", "fp32")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch on two colours, in a folder that is only read."""
    folder = tmp_path_factory.mktemp("trained")
    generator = np.random.default_rng(0)
    for name, colour in (("blue", (40, 60, 220)), ("red", (220, 60, 40))):
        (folder / "colours" / name).mkdir(parents=True)
        for number in range(12):
            pixels = np.clip(generator.normal(colour, 25, (20, 20, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "colours" / name / f"{number}.png")
    with pytest.raises(SystemExit) as end:
        main(["train", *QUICK, "--data", str(folder / "colours"), "--compile", "off", "--out", str(folder / "run")])
    assert not end.value.code
    return folder / "run"


@pytest.fixture
def received(trained: Path, tmp_path: Path) -> Path:
    """That run, as a folder that somebody sent."""
    return Path(shutil.copytree(trained, tmp_path / "received"))


def rewrite(file: Path, **values: object) -> None:
    """Change values of a record."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def unfinished(run: Path, **values: object) -> None:
    """Make a run one that can be resumed, as far as the names of its files tell."""
    rewrite(run / "run.json", **values, status="running")
    (run / "state.safetensors").touch()


# Records that were changed


@pytest.mark.parametrize("what", ["spec", "classes", "order of classes", "mean", "std"])
def test_a_record_of_other_weights_is_refused(cli: Callable, received: Path, what: str) -> None:
    record = json.loads((received / "run.json").read_text())
    if what == "spec":
        spec = ModelSpec.from_dict(record["spec"]).modified(act="gelu")
        rewrite(received / "run.json", spec=spec.model_dump(mode="json"), spec_hash=spec.hash)
    else:
        key, value = {
            "classes": ("classes", ["cyan", "red"]), "order of classes": ("classes", ["red", "blue"]),
            "mean": ("mean", [0.5, 0.5, 0.5]), "std": ("std", [0.5, 0.5, 0.5]),
        }[what]  # fmt: skip
        rewrite(received / "run.json", data={**record["data"], key: value})
    for command in (
        ("eval", received), ("report", received), ("compare", received, received), ("export", received, "--to", "card"),
    ):  # fmt: skip
        assert cli(*command) == (
            2, "", f"resnet-lab: {received}/run.json and {received}/best.safetensors differ in their "
            f"{what.rpartition(' ')[2]}, so that one of them is of another training; restore the run folder\n",
        ), command  # fmt: skip


def test_a_hash_of_another_network_is_refused(cli: Callable, received: Path) -> None:
    right = json.loads((received / "run.json").read_text())["spec_hash"]
    rewrite(received / "run.json", spec_hash="0" * 16)
    message = (
        f"resnet-lab: {received}/run.json: damaged: spec_hash should be {right}, the hash of its spec, got "
        "'0000000000000000'; restore the run folder\n"
    )
    for command in (("eval", received), ("report", received), ("export", received, "--to", "card")):
        assert cli(*command) == (2, "", message), command
    unfinished(received)
    assert cli("train", "--resume", received) == (2, "", message)


def test_a_best_epoch_that_there_was_not_is_refused(cli: Callable, received: Path) -> None:
    rewrite(received / "run.json", best_epoch=7)
    for command in (("eval", received), ("report", received), ("export", received, "--to", "card")):
        assert cli(*command) == (
            2, "", f"resnet-lab: {received}/run.json: damaged: best_epoch is 7, and {received}/metrics.csv has 1 "
            "epochs; restore the run folder\n",
        )  # fmt: skip


def test_a_finished_run_that_says_it_is_running_is_not_trained_again(cli: Callable, received: Path) -> None:
    rewrite(received / "run.json", status="running")
    before = (received / "best.safetensors").read_bytes()
    assert cli("train", "--resume", received) == (
        2, "", f"resnet-lab: {received}: epochs are finished (there is metrics.csv), and the state to resume from "
        f"(state.safetensors) is missing; restore the run folder, or start a new run with --weights {received}\n",
    )  # fmt: skip
    assert (received / "best.safetensors").read_bytes() == before


# Plugin files


@pytest.fixture
def named(tmp_path: Path) -> dict[str, str]:
    """A plugin file as records name one; it leaves a marker where it is run."""
    path = tmp_path / "marking.py"
    path.write_text(f"open({str(tmp_path / 'marker')!r}, 'w').close()\n")
    return {"path": str(path), "source": sha256(path.read_bytes()).hexdigest()}


def asked_for(where: Path, named: dict[str, str]) -> str:
    file = named["path"]
    return (
        f"resnet-lab: {where} needs the plugin file {file}, and a file that a record names is never loaded by itself; "
        f"read it, and give it with --plugin {file}\n"
    )


def test_a_resumed_training_does_not_load_the_plugins_of_its_record(
    cli: Callable, received: Path, named: dict[str, str], tmp_path: Path
) -> None:
    unfinished(received, plugin_files=[named])
    assert cli("train", "--resume", received) == (2, "", asked_for(received, named))
    for command in ("eval", "report"):
        assert cli(command, received).code == 0
    assert not (tmp_path / "marker").exists()


def test_a_study_does_not_load_the_plugins_of_its_record(cli: Callable, named: dict[str, str], tmp_path: Path) -> None:
    StudyFolder(tmp_path / "study").note(design(), [named])
    (tmp_path / "found").mkdir()
    shutil.copy(tmp_path / "study" / "study.json", tmp_path / "found" / "search.json")
    for command in (
        ("study", "run", "--resume", "study"),
        ("study", "report", "study"),
        ("study", "plan", "--attn", "none,eca", "--data", "digits", "--pilot", "study"),
        ("study", "search", "--resume", "found"),
    ):
        assert cli(*command) == (2, "", asked_for(Path(command[-1]), named))
    assert not (tmp_path / "marker").exists()


# Sources of images


def test_no_command_runs_a_command_that_a_file_names(cli: Callable, received: Path, tmp_path: Path) -> None:
    pytest.importorskip("webdataset", reason="needs the package webdataset")
    source = f"wds:pipe:touch {tmp_path}/marker"
    refused = f"resnet-lab: {source}: a command that a file names is never run; read it, and name it on the command "
    record = json.loads((received / "run.json").read_text())
    data = {**record["data"], "source": source, "download": True}
    unfinished(received, data=data)
    table = f"[data]\nsource = {source!r}\n"
    (tmp_path / "recipe.toml").write_text(table)
    (tmp_path / "study.toml").write_text(f"[study]\nfactors = {{attn = ['none', 'eca']}}\n{table}")
    for command in (
        ("eval", received),
        ("eval", received, "--download"),
        ("compare", received, received),
        ("train", "--resume", received),
        ("train", "--recipe", "recipe.toml"),
        ("train", "--set", f"data.source={source}"),
        ("study", "plan", "study.toml"),
        ("study", "run", "study.toml"),
        ("study", "search", "study.toml"),
    ):
        code, _, err = cli(*command)
        assert (code, err.splitlines()[-1].startswith(refused)) == (2, True), (command, err)
    cli("report", received)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "source", ["torchvision:CIFAR10(root='absent')", "hf:nobody/nothing", "wds:https://localhost:9/a.tar"]
)
def test_nothing_is_fetched_for_a_file(cli: Callable, received: Path, source: str) -> None:
    pytest.importorskip(
        {"hf": "datasets", "wds": "webdataset"}.get(source.partition(":")[0], "torchvision"), reason="needs its library"
    )
    record = json.loads((received / "run.json").read_text())
    unfinished(received, data={**record["data"], "source": source, "download": True})
    for command in (("eval", received), ("train", "--resume", received)):
        code, _, err = cli(*command)
        assert (code, "fetch it with --download" in err) == (2, True), err


def test_no_file_says_download(cli: Callable) -> None:
    Path("recipe.toml").write_text("[data]\nsource = 'torchvision:CIFAR10'\ndownload = true\n")
    message = "download cannot be set in a file or by --set; give --download on the command line\n"
    assert cli("train", "--recipe", "recipe.toml") == (2, "", f"resnet-lab: recipe.toml: {message}")
    assert cli("train", "--set", "data.download=true") == (2, "", f"resnet-lab: data: {message}")


# Links


@pytest.mark.parametrize("name", ["best.safetensors", "README.md", "predictions", "notes/deep"])
def test_no_command_follows_a_link_out_of_a_run(cli: Callable, received: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("not theirs")
    link = received / name
    link.parent.mkdir(exist_ok=True)
    shutil.rmtree(link) if link.is_dir() else link.unlink(missing_ok=True)
    link.symlink_to("../../secret" if "/" in name else "../secret")
    for command in (
        ("eval", received),
        ("train", "--resume", received),
        ("predict", received, "colours"),
        ("explain", received, "colours"),
        ("report", received),
        ("compare", received, received),
        ("export", received, "--to", "card"),
        ("push-to-hub", received, "someone/something", "--dry-run"),
    ):
        assert cli(*command) == (
            2, "", f"resnet-lab: {link} is a link out of {received}, to {tmp_path}/secret; put the file itself in its "
            "place\n",
        ), command  # fmt: skip
    assert (tmp_path / "secret").read_text() == "not theirs"


def test_no_command_follows_a_link_out_of_a_study(cli: Callable, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "study")
    folder.note(design())
    shutil.copy(folder.design, folder.folder / "search.json")
    link = folder.trials / "a"
    link.symlink_to(tmp_path)
    for command in (
        ("study", "run", "--resume", "study"),
        ("study", "report", "study"),
        ("study", "plan", "--attn", "none,eca", "--data", "digits", "--pilot", "study"),
        ("study", "search", "--resume", "study"),
    ):
        message = (
            f"resnet-lab: study/trials/a is a link out of study, to {tmp_path}; put the file itself in its place\n"
        )
        assert cli(*command) == (2, "", message)
