"""A kind of component that one file adds (`new_kind.py`) is in every command that knows kinds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
PROJECT = Path(__file__).parents[2]
SMALL = "--model resnet20 --size 8"
COMMANDS = {
    "list": "plugins list --json",
    "build": f"build {SMALL} --block scaled --scale learned(start=0.5)@2 --json",
    "left alone": f"build {SMALL} --json",
    "plan": "study plan --recipe digits-quick --block scaled --scale one,learned --seeds 2 --size 8 --epochs 1 --json",
    "design": "study run --recipe digits-quick --scale one,lerned --seeds 2",
    "bench": f"bench {SMALL} --block scaled --scale one,learned --batch-size 1 --mode infer --rounds 1 --json",
    "new": "plugins new scale mine",
    "check new": "plugins check mine --plugin resnet-lab-mine/resnet_lab_mine.py --json",
    "check": "plugins check learned(start=0.3) --json",
    "export": f"build {SMALL} --block scaled --scale learned --out spec.json",
    "again": "build --spec spec.json --json",
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """Exit code and output of each command, all in one process."""
    done = subprocess.run(
        [sys.executable, PROJECT / "tests/cli/new_kind.py"], input="\n".join(COMMANDS.values()), text=True,
        capture_output=True, cwd=tmp_path_factory.mktemp("new_kind"), timeout=300, check=True,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "RESNET_LAB_PLUGINS": "", "RESNET_LAB_PLUGIN_FILES": ""},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    parts = [part.partition("\n")[2] for part in done.stdout.split("$ ")[1:]]
    errors = done.stderr.splitlines()
    found = {}
    for name, part in zip(COMMANDS, parts, strict=True):
        text, _, code = part.rpartition("exit code ")
        found[name] = (code.strip(), text if code.strip() == "0" else errors.pop(0))
    return found


def read(outputs: dict[str, tuple[str, str]], name: str) -> dict:
    code, text = outputs[name]
    assert code == "0", text
    return json.loads(text)


def test_it_is_listed(outputs) -> None:
    components = [row for row in read(outputs, "list")["plugins"] if row["status"] == "loaded"]
    rows = {(row["kind"], row["name"]): row["parameters"] for row in components}
    assert rows["scale", "learned"] == {"start": 0.1}
    assert rows["scale", "one"] == {}


def test_it_is_built(outputs) -> None:
    """16, 32 and 64 channels, three blocks a stage."""
    built, plain = read(outputs, "build"), read(outputs, "left alone")
    stages = [stage["block"].get("scale") for stage in built["spec"]["stages"]]
    assert stages == [None, "learned(start=0.5)", None]
    assert built["parameters"] - plain["parameters"] == 3 * 32
    assert "scale" not in json.dumps(plain["spec"])
    assert read(outputs, "again")["parameters"] - plain["parameters"] == 3 * (16 + 32 + 64)


def test_it_is_a_factor_of_studies(outputs) -> None:
    assert [arm["arm"] for arm in read(outputs, "plan")["arms"]] == ["one", "learned"]
    code, error = outputs["design"]
    assert code == "2"
    assert "unknown scale 'lerned'; did you mean 'learned'?" in error


def test_it_is_a_list_of_bench(outputs) -> None:
    arms = read(outputs, "bench")["arms"]
    assert [arm["name"] for arm in arms] == ["one", "learned"]
    assert arms[1]["parameters"] - arms[0]["parameters"] == 3 * (16 + 32 + 64)


def test_new_ones_are_written_and_checked(outputs) -> None:
    code, text = outputs["new"]
    assert code == "0"
    assert text.splitlines()[-1].endswith("plugins check mine --kind scale")
    for name, component in (("check new", "mine"), ("check", "learned(start=0.3)")):
        (report,) = read(outputs, name)["components"]
        assert (report["kind"], report["component"], report["passed"]) == ("scale", component, True)
        passed = {each["check"] for each in report["checks"] if each["status"] == "passed"}
        assert {"shapes", "input_kept", "spec", "network"} <= passed
    assert "traits" in passed
