"""The comparison with other projects: every cell has a source, and what can be measured here is."""

import re
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from resnet_lab import build, zoo

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "comparison.md").read_text()
REFERENCE = re.compile(r"\[\^([\w-]+)\](?!:)")
SOURCES = dict(re.findall(r"^\[\^([\w-]+)\]: (.+)$", PAGE, flags=re.MULTILINE))


def rows() -> list[list[str]]:
    """The cells of all rows below a table's head."""
    lines = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    return [cells for cells in lines if cells[0] != "project"]


def versions() -> dict[str, str]:
    """What the first table says of each project's version."""
    return {cells[0]: cells[1] for cells in rows()[:9]}


def test_every_cell_has_a_source() -> None:
    cells = [cell for row in rows()[:9] for cell in row[2:]] + [cell for row in rows()[9:] for cell in row[1:]]
    assert len(cells) > 100
    assert [cell for cell in cells if not REFERENCE.search(cell)] == []


def test_every_source_is_used_and_names_a_version_and_a_file() -> None:
    assert set(REFERENCE.findall(PAGE)) == set(SOURCES)
    known = versions()
    for label, text in SOURCES.items():
        project = re.match(r"[\w-]+", text)
        assert project, label
        name = project.group()
        if name != "resnet-lab":
            stated = re.match(rf"{name} (\S+?)[,:]? ", text)
            assert stated, label
            assert stated.group(1) in known[name], label
        assert re.search(r"`[\w./*-]*(?:\.\w+|[A-Z]{7}|[a-z_]+/[a-z_]+|composer|fastai)`", text), label


def test_a_row_cites_its_own_project() -> None:
    prefixes = {"resnet-lab": "ours"} | {name: name.lower() for name in versions() if name != "resnet-lab"}
    for cells in rows():
        for label in REFERENCE.findall(" ".join(cells)):
            assert label.startswith(f"{prefixes[cells[0]]}-"), cells[0]


def test_our_own_sources_exist() -> None:
    for label, text in SOURCES.items():
        if label.startswith("ours-"):
            assert [path for path in re.findall(r"`([\w./]+\.\w+|LICENSE)`", text) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_sources_of_installed_libraries_exist(library: str) -> None:
    found = find_spec(library)
    assert found
    assert found.origin
    if version(library).split("+")[0] not in versions()[library]:
        pytest.skip(f"the page is about another version of {library}")
    folder = Path(found.origin).parent.parent
    paths = [
        path
        for text in SOURCES.values()
        if text.startswith(f"{library} {version(library).split('+')[0]}")
        for path in re.findall(rf"`({library}/[\w/]+\.py)`", text)
    ]
    assert len(paths) > 3
    assert [path for path in paths if not (folder / path).exists()] == []


def state(make: Callable[[], nn.Module]) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return make().state_dict()


def share_kept(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Share of the convolutions of both networks that are equal."""
    kernels = [name for name, tensor in one.items() if name in other and tensor.ndim == 4]
    return sum(torch.equal(one[name], other[name]) for name in kernels) / len(kernels)


def timm_network(**arguments: object) -> dict[str, Tensor]:
    layers = timm.models.resnet
    return state(lambda: layers.ResNet(layers.BasicBlock, (1, 1, 1, 1), **arguments))


def torchvision_network(**arguments: object) -> dict[str, Tensor]:
    layers = torchvision.models.resnet
    return state(lambda: torchvision.models.ResNet(layers.BasicBlock, [1, 1, 1, 1], **arguments))


@pytest.mark.slow
def test_weights_of_untouched_layers() -> None:
    """timm's and torchvision's are kept where the change draws no random numbers; ours always."""
    plain = timm_network()
    assert share_kept(plain, timm_network(act_layer="gelu")) == 1
    assert share_kept(plain, timm_network(norm_layer="groupnorm")) == 1
    assert share_kept(plain, timm_network(block_args={"attn_layer": "se"})) == 0
    grouped = torchvision_network(norm_layer=lambda channels: nn.GroupNorm(8, channels))
    assert share_kept(torchvision_network(), grouped) == 1
    small = zoo.get("resnet20")
    ours = build(small, seed=0).state_dict()
    assert share_kept(ours, build(small.modified(attn="se", norm="group(groups=8)"), seed=0).state_dict()) == 1


def test_figures_of_installed_libraries() -> None:
    """Counts on the page, of the versions on the page."""
    if version("timm") in versions()["timm"]:
        assert (len(timm.list_models()), len(timm.list_modules()), len(timm.list_pretrained())) == (1371, 98, 1826)
    if version("torchvision").split("+")[0] in versions()["torchvision"]:
        names = torchvision.models.list_models(module=torchvision.models)
        counts = {len(torchvision.models.get_model_weights(name)) for name in names}
        assert (len(names), min(counts), max(counts)) == (80, 1, 4)
        published = torchvision.models.ResNet50_Weights.IMAGENET1K_V2.meta
        assert {"num_params", "_ops", "_file_size", "recipe", "_metrics"} <= set(published)
