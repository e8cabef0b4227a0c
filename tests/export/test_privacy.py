import pytest

from resnet_lab.export.privacy import public_command, public_record, public_source, public_text


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("finished", "finished"),
        ("IMAGENET1K_V2 of torchvision's resnet50", "IMAGENET1K_V2 of torchvision's resnet50"),
        ("kept in /home/me/runs/a/state.safetensors", "kept in state.safetensors"),
        ("/home/me/my pictures/b.jpg: cannot be read", "b.jpg: cannot be read"),
        ("C:\\Users\\me\\b.jpg: cannot be read", "b.jpg: cannot be read"),
        ("\\\\server\\share\\b.jpg", "b.jpg"),
        ("~/b.jpg and file:///home/me/c.jpg", "c.jpg"),
        ("hf:/home/me/saved(config='plain')", "hf:saved(config='plain')"),
        ("torchvision:CIFAR10(root='/home/me/sets')", "torchvision:CIFAR10(root='sets')"),
        ("/home/me/sets/", "sets/"),
        ("see https://example.org/a/b", "see https://example.org/a/b"),
        ("1/2 of 3 / 4", "1/2 of 3 / 4"),
    ],
)
def test_texts(text: str, public: str) -> None:
    assert public_text(text) == public


@pytest.mark.parametrize(
    ("source", "public"),
    [
        ("digits", "digits"),
        ("synthetic(images=50)", "synthetic(images=50)"),
        ("/home/me/paintings", "paintings"),
        ("../paintings/", "paintings"),
        ("..\\paintings", "paintings"),
        ("hf:someone/paintings", "hf:someone/paintings"),
        ("wds:https://example.org/a-{0..9}.tar", "wds:https://example.org/a-{0..9}.tar"),
        ("wds:/home/me/a-{0..9}.tar", "wds:a-{0..9}.tar"),
    ],
)
def test_sources(source: str, public: str) -> None:
    assert public_source(source) == public


def test_commands() -> None:
    assert public_command(
        [
            "/opt/lib/resnet_lab/__main__.py",
            "train",
            "--data",
            "../paintings",
            "--out=/home/me/run",
            "--act",
            "gelu@3,4",
        ]
    ) == ["resnet-lab", "train", "--data", "paintings", "--out=run", "--act", "gelu@3,4"]
    assert public_command(["/home/me/bin/resnet-lab", "train"]) == ["resnet-lab", "train"]
    assert public_command([]) == []


def test_records() -> None:
    record = {
        "format": 1,
        "command": ["resnet-lab", "train", "--data", "a/b"],
        "config": {"weights": "runs/earlier", "lr": 0.1, "augment": ["flip"]},
        "data": {
            "source": "/home/me/b",
            "split_file": "splits/mine.csv",
            "bad": [{"path": "portrait/a.jpg", "cause": "/home/me/b/a.jpg: truncated"}],
        },
        "weights": None,
    }
    assert public_record(record) == {
        "format": 1,
        "command": ["resnet-lab", "train", "--data", "b"],
        "config": {"weights": "earlier", "lr": 0.1, "augment": ["flip"]},
        "data": {
            "source": "b",
            "split_file": "mine.csv",
            "bad": [{"path": "portrait/a.jpg", "cause": "a.jpg: truncated"}],
        },
        "weights": None,
    }
