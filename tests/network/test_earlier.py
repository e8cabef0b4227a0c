"""Files of an earlier version (`earlier/`): specs to the letter, initial weights, and a weights file."""

import hashlib
import json
from pathlib import Path

import torch

from resnet_lab.network import zoo
from resnet_lab.network.builder import build
from resnet_lab.network.checkpoint import load, read

EARLIER = Path(__file__).parent / "earlier"
NETWORKS = json.loads((EARLIER / "networks.json").read_text())


def test_specs_have_the_same_text_and_hash() -> None:
    for row in NETWORKS:
        spec = zoo.get(row["model"]).modified(**row["changes"])
        text = hashlib.sha256(spec.to_json().encode()).hexdigest()
        assert (spec.hash, text) == (row["hash"], row["text"]), row


def test_initial_weights_are_the_same() -> None:
    """Other processors may round otherwise."""
    file = load(EARLIER / "tiny.safetensors").state_dict()
    metadata, _ = read(EARLIER / "tiny.safetensors")
    again = build(metadata.spec, seed=1).state_dict()
    assert list(again) == list(file)
    for name, tensor in again.items():
        torch.testing.assert_close(tensor, file[name], msg=name)


def test_a_weights_file_gives_the_same_outputs() -> None:
    network = load(EARLIER / "tiny.safetensors").eval()
    x = torch.linspace(-1, 1, 2 * 3 * 8 * 8).view(2, 3, 8, 8)
    torch.testing.assert_close(network(x), torch.tensor(json.loads((EARLIER / "tiny-outputs.json").read_text())))
