"""A run.json that nobody trained for."""

from typing import Any

from resnet_lab.network import zoo


def run_record(**changes: Any) -> dict[str, Any]:
    """Record of a run of a ResNet-20 with two classes."""
    spec = zoo.get("resnet20").modified(num_classes=2, input_size=8)
    content: dict[str, Any] = {
        "created": "2026-01-02T03:04:05+00:00",
        "command": ["resnet-lab", "train"],
        "config": {"epochs": 3},
        "spec": spec.model_dump(mode="json"),
        "spec_hash": spec.hash,
        "data": {
            "source": "digits",
            "cache": "auto",
            "fingerprint": "0" * 16,
            "images": {"train": 8, "val": 2, "test": 2},
            "bad": [],
            "copies": 0,
            "classes": ["ä", "b"],
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
        },
        "plugins": {},
        "versions": {"torch": "2.99"},
        "device": {"name": "a processor", "type": "cpu", "dtype": "float32"},
    }
    return content | changes
