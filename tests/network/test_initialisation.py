import math

import pytest
import torch
from scipy.integrate import quad
from torch import nn
from torch.nn import functional as F

from resnet_lab.core.errors import SpecError
from resnet_lab.core.seeds import named_seed
from resnet_lab.network.builder import build
from resnet_lab.network.initialisation import gain, initialise

NORMAL = 1 / math.sqrt(2 * math.pi)


@pytest.mark.parametrize(
    ("make", "expected"),
    [(nn.ReLU, math.sqrt(2)), (lambda: nn.LeakyReLU(0.2), math.sqrt(2 / (1 + 0.2**2))), (nn.Identity, 1.0)],
)
def test_gains_that_have_a_formula(make, expected: float) -> None:
    """He et al. 2015, arXiv:1502.01852, equations 10 and 15."""
    assert gain(make) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("function", [F.gelu, F.silu, F.mish, F.hardswish])
def test_gains_by_quadrature(function) -> None:
    class Activation(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return function(x)

    def integrand(z: float) -> float:
        return NORMAL * math.exp(-z * z / 2) * function(torch.tensor(z, dtype=torch.float64)).item() ** 2

    second_moment = quad(integrand, -12, 12, points=[-3, 0, 3])[0]
    assert gain(Activation) == pytest.approx(1 / math.sqrt(second_moment), rel=1e-6)


def test_the_seed_of_a_name_is_stable() -> None:
    """SHA-256 of "0:fc", first eight bytes, halved: the same on every machine and in every version."""
    import hashlib

    assert named_seed(0, "fc") == int(hashlib.sha256(b"0:fc").hexdigest()[:16], 16) // 2
    assert len({named_seed(seed, name) for seed in range(10) for name in ("a", "b", "conv1")}) == 30


@pytest.mark.parametrize("attn", ["se", "eca", "cbam", "cbam(norm=true)@3", "se(position=output)"])
@pytest.mark.parametrize("name", ["resnet20", "resnet50"])
def test_attention_leaves_all_other_weights_unchanged(name: str, attn: str) -> None:
    plain, gated = build(name, seed=3).state_dict(), build(name, seed=3, attn=attn).state_dict()
    assert all(torch.equal(gated[key], tensor) for key, tensor in plain.items())
    assert any("attn" in key for key in gated.keys() - plain.keys())


def test_any_single_change_leaves_the_rest_unchanged() -> None:
    plain = build("resnet18").state_dict()
    changes = {"dropout": 0.1, "conv": "separable@4", "norm": "layer@2", "num_classes": 7, "block": "bottleneck@1"}
    for option, value in changes.items():
        changed = build("resnet18", **{option: value}).state_dict()
        same = [key for key in plain if key in changed and changed[key].shape == plain[key].shape]
        assert len(same) > 80
        assert all(torch.equal(changed[key], plain[key]) for key in same if "norm" not in option or "layer2" not in key)


def test_an_activation_changes_the_scale_alone() -> None:
    relu, gelu = build("resnet20").state_dict(), build("resnet20", act="gelu").state_dict()
    ratio = gain(nn.GELU) / math.sqrt(2)
    for key in relu:
        factor = ratio if "conv" in key and key.endswith("weight") else 1
        torch.testing.assert_close(gelu[key], relu[key] * factor)


def test_no_activation_changes_a_bit_where_the_gain_is_fixed() -> None:
    relu = build("resnet20", attn="cbam").state_dict()
    for act in ("relu", "gelu", "hardswish@2"):
        other = build("resnet20", attn="cbam", act=act, init_gain="fixed").state_dict()
        assert all(torch.equal(other[key], relu[key]) for key in relu)
        assert other.keys() == relu.keys()


def test_an_unknown_gain() -> None:
    with pytest.raises(SpecError) as failure:
        build("resnet20", init_gain="fixd")
    assert str(failure.value) == "init_gain 'fixd' must be one of activation, fixed"


def test_seeds_differ_and_repeat() -> None:
    first, again, other = (build("resnet20", seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])
    assert not torch.equal(first["fc.weight"], other["fc.weight"])
    assert not torch.equal(first["layer1.0.conv1.weight"], first["layer1.0.conv2.weight"])


def test_the_caller_s_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    build("resnet20", attn="cbam", dropout=0.1)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))


def test_deviations_are_he_s() -> None:
    """sqrt(2 / fan_out), the fan of a grouped convolution being that of its group."""
    model = build("resnet50", conv="depthwise")
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 4000:
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1] / module.groups
            assert module.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.06), name


@pytest.mark.parametrize("make", [nn.ReLU, nn.GELU, nn.SiLU, nn.Hardswish])
def test_a_layer_keeps_the_second_moment(make) -> None:
    """The gain keeps E[x^2] = 1 for standard normal signals through activation and convolution."""
    torch.manual_seed(0)
    layer = nn.Sequential(make(), nn.Conv2d(512, 512, 1))
    initialise(layer, 0, {"1": gain(make)})
    assert layer(torch.randn(4, 512, 8, 8)).square().mean().item() == pytest.approx(1, rel=0.1)


def test_biases_of_convolutions_start_at_zero_and_linear_layers_as_torch_s() -> None:
    model = build("resnet20", norm="none", num_classes=100)
    assert not model.get_submodule("layer2.0.conv1").bias.any()
    bound = 1 / math.sqrt(64)
    assert 0.98 * bound < model.fc.weight.abs().max() <= bound


@pytest.mark.parametrize(("name", "norm"), [("resnet20", "bn2"), ("resnet50", "bn3")])
def test_zero_init_residual_makes_blocks_start_as_identity(name: str, norm: str) -> None:
    model = build(name, zero_init_residual=True)
    for key, parameter in model.named_parameters():
        zeroed = ".layer" in f".{key}" and key.endswith(f".{norm}.weight")
        assert bool(parameter.any()) != zeroed or "bias" in key, key
    block = model.get_submodule("layer1.1").eval()
    x = torch.randn(2, 16 if name == "resnet20" else 256, 5, 5)
    torch.testing.assert_close(block(x), x.relu())
    plain = build(name).state_dict()
    changed = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, plain[key])}
    assert changed == {key for key in plain if "layer" in key and key.endswith(f".{norm}.weight")}
