"""Training on a GPU, which is pretended: values are the CPU's, no operator meets two devices, and no step waits."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import resnet_lab
from resnet_lab.data.config import DataConfig
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.device import Placement, accelerators, choose
from resnet_lab.device.processes import Processes
from resnet_lab.evaluation.explanation.layer_maps import GradCAM, grad_cam
from resnet_lab.evaluation.scoring import evaluate
from resnet_lab.network import zoo
from resnet_lab.network.plugins import default_registry
from resnet_lab.network.spec import ModelSpec
from resnet_lab.train import loop, preparation
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.interruption import Interrupted
from resnet_lab.train.learner import Learner
from resnet_lab.train.optimisation import make_loss
from resnet_lab.train.progress import TrainingWatcher
from resnet_lab.train.tally import Tally
from resnet_lab.train.training import find_rate, resume, train
from tests import pretended_cuda as pretended_module
from tests.device.networks import shallow
from tests.pretended_cuda import PretendedCuda, pretended_cuda

DATA = DataConfig(source="synthetic(images=64)")
SPEC = shallow(zoo.get("resnet20")).modified(input_size=16)

ONCE = {"device/placement.py", "train/optimisation.py", "data/image_loader.py", "network/checkpoint.py"}
"""Files that wait where a training or an epoch begins or ends: weights there and back, constants, images."""

FEATURES = {"train/freezing.py", "train/frozen_cache.py", "data/flips.py"}
"""Files that wait for each batch of features that is stored, once."""

STATISTICS = {"network/model.py", "train/averaging.py"}
"""Files that wait for each batch by which batch norm's statistics are recomputed: torch counts these on the host."""

LOOKS = {"train/tally.py", "evaluation/inference.py"}
"""Files that wait for losses now and then, and for the outputs of a part."""


def trained(folder: Path, device: str, **changes: Any) -> str:
    """What a training wrote: each epoch's losses and accuracies."""
    options = {
        "epochs": 2, "batch_size": 16, "lr": 1e-3, "precision": "fp32", "compile": "off", "channels_last": True,
        "augment": ("flip",), "seed": 0,
    }  # fmt: skip
    config = TrainConfig(device=device, **options | changes)
    train(SPEC, DATA, config, folder=folder / device, curves=False)
    return (folder / device / "metrics.csv").read_text()


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ({"precision": "fp32"}, {}),
        ({"precision": "tf32"}, {}),
        ({"precision": "bf16"}, {"precision": "bf16"}),
        ({"deterministic": True}, {"deterministic": True}),
        *(
            (changes, changes)
            for changes in (
                {"optimizer": "sgd", "balance": "loss"},
                {"optimizer": "adamw", "accumulate": 2, "clip_norm": 1.0, "ema": 0.9, "decay_norms": False},
                {"augment": ("flip", "rotate90", "erase", "mixup"), "label_smoothing": 0.1, "balance": "sampling"},
                {"loss": "bce", "augment": ("flip", "cutmix"), "label_smoothing": 0.1, "repeats": 2},
                {"optimizer": "lamb", "average_last": 1},
                {"freeze": ("stem", "layer1"), "cache_frozen": "off"},
                {"freeze": ("stem", "layer1"), "cache_frozen": "on", "augment": ("rotate90", "flip")},
            )
        ),
    ],
    ids=str,
)
def test_a_training_is_that_of_the_cpu(tmp_path: Path, there: dict[str, Any], here: dict[str, Any]) -> None:
    expected = trained(tmp_path, "cpu", **here)
    with pretended_cuda() as cuda:
        assert trained(tmp_path, "cuda", **there) == expected
    sometimes = FEATURES if there.get("cache_frozen") == "on" else STATISTICS if there.get("average_last") else set()
    assert set(cuda.waits_by_file()) <= ONCE | LOOKS | sometimes
    assert {file for file, _ in cuda.early} <= {"train/loop.py"}  # its clock is for the user, and waits for no step


@pytest.mark.parametrize("resident", [True, False])
def test_steps_wait_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resident: bool) -> None:
    """Four times as many steps, and not a wait more."""
    if not resident:
        monkeypatch.setattr("resnet_lab.data.image_loader.DEVICE_SHARE", 0.0)
    every = {
        "augment": ("flip", "rotate90", "crop", "jitter(hue=0.1)", "erase", "mixup(p=0.5)", "cutmix(p=0.5)"),
        "clip_norm": 1.0, "ema": 0.9, "label_smoothing": 0.1, "balance": "loss", "loss": "bce", "optimizer": "lamb",
    }  # fmt: skip
    found = []
    for batch_size in (16, 4):
        with pretended_cuda() as cuda:
            trained(tmp_path / f"{batch_size}", "cuda", batch_size=batch_size, epochs=1, **every)
        found.append(cuda.waits_by_file())
    assert found[0] == found[1]


def test_losses_are_looked_at_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def looks(every: int) -> int:
        monkeypatch.setattr(loop, "CHECKED_EVERY", every)
        with pretended_cuda() as cuda:
            trained(tmp_path / f"{every}", "cuda", batch_size=4, epochs=1)
        return cuda.waits_by_file()["train/tally.py"]

    assert looks(5) - looks(100) == 2 * 2  # of 11 steps; each look is of losses and of what they come to


@pytest.mark.parametrize(
    ("precision", "kind"),
    [
        *product(("fp32", "tf32", "bf16", "fp16"), ("sgd", "adam", "adamw")),
        *product(("fp32", "tf32", "bf16"), ("lamb",)),  # with a gradient scaler its steps wait, as it is not fused
    ],
)
def test_a_step_is_that_of_the_cpu_in_every_precision(precision: Any, kind: Any) -> None:
    changes = {"optimizer": kind, "accumulate": 2, "clip_norm": 1.0, "ema": 0.9, "label_smoothing": 0.1}
    with pretended_cuda() as cuda:
        placement = choose("cuda", precision, "off", channels_last=True)
        found = stepped(SPEC.modified(num_classes=5), placement, cuda, **changes)
        assert set(cuda.products) == {"fp32": {"ieee"}, "tf32": {"tf32"}}.get(precision, set())
    on_cpu = replace(placement, device=torch.device("cpu"), tf32=False)
    expected = stepped(SPEC.modified(num_classes=5), on_cpu, **changes)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


PARTS = [
    *(
        {"act": act, "conv": conv, "attn": attn}
        for act, conv, attn in product(("relu", "gelu"), ("dense", "depthwise"), ("none", "cbam"))
    ),
    {"attn": "se"}, {"attn": "eca"}, {"norm": "group"}, {"norm": "layer"}, {"norm": "none"}, {"act": "silu"},
    {"shortcut": "zero_pad"}, {"stem": "deep"}, {"pool": "gem"}, {"downsample": "blur"},
]  # fmt: skip


@pytest.mark.parametrize("changes", PARTS, ids=str)
def test_a_step_with_other_parts_is_that_of_the_cpu(changes: dict[str, Any]) -> None:
    spec = shallow(zoo.get("resnet18")).modified(num_classes=5, input_size=32, **changes)
    with pretended_cuda() as cuda:
        found = stepped(spec, choose("cuda", "bf16", "off"), cuda)
    torch.testing.assert_close(found, stepped(spec, choose("cpu", "bf16", "off")), rtol=0, atol=0)


def stepped(spec: ModelSpec, placement: Placement, cuda: PretendedCuda | None = None, **changes: Any) -> Tensor:
    """Outputs of the third step, and the sum of its losses; the second and third wait for nothing."""
    config = TrainConfig(lr=1e-3, batch_size=8, **changes)
    model = placement.place(resnet_lab.build(spec).train())
    labels = np.arange(8) % 5
    learner = Learner(model, model, make_loss(config, labels, 5, placement.device), config, placement)
    noise = torch.Generator().manual_seed(0)
    x = placement.layout(torch.randn(8, 3, spec.input_size, spec.input_size, generator=noise))
    y = torch.from_numpy(labels).to(placement.device)
    placement.seed(1)
    learner.step(x, y, 1e-3)
    if cuda is not None:
        with cuda.counted() as waits:
            learner.step(x, y, 1e-3)
            loss, _, outputs = learner.step(x, y, 1e-3)
        assert waits == {}
    else:
        learner.step(x, y, 1e-3)
        loss, _, outputs = learner.step(x, y, 1e-3)
    return torch.cat([outputs.float().flatten(), loss[None]]).cpu()


class Killing(TrainingWatcher):
    """Sends the process a signal at a step."""

    def __init__(self, at: int) -> None:
        self.left = at

    def step(self, *what: object) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_resumed_training_comes_to_the_same(tmp_path: Path) -> None:
    config = TrainConfig(
        device="cuda", precision="fp32", compile="off", epochs=2, batch_size=16, augment=("flip", "mixup"), ema=0.9
    )
    with pretended_cuda():
        train(SPEC, DATA, config, folder=tmp_path / "whole", curves=False)
        with pytest.raises(Interrupted):
            train(SPEC, DATA, config, folder=tmp_path / "halves", curves=False, watcher=Killing(4))
        resume(tmp_path / "halves", curves=False)
    assert (tmp_path / "halves/metrics.csv").read_bytes() == (tmp_path / "whole/metrics.csv").read_bytes()


def test_evaluation_and_grad_cam_are_those_of_the_cpu(tmp_path: Path) -> None:
    with pretended_cuda() as cuda:
        trained(tmp_path, "cuda", epochs=1)
        there = evaluate(tmp_path / "cuda", choose("cuda", "fp32", "off"), default_registry(), again=True)
        model = resnet_lab.build(SPEC).eval()
        x = torch.randn(3, 3, 16, 16)
        placement = choose("cuda", "fp32", "off")
        maps = GradCAM(model, placement).run(placement.layout(x)).maps(torch.tensor([1, 2, 3]))
        assert not cuda.early.keys() - {key for key in cuda.early if key[0] == "train/loop.py"}
    here = evaluate(tmp_path / "cuda", choose("cpu", "fp32", "off"), default_registry(), again=True)
    np.testing.assert_allclose(there.probabilities, here.probabilities, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(maps, grad_cam(model, x, torch.tensor([1, 2, 3])), rtol=1e-3, atol=1e-4)


def test_the_range_test_is_that_of_the_cpu() -> None:
    config = TrainConfig(precision="fp32", compile="off", channels_last=True, batch_size=16, augment=("flip",))

    def found(device: str) -> Any:
        return find_rate(SPEC, DATA, config.model_copy(update={"device": device}))

    expected = found("cpu")
    with pretended_cuda():
        assert found("cuda") == expected


def test_a_batch_size_is_found(tmp_path: Path) -> None:
    expected = trained(tmp_path, "cpu", batch_size="auto", epochs=1)
    with pretended_cuda() as cuda:
        assert trained(tmp_path, "cuda", batch_size="auto", epochs=1) == expected
    assert {file for file, _ in cuda.early} <= {"train/loop.py"}


def test_cublas_is_told_before_its_first_product(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch size of auto runs steps before the training is deterministic."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    told: list[str | None] = []
    note = pretended_module._note_products

    def noted(*arguments: Any) -> None:
        told.append(os.environ.get("CUBLAS_WORKSPACE_CONFIG"))
        note(*arguments)

    monkeypatch.setattr(pretended_module, "_note_products", noted)
    with pretended_cuda():
        trained(tmp_path, "cuda", batch_size="auto", epochs=1, deterministic=True)
    assert set(told) == {":4096:8"}


def test_processes_agree_on_a_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least that any of them has room for, times their number."""
    monkeypatch.setattr(preparation, "largest_batch", lambda *arguments: 16)
    processes = replace(Processes(), world_size=2)
    monkeypatch.setattr(Processes, "least", lambda self, number: min(number, 4))
    size = preparation._batch_size(
        TrainConfig(batch_size="auto"), 1000, torch.nn.Conv2d(3, 4, 3), ImageFormat(16), choose("cpu"), processes, 1
    )
    assert size == 8


class Heard(TrainingWatcher):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def say(self, text: str) -> None:
        self.texts.append(text)


@pytest.mark.parametrize(
    "lacks", [set(), {"addcmul", "threshold_backward", "index_add_"}], ids=["nothing", "operators"]
)
def test_what_an_experimental_device_lacks_is_named_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacks: set[str]
) -> None:
    monkeypatch.setitem(accelerators.EXPERIMENTAL, "cuda", "Nobody")
    config = TrainConfig(device="cuda", epochs=1, batch_size=16, compile="off", channels_last=True, precision="fp32")
    heard = Heard()
    with pretended_cuda() as cuda:
        cuda.lacks = lacks
        train(SPEC, DATA, config, folder=tmp_path / "there", curves=False, watcher=heard)
    trained_on = [text for text in heard.texts if " lacks " in text or "training on" in text]
    if lacks:
        assert trained_on[0] == "cuda lacks addcmul, threshold_backward: this training is on the CPU"
        assert trained_on[1].startswith("64 images of 10 classes; training on cpu in fp32 (as asked), ")
    else:
        assert len(trained_on) == 1
        assert trained_on[0].endswith(", not compiled (as asked); cuda is experimental and untested")
    train(SPEC, DATA, config.model_copy(update={"device": "cpu"}), folder=tmp_path / "here", curves=False)
    assert (tmp_path / "there/metrics.csv").read_bytes() == (tmp_path / "here/metrics.csv").read_bytes()


# Faults that the pretence has to find


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[object, str, Any], PretendedCuda]:
    def run(owner: object, name: str, value: Any) -> PretendedCuda:
        monkeypatch.setattr(owner, name, value)
        with pretended_cuda() as cuda:
            trained(tmp_path, "cuda", epochs=1, batch_size=4)
        return cuda

    return run


def test_a_label_left_on_the_cpu_is_found(faulty: Callable[[object, str, Any], PretendedCuda]) -> None:
    step = Learner.step
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        faulty(Learner, "step", lambda learner, x, y, rate: step(learner, x, y.cpu(), rate))


def test_a_wait_in_a_step_is_found(faulty: Callable[[object, str, Any], PretendedCuda]) -> None:
    whole = Tally.add

    def looking(tally: Tally, loss: Tensor, *others: Any) -> None:
        whole(tally, loss, *others)
        loss.item()

    cuda = faulty(Tally, "add", looking)
    assert {(file, kind): number for (file, _, kind), number in cuda.waits.items()}["train/loop.py", "item"] == 11


def test_a_generator_of_another_device_is_found() -> None:
    message = "Expected a 'cuda' device type for generator but found 'cpu'"
    with pretended_cuda(), pytest.raises(RuntimeError, match=message):
        torch.randn(3, device="cuda", generator=torch.Generator())
