from collections.abc import Iterator
from copy import deepcopy
from itertools import chain
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from resnet_lab import build
from resnet_lab.core.errors import ConfigError
from resnet_lab.network.builder import resolve
from resnet_lab.network.model import ResNet
from resnet_lab.network.spec import ModelSpec
from resnet_lab.train.config import parse_freeze
from resnet_lab.train.freezing import PartlyFrozen, freeze

CHILDREN = {"stem": ("conv1", "bn1", "act1", "maxpool"), "fc": ("fc",)}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """A network this small gains nothing from more threads, which would wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small(**changes: object) -> ModelSpec:
    """Three stages of one block at 16, 32 and 64 channels, five classes."""
    spec = resolve("resnet20", num_classes=5, input_size=16)
    stages = tuple(stage.model_copy(update={"depth": 1}) for stage in spec.stages)
    return spec.model_copy(update={"stages": stages}).modified(**changes)  # type: ignore[arg-type]


def pictures(number: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(number, 3, 16, 16, generator=generator), torch.arange(number) % 5


def frozen_by_hand(model: ResNet, names: tuple[str, ...]) -> list[nn.Module]:
    """The way it is written in plain PyTorch: the network itself, with a graph through all of it."""
    model.train()
    modules = [model.get_submodule(child) for name in names for child in CHILDREN.get(name, (name,))]
    for module in modules:
        module.eval()
        for parameter in module.parameters():
            parameter.requires_grad = False
    return modules


def learned(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The loss after two steps of SGD."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1, momentum=0.9)
    for _ in range(2):
        torch.manual_seed(5)  # of dropout
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.detach()


PREFIXES = [("stem",), ("stem", "layer1", "layer2"), ("stem", "layer1", "layer2", "layer3")]
ANYWHERE = [(), ("layer2",), ("stem", "layer2"), ("layer1", "layer3"), ("fc",), ("layer3", "stem", "fc")]


@pytest.mark.parametrize("names", PREFIXES + ANYWHERE, ids="+".join)
def test_it_learns_as_a_network_frozen_by_hand(names: tuple[str, ...]) -> None:
    plain, model = (build(small(head_dropout=0.3)) for _ in range(2))
    frozen_by_hand(plain, names)
    frozen = freeze(model, names).train()
    x, y = pictures()
    assert torch.equal(learned(frozen, x, y), learned(plain, x, y))
    ours, theirs = frozen.state_dict(), plain.state_dict()
    assert list(ours) == list(theirs)
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"block": "bottleneck"},
        {"conv": "depthwise", "act": "gelu", "attn": "cbam(norm=true)"},
        {"norm": "group(groups=8)", "attn": "se(position=output)"},
        {"norm": "none", "act": "silu", "shortcut": "zero_pad"},
        {"conv": "separable", "shortcut": "pooled_projection", "attn": "eca"},
        {"norm": "layer", "act": "leaky_relu"},
    ],
    ids=str,
)
@pytest.mark.parametrize("names", [("stem", "layer1"), ("layer2",)], ids="+".join)
def test_so_does_one_of_any_parts(names: tuple[str, ...], changes: dict[str, str]) -> None:
    plain, model = (build(small(**changes)) for _ in range(2))
    frozen_by_hand(plain, names)
    x, y = pictures()
    assert torch.equal(learned(freeze(model, names).train(), x, y), learned(plain, x, y))


@pytest.mark.parametrize("names", PREFIXES + ANYWHERE, ids="+".join)
def test_frozen_parts_are_unchanged(names: tuple[str, ...]) -> None:
    model = build(small())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    frozen = freeze(model, names)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    learned(frozen.train(), *pictures())
    changed = {
        name.split(".")[0] for name, tensor in model.state_dict().items() if not torch.equal(before[name], tensor)
    }
    children = {name for name, child in model.named_children() if list(child.parameters())}
    assert changed == children - set(chain.from_iterable(CHILDREN.get(name, (name,)) for name in names))


def test_dropout_in_a_frozen_part_is_off_and_behind_it_is_on() -> None:
    frozen = freeze(build(small(dropout=0.5)), ("stem", "layer1", "layer2")).train()
    x, _ = pictures()
    features = frozen.fixed(x)
    assert torch.equal(features, frozen.fixed(x))
    assert not torch.equal(frozen.layer3(features), frozen.layer3(features))
    frozen.eval()
    assert torch.equal(features, frozen.fixed(x))
    assert torch.equal(frozen.layer3(features), frozen.layer3(features))


def test_no_call_of_train_wakes_a_frozen_part() -> None:
    frozen = freeze(build(small()), ("stem", "layer2"))
    outer = nn.Sequential(frozen)
    for module in (outer, deepcopy(outer)):
        module.eval().train()
        modes = {name: child.training for name, child in module[0].named_children()}
        assert modes == {
            "conv1": False, "bn1": False, "act1": False, "maxpool": False, "layer1": True, "layer2": False,
            "layer3": True, "avgpool": True, "dropout": True, "fc": True,
        }  # fmt: skip
        assert not any(part.training for part in module[0].layer2.modules())


@pytest.mark.parametrize("names", PREFIXES, ids="+".join)
def test_frozen_first_parts_run_without_a_graph(names: tuple[str, ...]) -> None:
    """The backward pass keeps as many tensors as when the features alone are given."""
    frozen = freeze(build(small()), names).train()
    x, _ = pictures()
    features = frozen.fixed(x)
    assert not features.requires_grad

    def kept(x: Tensor) -> int:
        saved: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor), lambda tensor: tensor):
            frozen(x)
        return len(saved)

    with_images = kept(x)
    frozen.takes_features = True
    assert with_images == kept(features) > 0


def test_features_are_pooled_where_only_the_classifier_learns() -> None:
    model = build(small(head_dropout=0.5)).eval()
    x, _ = pictures()
    frozen = freeze(model, ("stem", "layer1", "layer2", "layer3"))
    assert torch.equal(frozen.fixed(x), model.features(x).mean((2, 3)))
    frozen.takes_features = True
    assert torch.equal(frozen(frozen.fixed(x)), model(x))


def test_it_runs_in_bf16_as_by_hand() -> None:
    names = ("stem", "layer1")
    plain, model = (build(small()) for _ in range(2))
    frozen_by_hand(plain, names)
    x, y = pictures()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(learned(freeze(model, names).train(), x, y), learned(plain, x, y))


def test_it_compiles_as_one_graph() -> None:
    names = ("stem", "layer2")
    plain, model = (build(small()) for _ in range(2))
    compiled = torch.compile(freeze(model, names).train(), backend="eager", fullgraph=True)
    x, y = pictures()
    frozen_by_hand(plain, names)
    assert torch.equal(learned(compiled.train(), x, y), learned(plain, x, y))


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A group of one process."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("names", [("stem", "layer1"), ("layer2",)], ids="+".join)
def test_it_is_spread_over_processes(names: tuple[str, ...]) -> None:
    plain, model = (build(small()) for _ in range(2))
    frozen_by_hand(plain, names)
    x, y = pictures()
    assert torch.equal(learned(DistributedDataParallel(freeze(model, names).train()), x, y), learned(plain, x, y))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1-3", ("stem", "layer1", "layer2", "layer3")),
        ("1", ("stem", "layer1")),
        ("1,2", ("stem", "layer1", "layer2")),
        ("2, 1", ("stem", "layer1", "layer2")),
        ("2-3", ("layer2", "layer3")),
        ("3", ("layer3",)),
        ("stem,layer1", ("stem", "layer1")),
        ("layer1", ("layer1",)),
        ("layer10,2,fc,stem", ("stem", "layer2", "layer10", "fc")),
        ("9-11", ("layer9", "layer10", "layer11")),
        ("1-2,2,layer2", ("stem", "layer1", "layer2")),
        (" none ", ()),
    ],
)
def test_reading_the_option(text: str, names: tuple[str, ...]) -> None:
    assert parse_freeze(text) == names


@pytest.mark.parametrize(
    ("text", "item"),
    [("3-1", "3-1"), ("0", "0"), ("0-2", "0-2"), ("", ""), ("1,", ""), ("1;2", "1;2"), ("layer0", "layer0"),
     ("1-1000000000", "1-1000000000"), ("stage1", "stage1"), ("none,1", "none"), ("1--3", "1--3"), ("-1", "-1"),
     ("stem, conv1", "conv1"), ("1.5", "1.5"), ("١", "١")],
)  # fmt: skip
def test_other_texts_are_refused(text: str, item: str) -> None:
    with pytest.raises(ConfigError) as failure:
        parse_freeze(text)
    assert str(failure.value) == (
        f"freeze {text!r}: {item!r} is no part of a network; write stages such as 1-3 or 1,2, parts such as "
        "stem,layer1, or none"
    )


def test_a_part_that_the_network_has_not_is_refused() -> None:
    with pytest.raises(ConfigError) as failure:
        freeze(build(small()), ("stem", "layer4"))
    assert str(failure.value) == ("freeze: the network has no part 'layer4'; it has stem, layer1, layer2, layer3, fc")


def test_freezing_everything_is_refused() -> None:
    with pytest.raises(ConfigError) as failure:
        freeze(build(small()), parse_freeze("1-3,fc"))
    assert str(failure.value) == (
        "freeze: every part of the network is frozen and nothing is left to learn; leave out fc"
    )


def test_a_refused_network_is_unchanged() -> None:
    model = build(small())
    with pytest.raises(ConfigError):
        freeze(model, ("stem", "layer9"))
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert isinstance(freeze(model, ()), PartlyFrozen)
