import json
from math import floor
from pathlib import Path

import pytest
from torchvision.models import get_model_weights

from resnet_lab.core.errors import SpecError
from resnet_lab.network import zoo
from resnet_lab.network.cost import measure
from tests.references.counts import count

TORCHVISION = (
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    "wide_resnet50_2", "wide_resnet101_2", "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d",
)  # fmt: skip


@pytest.mark.parametrize("row", zoo.ROWS, ids=lambda row: row.name)
def test_counts_of_each_row(row: zoo.Row) -> None:
    """Arithmetic on the spec agrees with torch's counter on the network; the rest neither counts."""
    measured = measure(row.spec)
    assert (row.parameters, row.macs) == count(row.spec) == (measured.parameters, measured.macs)
    pools = {"max_pool2d_with_indices"} if row.spec.stem.max_pool else set()
    pools |= {"avg_pool2d"} if row.name.endswith(("d", "t")) and row.name.startswith("resnet") else set()
    pads = {"avg_pool2d", "constant_pad_nd"} if "option A" in row.source else set()
    assert set(measured.uncounted) == {"add_", "batch_norm", "mean", "relu_"} | pools | pads


@pytest.mark.parametrize("name", TORCHVISION)
def test_counts_that_torchvision_publishes(name: str) -> None:
    published = get_model_weights(name).DEFAULT.meta
    row = zoo.row(name)
    assert row.parameters == published["num_params"]
    assert row.macs / 1e9 == pytest.approx(published["_ops"], rel=1e-3)


@pytest.mark.parametrize(("depth", "flops"), [(18, 1.8), (34, 3.6), (50, 3.8), (101, 7.6), (152, 11.3)])
def test_the_flops_row_of_table_1(depth: int, flops: float) -> None:
    """He et al. 2015, table 1, in multiply-adds; 3.66 stands there as 3.6, 7.57 as 7.6: cut or rounded."""
    giga = zoo.row(f"resnet{depth}_v1").macs / 1e9
    assert flops in (round(giga, 1), floor(giga * 10) / 10)


@pytest.mark.parametrize(
    ("name", "giga"),
    [
        ("resnet18", 1.814), ("resnet34", 3.664), ("resnet50", 4.089), ("resnet101", 7.801), ("resnet152", 11.514),
        ("resnet50_v1", 3.858), ("resnet101_v1", 7.570), ("resnet152_v1", 11.282),
    ],
)  # fmt: skip
def test_multiply_adds_in_billions(name: str, giga: float) -> None:
    assert round(zoo.row(name).macs / 1e9, 3) == giga


@pytest.mark.parametrize(("depth", "millions"), [(20, "0.27"), (32, "0.46"), (44, "0.66"), (56, "0.85"), (110, "1.7")])
def test_parameters_of_section_4_2(depth: int, millions: str) -> None:
    """He et al. 2015, table 6: the CIFAR networks with option-A shortcuts."""
    digits = len(millions.partition(".")[2])
    assert f"{zoo.row(f'resnet{depth}').parameters / 1e6:.{digits}f}" == millions


def test_option_b_adds_its_two_projections_alone() -> None:
    """1x1 convolutions 16 to 32 and 32 to 64 with their batch norms: section 4.2 changes nothing else."""
    extra = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    assert zoo.row("resnet20_b").parameters - zoo.row("resnet20").parameters == extra


def test_names_are_the_table_s() -> None:
    assert set(TORCHVISION) < set(zoo.names())
    assert len(set(zoo.names())) == len(zoo.ROWS) == 32
    assert all(row.source.split("arXiv:")[1][:4].isdigit() for row in zoo.ROWS)


def test_an_unknown_network_is_offered_its_neighbours() -> None:
    with pytest.raises(SpecError) as failure:
        zoo.get("resnet5")
    assert str(failure.value) == "unknown network 'resnet5'; did you mean 'resnet56' or 'resnet50' or 'resnet50t'?"


def test_unmodified_keeps_classes_and_input() -> None:
    changed = zoo.get("resnet18").modified(act="gelu", attn="se", num_classes=7, in_channels=1, input_size=64)
    plain = zoo.unmodified(changed)
    assert plain == zoo.get("resnet18").modified(num_classes=7, in_channels=1, input_size=64)
    assert zoo.unmodified(changed.modified(name="mine")) is None


def test_a_whole_spec_and_a_brief_one_are_read(tmp_path: Path) -> None:
    spec = zoo.get("resnet50").modified(act="gelu", attn=["se", "cbam(reduction=8)@3,4"], num_classes=9)
    (tmp_path / "whole.json").write_text(spec.to_json())
    assert zoo.read(tmp_path / "whole.json") == spec
    (tmp_path / "brief.toml").write_text('act = "gelu"\nattn = ["se", "cbam(reduction=8)@3,4"]\nnum_classes = 9\n')
    assert zoo.read(tmp_path / "brief.toml") == spec
    (tmp_path / "brief.json").write_text(json.dumps({"model": "resnet18", "dropout": 0.1}))
    assert zoo.read(tmp_path / "brief.json") == zoo.get("resnet18").modified(dropout=0.1)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s.json", "{", "not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("s.toml", "act =", "not TOML: Invalid value (at end of document)"),
        ("s.json", "[1]", "a spec is a table of keys, got list"),
        ("s.toml", "atn = 'se'", "unknown key 'atn'; did you mean 'attn' or 'act'?"),
        ("s.toml", "model = 'resnet51'", "unknown network 'resnet51'; did you mean 'resnet56' or 'resnet50' or"),
        ("s.toml", "model = ['resnet50']", "model must be a text, got ['resnet50']"),
        ("s.toml", "act = 3", "act must be a component, written as text, or a list of them, got 3"),
        ("s.toml", "attn = 'se@9'", "se: resnet50 has no such part in stage 9; it can go to stages 1 to 4"),
        ("s.toml", "num_classes = 0", "resnet50: head.num_classes: input should be greater than or equal to 1, got 0"),
    ],
)
def test_files_that_say_no_network(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SpecError) as failure:
        zoo.read(tmp_path / name)
    assert str(failure.value).startswith(f"{tmp_path / name}: {message}")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as failure:
        zoo.read(tmp_path / "absent.json")
    assert str(failure.value) == f"{tmp_path}/absent.json: cannot be read: No such file or directory"
