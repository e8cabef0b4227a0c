"""Attentions against timm's on the same weights, CBAM also against its formula, and the promises of the hook."""

import numpy as np
import pytest
import torch
from timm.layers import EcaModule, SEModule
from timm.layers.cbam import CbamModule
from timm.layers.coord_attn import CoordAttn, EfficientLocalAttn, StripAttn
from timm.layers.global_context import GlobalContext
from torch import nn

from resnet_lab.core.errors import SpecError
from resnet_lab.network.builder import build
from resnet_lab.network.plugins import load
from resnet_lab.network.spec import Component
from resnet_lab.testing.component_under_test import small_network

BUILT_IN = load(only=())
TEXTS = (
    "none",
    "se",
    "se(reduction=4)",
    "eca",
    "eca(kernel_size=5)",
    "cbam",
    "cbam(kernel_size=3, reduction=2)",
    "cbam(norm=true)",
    "cbam(norm=true, init=identity)",
    "bam(reduction=4)",
    "gc",
    "gc(reduction=4, fuse=scale)",
    "coord(reduction=4)",
    "strip(kernel_size=5)",
    "ela",
)
SIZES = [(7, 5), (1, 1), (9, 9)]


def make(text, channels):
    """The attention in float64, with weights far enough from zero for the gates to differ from 1/2."""
    torch.manual_seed(channels)
    attention = BUILT_IN.bind("attention", Component.parse(text), "here")(channels).double()
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.5)
    return attention


def example(channels, size=(7, 5), batch=3):
    torch.manual_seed(0)
    return torch.randn(batch, channels, *size, dtype=torch.float64)


def timm_cbam(channels, norm):
    module = CbamModule(channels, rd_channels=max(1, channels // 16))
    if not norm:
        module.spatial.conv.bn = nn.Identity()
    return module


TIMM = {
    "se": (lambda c: SEModule(c, rd_channels=max(1, c // 16)), {}),
    "eca": (EcaModule, {}),
    "cbam": (
        lambda c: timm_cbam(c, norm=False),
        {"fc1": "channel.fc1", "fc2": "channel.fc2", "conv": "spatial.conv.conv"},
    ),
    "cbam(norm=true)": (
        lambda c: timm_cbam(c, norm=True),
        {"fc1": "channel.fc1", "fc2": "channel.fc2", "conv": "spatial.conv.conv", "bn": "spatial.conv.bn"},
    ),
}


TIMM |= {
    "gc": (
        lambda c: GlobalContext(c, fuse_add=True, fuse_scale=False, rd_channels=max(1, c // 8)),
        {name: f"mlp_add.{name}" for name in ("fc1", "norm", "fc2")},
    ),
    "gc(fuse=scale)": (
        lambda c: GlobalContext(c, rd_channels=max(1, c // 8)),
        {name: f"mlp_scale.{name}" for name in ("fc1", "norm", "fc2")},
    ),
    "coord": (lambda c: with_biases(CoordAttn(c, rd_channels=max(8, c // 32))), {}),
    "strip": (StripAttn, {}),
    "ela": (EfficientLocalAttn, {}),
}


def with_biases(module):
    """timm's coordinate attention has none in the gates, and the authors' code has."""
    for name in ("conv_h", "conv_w"):
        plain = getattr(module, name)
        setattr(module, name, nn.Conv2d(plain.in_channels, plain.out_channels, 1))
    return module


def output_and_gradient(attention, x):
    x = x.clone().requires_grad_()
    out = attention(x)
    (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
    return out, x.grad


def test_every_attention_is_tested_here():
    assert BUILT_IN.names("attention") == sorted({text.partition("(")[0] for text in TEXTS})


@pytest.mark.parametrize("channels", [5, 16, 40, 256])
@pytest.mark.parametrize("text", TIMM)
@pytest.mark.parametrize("training", [True, False])
def test_equal_timm_on_the_same_weights(text, channels, training):
    make_other, names = TIMM[text]
    ours, other = make(text, channels).train(training), make_other(channels).double().train(training)
    renamed = {}
    for key, value in ours.state_dict().items():
        module, _, parameter = key.partition(".")
        renamed[f"{names.get(module, module)}.{parameter}"] = value
    other.load_state_dict(renamed)
    out, gradient = output_and_gradient(ours, example(channels))
    other_out, other_gradient = output_and_gradient(other, example(channels))
    torch.testing.assert_close(out, other_out, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, other_gradient, rtol=1e-12, atol=1e-12)
    for (name, weight), other_weight in zip(ours.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, other_weight.grad, rtol=1e-10, atol=1e-10, msg=name)
    for buffer, other_buffer in zip(ours.buffers(), other.buffers(), strict=True):  # the running statistics
        torch.testing.assert_close(buffer, other_buffer, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", [False, True])
def test_cbam_formula(norm):
    """Equations 2 and 3 of arXiv:1807.06521 in numpy; the BatchNorm over one channel written out."""
    attention, x = make(f"cbam(norm={str(norm).lower()})", 32), example(32, (4, 3), batch=2).numpy()
    w0, w1, w = (p.detach().numpy() for p in (attention.fc1.weight, attention.fc2.weight, attention.conv.weight))
    assert (w0.shape, w1.shape, w.shape) == ((2, 32, 1, 1), (32, 2, 1, 1), (1, 2, 7, 7))

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    def mlp(pooled):
        return np.maximum(pooled @ w0[..., 0, 0].T, 0) @ w1[..., 0, 0].T

    refined = x * sigmoid(mlp(x.mean((2, 3))) + mlp(x.max((2, 3))))[:, :, None, None]
    pooled = np.pad(np.stack((refined.mean(1), refined.max(1)), 1), ((0, 0), (0, 0), (3, 3), (3, 3)))
    spatial = np.zeros((2, 4, 3))
    for i, j in np.ndindex(4, 3):
        spatial[:, i, j] = (pooled[:, :, i : i + 7, j : j + 7] * w[0]).sum((1, 2, 3))
    if norm:
        scale, shift = attention.bn.weight.item(), attention.bn.bias.item()
        spatial = (spatial - spatial.mean()) / np.sqrt(spatial.var() + 1e-5) * scale + shift
    expected = refined * sigmoid(spatial)[:, None]
    np.testing.assert_allclose(attention(torch.from_numpy(x)).detach(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("channels", "kernel_size"), [(4, 3), (64, 3), (128, 5), (256, 5), (512, 5), (1024, 5), (2048, 7)]
)
def test_eca_kernel_grows_with_the_channels(channels, kernel_size):
    """Equation 12 of arXiv:1910.03151 by hand; below 32 channels the kernel stays at 3."""
    assert make("eca", channels).conv.weight.shape == (1, 1, kernel_size)


@pytest.mark.parametrize("training", [True, False])
def test_bam_formula(training):
    """Equations 1 to 4 of arXiv:1807.06514 in functional form."""
    attention, x = make("bam(reduction=4, dilation=2)", 8).train(training), example(8, (6, 5))
    weights = dict(attention.named_parameters())

    def norm(values, prefix):
        mean, variance = torch.zeros(1, dtype=x.dtype), torch.ones(1, dtype=x.dtype)  # of a norm that saw nothing yet
        if training:
            mean, variance = values.mean((0, 2, 3)), values.var((0, 2, 3), unbiased=False)
        shape = (-1, 1, 1)
        scaled = (values - mean.view(shape)) / (variance.view(shape) + 1e-5).sqrt()
        return scaled * weights[f"{prefix}.weight"].view(shape) + weights[f"{prefix}.bias"].view(shape)

    mean = x.mean((2, 3))
    hidden = torch.relu(mean @ weights["fc1.weight"][..., 0, 0].T + weights["fc1.bias"])
    channel = norm((hidden @ weights["fc2.weight"][..., 0, 0].T + weights["fc2.bias"])[..., None, None], "bn")
    spatial = torch.einsum("nchw,oc->nohw", x, weights["spatial.0.weight"][..., 0, 0])
    spatial = torch.relu(norm(spatial, "spatial.1"))
    for place in (3, 6):
        kernel = weights[f"spatial.{place}.weight"]
        padded = nn.functional.pad(spatial, (2, 2, 2, 2))
        spatial = sum(
            torch.einsum("nchw,oc->nohw", padded[:, :, 2 * i : 2 * i + 6, 2 * j : 2 * j + 5], kernel[:, :, i, j])
            for i, j in np.ndindex(3, 3)
        )
        spatial = torch.relu(norm(spatial, f"spatial.{place + 1}"))
    spatial = torch.einsum("nchw,oc->nohw", spatial, weights["spatial.9.weight"][..., 0, 0])
    expected = x + x * torch.sigmoid(channel + norm(spatial, "spatial.10"))
    torch.testing.assert_close(attention(x), expected)


def test_bam_takes_a_single_image_in_training():
    """Its norm of pooled maps has one value per channel then, and takes the running statistics."""
    attention, x = make("bam(reduction=4)", 8), example(8, batch=1)
    attention.spatial.eval()
    torch.testing.assert_close(attention(x), attention.eval()(x))


GATES = ("se", "eca", "cbam", "cbam(norm=true)", "gc(fuse=scale)", "coord", "strip", "ela")


@pytest.mark.parametrize("text", [*GATES, "gc"])
@pytest.mark.parametrize("training", [True, False])
def test_a_gate_that_starts_as_identity_changes_no_bit(text, training):
    """And it learns: the layer that starts at zero has a gradient. `gc` adds nothing at its start by itself."""
    if text in GATES:
        text = f"{text.removesuffix(')')}{', ' if '(' in text else '('}init=identity)"
    x = example(16).float()
    grafted = build("resnet20", attn=text, seed=5).train(training)
    image = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    assert torch.equal(grafted(image), build("resnet20", seed=5).train(training)(image))
    attention = grafted.get_submodule("layer1.0.attn")
    assert torch.equal(attention(x), x)
    attention(x).square().sum().backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in attention.parameters())


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_positions(block):
    """`inner` precedes the last convolution and has the branch's width."""
    places = {}
    for position in ("branch", "inner", "output"):
        spec = small_network(block, "attention", f"se(position={position})")
        network = build(spec)
        places[position] = [name for name, module in network.named_modules() if isinstance(module, type(make("se", 8)))]
    assert places == {
        "branch": ["layer1.0.attn", "layer2.0.attn"],
        "inner": ["layer1.0.inner_attn", "layer2.0.inner_attn"],
        "output": ["layer1.0.output_attn", "layer2.0.output_attn"],
    }
    first = build(small_network(block, "attention", "se(position=inner)")).get_submodule("layer1.0")
    assert first.inner_attn.fc1.in_channels == 32
    seen = []
    first.inner_attn.register_forward_hook(lambda module, inputs, output: seen.append(output))
    last = first.conv2 if block == "basic" else first.conv3
    last.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    first(torch.randn(1, 32, 4, 4))
    assert torch.equal(seen[0], seen[1])


def test_none_is_nothing():
    x = example(8)
    assert make("none", 8)(x) is x


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("text", TEXTS)
def test_shape_layout_and_repeats(text, size):
    attention, x = make(text, 32), example(32, size)
    out = attention(x)
    assert out.shape == x.shape
    assert out.isfinite().all()
    assert torch.equal(attention(x), out)
    torch.testing.assert_close(attention.eval()(x[:1]), attention(x)[:1])

    last = attention.train()(x.to(memory_format=torch.channels_last))
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last, out)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("text", TEXTS)
def test_bfloat16(text, size):
    attention, x = make(text, 32).eval(), example(32, size)
    expected = attention(x)
    half = attention.bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), expected, rtol=0.05, atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS)
def test_compiles_without_a_graph_break(text):
    attention, x = make(text, 16), example(16)
    compiled = torch.compile(attention, fullgraph=True, backend="aot_eager")
    for ours, expected in zip(output_and_gradient(compiled, x), output_and_gradient(attention, x), strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["se", "eca", "cbam"])
def test_compiles_to_kernels(text):
    attention, x = make(text, 16), example(16)
    torch.testing.assert_close(torch.compile(attention, fullgraph=True)(x), attention(x))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cbam_repeats_bit_for_bit_on_cuda(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    attention, x = make("cbam(norm=true)", 64).float().cuda(), example(64, (14, 14), batch=32).float().cuda()

    def gradients():
        attention.zero_grad()
        out, gradient = output_and_gradient(attention, x)
        return [out, gradient, *(parameter.grad for parameter in attention.parameters())]

    torch.use_deterministic_algorithms(True)
    try:
        first, second = gradients(), gradients()
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("se(reduction=0)", "attention se(reduction=0): the reduction must be at least 1"),
        ("cbam(reduction=-1)", "attention cbam(reduction=-1): the reduction must be at least 1"),
        ("cbam(kernel_size=4)", "attention cbam(kernel_size=4): it must be odd, from 1 to 255"),
        ("bam(dilation=0)", "attention bam(dilation=0): the dilation must be at least 1"),
        ("bam(reduction=0)", "attention bam(reduction=0): the reduction must be at least 1"),
        ("gc(reduction=0)", "attention gc(reduction=0): the reduction must be at least 1"),
        ("coord(reduction=0)", "attention coord(reduction=0): the reduction must be at least 1"),
        ("strip(kernel_size=2)", "attention strip(kernel_size=2): it must be odd, from 1 to 255"),
        ("ela(kernel_size=257)", "attention ela(kernel_size=257): it must be odd, from 1 to 255"),
        ("cbam(kernel_size=0)", "attention cbam(kernel_size=0): it must be odd, from 1 to 255"),
        ("eca(kernel_size=2)", "attention eca(kernel_size=2): it must be odd, from 1 to 255 (or 0: by channels)"),
        ("eca(kernel_size=-1)", "attention eca(kernel_size=-1): it must be odd, from 1 to 255 (or 0: by channels)"),
        (
            "cbam(norm=1)",
            "here: attention cbam: parameter 'norm': input should be a valid boolean, got 1",
        ),
        (
            "se(reduction=2.0)",
            "here: attention se: parameter 'reduction': input should be a valid integer, got 2.0",
        ),
        ("cbam(kernel=3)", "here: attention cbam has no parameter 'kernel'; did you mean 'kernel_size'?"),
    ],
)
def test_refused_parameters(text, message):
    with pytest.raises(SpecError) as error:
        make(text, 16)
    assert str(error.value) == message


@pytest.mark.parametrize("gamma", [0.0, -2.0])
def test_eca_refuses_a_gamma_that_divides_by_nothing(gamma):
    with pytest.raises(SpecError) as error:
        make(f"eca(gamma={gamma})", 16)
    assert str(error.value) == f"attention eca(gamma={gamma}): gamma must be positive"
