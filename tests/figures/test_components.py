"""Costs on the cards of docs/components.md: counted by the program, times from the files in benchmarks/results/."""

import re
from typing import Any

import pytest

from resnet_lab.network import zoo
from resnet_lab.network.cost import measure
from tests.figures.pages import ROOT, Section, between, stored

TEXT = (ROOT / "docs" / "components.md").read_text()
CARDS = re.findall(r"^### `--(\w+) (\w+)`\n.*?^- \*\*Cost\*\*: (.*?)$", TEXT, re.MULTILINE | re.DOTALL)
TIMED = [card for card in CARDS if "MACs" in card[2]]
FILES = {"": "2026-11-28-cpu-components", "at 96 pixels ": "2026-12-01-cpu-components-at-96"}


def cell(timed: dict[str, Any]) -> str:
    return f"{timed['ratio']:.2f} ({between(timed['interval'])})"


@pytest.mark.parametrize(("kind", "name", "text"), TIMED, ids=[f"{kind} {name}" for kind, name, _ in TIMED])
def test_a_card(kind: str, name: str, text: str) -> None:
    beside = "resnet18" if name == "sk_basic" else "resnet50"
    plain = zoo.get(beside).modified(input_size=160)
    cost, first = measure(plain.modified(**{kind: name})), measure(plain)
    counted = (
        f"parameters {cost.parameters / 1e6:.2f} M ({100 * (cost.parameters / first.parameters - 1):+.1f}%), "
        f"MACs {cost.macs / 1e9:.2f} G ({100 * (cost.macs / first.macs - 1):+.1f}%); "
    )
    assert counted in text
    times = text.split(counted)[1]
    if times == "time not measured":
        return
    size = "at 96 pixels " if times.startswith("at 96") else ""
    file = "2026-12-01-cpu-sk-basic" if name == "sk_basic" else FILES[size]
    (arm,) = (arm for arm in stored(file)["arms"] if arm["name"] == name)
    wanted = f"{size}inference {cell(arm['infer'])}, training step {cell(arm['train'])} of the plain network's time"
    assert times == wanted
    assert arm["parameters"] == cost.parameters


def test_how_they_were_measured() -> None:
    section = Section("components", "Component cards")
    found, later = (stored(name) for name in FILES.values())
    control = later["control"]
    section.says(
        f"a ResNet-50 at {found['arms'][0]['size']} pixels, batches of {found['arms'][0]['batch']}",
        f"{found['rounds']} rounds",
        f"({later['rounds']} rounds;",
        f"takes {cell(control['infer'])} in inference and {cell(control['train'])} in a training step",
    )
    section.conditions("begins near 0.3", "95% intervals")
    section.done()
