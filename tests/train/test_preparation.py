"""Networks whose parts could not be stored are refused before training; coarse stems are remarked on."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from resnet_lab.core.errors import PluginError
from resnet_lab.data.config import DataConfig
from resnet_lab.device.processes import Processes
from resnet_lab.network import zoo
from resnet_lab.network.builder import assemble
from resnet_lab.network.plugins import Entry, Owner, Registry, load
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.preparation import _refuse_broken_plugins, make_ready
from resnet_lab.train.progress import TrainingWatcher

OWNER = Owner("lab-odd", "0.1")


class Odd(nn.Module):
    """Sound: a 1x1 convolution and a norm on the residual branch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class MakesItsLayer(Odd):
    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "late"):
            self.late = nn.Conv2d(x.shape[1], x.shape[1], 1, bias=False)
        return self.late(super().forward(x))


class MakesItsBuffer(Odd):
    def forward(self, x: Tensor) -> Tensor:
        if self.training and "seen" not in self._buffers:
            self.register_buffer("seen", torch.zeros(1))
        return super().forward(x)


class Twice(Odd):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.again = self.conv


class Tied(Odd):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.other = nn.Conv2d(channels, channels, 1)
        self.other.weight = self.conv.weight


class Lazy(Odd):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.conv = nn.LazyConv2d(channels, 1)


def in_every_block() -> Callable[[int], nn.Module]:
    one: dict[int, nn.Module] = {}

    def shared(channels: int) -> nn.Module:
        return one.setdefault(channels, Odd(channels))

    return shared


def registry(factory: Callable[[int], nn.Module]) -> Registry:
    found = load(only=[])
    found.add([Entry("attention", "odd", factory, OWNER, {})])
    return found


SPEC = zoo.get("resnet20").modified(input_size=8, attn="odd")


def refusal_of_shape(factory: Callable[[int], nn.Module]) -> str:
    known = registry(factory)
    model = assemble(SPEC, known).model
    with pytest.raises(PluginError) as failure:
        _refuse_broken_plugins(model, SPEC, known)
    return str(failure.value)


def test_a_layer_made_in_a_forward_pass() -> None:
    assert refusal_of_shape(MakesItsLayer) == (
        "resnet20: layer1.0.attn.late.weight is absent before a forward pass and (16, 16, 1, 1) after it, so its "
        "weights could not be read again; a part of the network must make its layers and buffers in __init__"
    )


def test_a_buffer_made_in_a_forward_pass_of_training_alone() -> None:
    assert refusal_of_shape(MakesItsBuffer) == (
        "resnet20: layer1.0.attn.seen is absent before a forward pass and (1,) after it, so its weights could not be "
        "read again; a part of the network must make its layers and buffers in __init__"
    )


def test_a_sound_network_is_unchanged() -> None:
    known = registry(Odd)
    model = assemble(SPEC, known).model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.random.get_rng_state()
    _refuse_broken_plugins(model, SPEC, known)
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.training


ONE = "are one tensor, and a weights file holds each under one name; keep a module in one place"


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("factory", "one", "other"),
    [
        (Twice, "layer1.0.attn.conv.weight", "layer1.0.attn.again.weight"),
        (Tied, "layer1.0.attn.conv.weight", "layer1.0.attn.other.weight"),
        (in_every_block(), "layer1.0.attn.conv.weight", "layer1.1.attn.conv.weight"),
    ],
    ids=["module", "parameter", "blocks"],
)
def test_a_tensor_in_several_places(factory: Callable[[int], nn.Module], one: str, other: str, device: str) -> None:
    with pytest.raises(PluginError) as failure:
        assemble(SPEC, registry(factory), device=device)
    assert str(failure.value) == f"resnet20: {one} and {other} {ONE}, and call it there as often as is needed"


def test_a_lazy_module() -> None:
    with pytest.raises(PluginError) as failure:
        assemble(SPEC, registry(Lazy))
    assert str(failure.value) == (
        "resnet20: layer1.0.attn.conv is a lazy module (LazyConv2d), whose tensors have no shape before a forward "
        "pass; make it with its input channels, which each factory is given"
    )


class Listener(TrainingWatcher):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def say(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize(("stem", "remarks"), [("plain", 1), ("cifar", 0)])
def test_a_stem_that_is_too_coarse_is_remarked_on(stem: str, remarks: int) -> None:
    spec, listener = zoo.get("resnet18").modified(input_size=8, stem=stem), Listener()
    make_ready(spec, DataConfig(), TrainConfig(device="cpu"), load(only=[]), listener, Processes(device="cpu"))
    found = [note for note in listener.notes if note.startswith("the stem reduces 8 x 8 pixels to 2 x 2, and the maps")]
    assert len(found) == remarks
