import json
from collections.abc import Callable

import pytest
import torch

TOPICS = ["versions", "device", "processor", "memory", "compiler", "cache", "plugins", "optional packages"]


def test_what_it_shows(cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    code, out, err = cli("doctor")
    assert (code, err) == (0, "")
    facts, _, advice = out.partition("\n\n")
    assert [line[:19].strip() for line in facts.splitlines()] == TOPICS
    assert f"torch {torch.__version__}" in facts
    assert advice.startswith(("what would help here\n- ", "nothing to remark"))


def test_as_json(cli: Callable) -> None:
    code, out, err = cli("doctor", "--device", "cpu", "--json")
    content = json.loads(out)
    assert (code, err) == (0, "")
    assert list(content["facts"]) == TOPICS
    assert all(isinstance(line, str) for line in content["advice"])


def test_a_device_that_is_not_there(cli: Callable) -> None:
    code, out, err = cli("doctor", "--device", "cuda:77")
    assert (code, out) == (2, "")
    assert err.startswith("resnet-lab: device 'cuda:77' is not there: torch sees ")
