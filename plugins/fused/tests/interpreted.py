"""Kernels against the plain modules, in Triton's interpreter; run by `test_fused.py` in a process of its own.

Legend: N batch, C channels, H W pixels. The plain side is computed in float64.
"""

import copy
from unittest import mock

import pytest
import torch
from resnet_lab_fused import register_kernels
from resnet_lab_fused.gates import GatedBranch
from resnet_lab_fused.modules import FusedBottleneck, FusedCBAM, FusedDepthwise, has_triton
from torch import nn
from torch.nn import functional as F
from triton.runtime.interpreter import InterpreterBuilder

from resnet_lab.plugin_api import CBAM, Bottleneck, Parts
from resnet_lab.testing import check

assert has_triton()

ACTIVATIONS = {"none": lambda u: u, "relu": torch.relu, "gelu": F.gelu, "silu": F.silu}
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 1e-2}
"""Largest deviation, relative to the largest value: two bits of bfloat16's significand of 8."""


def as_map(*shape, dtype=torch.float32, seed=0):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + 0.5
    return values.to(dtype).contiguous(memory_format=torch.channels_last)


def assert_near(ours, theirs, tolerance):
    difference = (ours.double() - theirs.double()).abs().max()
    assert difference <= tolerance * theirs.abs().max().clamp_min(1e-3), f"{float(difference):.2e}"


def kernels(function, x, *others):
    """Calls of an operator, by its name, while a function runs."""
    seen = []

    class Seen(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func.namespace == "resnet_lab_fused":
                seen.append(func.name().split("::")[1])
            return func(*args, **(kwargs or {}))

    with Seen():
        function(x, *others)
    return seen


# CBAM at the end of a branch


def branch_end(channels, norm, seed=0):
    """A CBAM and a norm with weights of both signs and a zero."""
    torch.manual_seed(seed)
    attn = CBAM(channels, reduction=4)
    bn = nn.BatchNorm2d(channels) if norm else None
    if bn is not None:
        nn.init.normal_(bn.weight)
        nn.init.normal_(bn.bias)
        nn.init.normal_(bn.running_mean)
        nn.init.uniform_(bn.running_var, 0.5, 2)
        bn.weight.data[0] = 0
    return attn, bn


def expected(x, identity, attn, norm, act, training):
    """Outputs by plain modules in float64, and gradients of all that is learned."""
    attn, norm = copy.deepcopy(attn).double(), copy.deepcopy(norm)
    inputs = [x.double().requires_grad_()] + ([] if identity is None else [identity.double().requires_grad_()])
    out = inputs[0] if norm is None else norm.double().train(training)(inputs[0])
    out = attn(out)
    out = ACTIVATIONS[act](out if identity is None else out + inputs[1])
    learned = [] if norm is None else [norm.weight, norm.bias]
    return out, [*inputs, *learned, attn.fc1.weight, attn.fc2.weight, attn.conv.weight]


CASES = [
    # N, C, H, W, norm, identity, act, training, dtype
    (2, 16, 4, 4, False, False, "none", True, torch.float32),
    (2, 24, 5, 7, True, True, "gelu", True, torch.float32),
    (2, 24, 5, 7, True, True, "gelu", False, torch.float32),
    (1, 3, 1, 1, False, True, "silu", True, torch.float32),
    (3, 130, 9, 5, True, True, "relu", True, torch.float32),  # more channels than a tile
    (2, 8, 17, 16, True, True, "gelu", True, torch.float32),  # more pixels than a program
    (2, 20, 5, 7, True, True, "gelu", True, torch.bfloat16),
    (2, 130, 3, 3, False, False, "none", True, torch.bfloat16),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(str(each).removeprefix("torch.") for each in case))
def test_gated_branch(case):
    n, c, h, w, has_norm, has_identity, act, training, dtype = case
    attn, norm = branch_end(c, has_norm)
    x = as_map(n, c, h, w, dtype=dtype).requires_grad_()
    identity = as_map(n, c, h, w, dtype=dtype, seed=1).requires_grad_() if has_identity else None
    gradient = as_map(n, c, h, w, dtype=dtype, seed=2)
    out, learned = expected(x.detach(), identity, attn, norm, act, training)
    theirs = torch.autograd.grad(out, learned, gradient.double())
    statistics = (None, None) if norm is None or training else (norm.running_mean, norm.running_var)
    affine = (None, None) if norm is None else (norm.weight, norm.bias)
    weights = attn.fc1.weight, attn.fc2.weight, attn.conv.weight
    ours, _ = GatedBranch.apply(x, identity, *affine, *statistics, 1e-5, *weights, act)
    assert ours.dtype == dtype
    assert ours.is_contiguous(memory_format=torch.channels_last)
    assert_near(ours, out, TOLERANCE[dtype])
    inputs = [each for each in (x, identity, *affine, *weights) if each is not None]
    for mine, other in zip(torch.autograd.grad(ours, inputs, gradient), theirs, strict=True):
        assert mine.shape == other.shape
        assert_near(mine, other, TOLERANCE[dtype])


def test_equal_values_share_the_gradient_of_a_maximum():
    """Two pixels and two channels that are both the maximum: by the formula, each has half."""
    attn = CBAM(4, reduction=2)
    x = torch.zeros(1, 4, 3, 3)
    x[0, :, 0, 0] = x[0, :, 2, 1] = 3.0
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    out, learned = expected(x.detach(), None, attn, None, "none", True)
    fused = FusedCBAM(4, reduction=2)
    fused.load_state_dict(attn.state_dict())
    gradient = as_map(1, 4, 3, 3)
    (ours,) = torch.autograd.grad(fused(x), x, gradient)
    assert_near(ours, torch.autograd.grad(out, learned[0], gradient.double())[0], TOLERANCE[torch.float32])


# Modules


def block(in_channels, width, out_channels, stride=1, act=nn.GELU, norm=nn.BatchNorm2d, attn=CBAM):
    def conv(in_channels, out_channels, stride=1, **_):
        return nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)

    def shortcut(in_channels, out_channels, stride):
        return None if stride == 1 else nn.Conv2d(in_channels, out_channels, 1, stride)

    torch.manual_seed(0)
    return Bottleneck(
        in_channels,
        width,
        out_channels,
        stride,
        Parts(
            conv=conv,
            pointwise=lambda i, o, s: nn.Conv2d(i, o, 1, s, bias=False),
            norm=norm,
            act=act,
            attn=attn,
            output_attn=lambda channels: nn.Identity(),
            dropout=nn.Identity,
            shortcut=shortcut,
        ),
    ).to(memory_format=torch.channels_last)


def as_fused(plain):
    """A copy with the kernels, as the program makes it on CUDA."""
    offers = {}
    register_kernels(lambda plain, kernels: offers.update({plain: kernels}))
    fused = copy.deepcopy(plain)
    for module in fused.modules():
        kernels = offers.get(type(module))
        if kernels is not None and kernels.suits(module):
            module.__class__ = kernels
    return fused


FORWARD = ["pixel_statistics", "channel_statistics", "gated"]


def assert_same_step(plain, fused, x):
    """Outputs, gradients and buffers of a step; and which operators the fused one called."""
    fused_x, plain_x = (x.clone(memory_format=torch.preserve_format).requires_grad_() for _ in range(2))
    assert kernels(fused, x) == FORWARD
    for buffer, other in zip(fused.buffers(), plain.buffers(), strict=True):
        buffer.data.copy_(other)
    ours, theirs = fused(fused_x), plain(plain_x)
    assert_near(ours, theirs, 1e-5)
    gradient = as_map(*ours.shape, seed=3)
    ours.backward(gradient)
    theirs.backward(gradient)
    assert_near(fused_x.grad, plain_x.grad, 1e-5)
    for (name, mine), other in zip(fused.named_parameters(), plain.parameters(), strict=True):
        assert mine.grad is not None, name
        assert_near(mine.grad, other.grad, 1e-4)
    for mine, other in zip(fused.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_bottleneck(stride, training):
    plain = block(16, 8, 16, stride).train(training)
    fused = as_fused(plain)
    assert type(fused) is FusedBottleneck
    assert list(fused.state_dict()) == list(plain.state_dict())
    assert_same_step(plain, fused, as_map(2, 16, 6, 5))


def test_a_norm_and_an_activation_without_kernels_run_by_themselves():
    plain = block(16, 8, 16, act=nn.Mish, norm=lambda channels: nn.GroupNorm(2, channels))
    assert_same_step(plain, as_fused(plain), as_map(2, 16, 6, 5))


def test_a_norm_of_one_pixel_is_refused_as_ever():
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        as_fused(block(16, 8, 16))(as_map(1, 16, 1, 1))


def touched(block, name):
    getattr(block, name).register_forward_hook(lambda *_: None)
    return block


@pytest.mark.parametrize(
    ("change", "called"),
    [
        (lambda block: touched(block, "attn"), []),
        (lambda block: touched(block.attn, "conv") and block, []),
        (lambda block: touched(block, "bn3"), FORWARD),
        (lambda block: touched(block, "act3"), FORWARD),
        (lambda block: block.double(), []),
    ],
    ids=["hook on CBAM", "hook in CBAM", "hook on the norm", "hook on the activation", "float64"],
)
def test_hooks_and_other_types_are_seen(change, called):
    """What has a hook is called, as a module, whatever the kernels could do."""
    plain = change(block(16, 8, 16))
    x = as_map(2, 16, 4, 4).to(plain.conv1.weight.dtype)
    assert kernels(as_fused(plain), x) == called
    assert_near(as_fused(plain)(x), plain(x), 1e-5)


def test_channels_first_maps_take_the_plain_way():
    plain = CBAM(8)
    x = torch.randn(2, 8, 4, 5)
    assert kernels(as_fused(plain), x) == []
    torch.testing.assert_close(as_fused(plain)(x), plain(x), rtol=0, atol=0)


def test_cbam_with_a_norm_of_its_own_stays_plain():
    assert type(as_fused(CBAM(8, norm=True))) is CBAM


def test_gates_that_start_as_identity_and_stochastic_depth_stay_plain():
    """The kernels know neither a doubled gate nor a branch that is left out."""
    assert type(as_fused(CBAM(16, init="identity"))) is CBAM
    dropped = block(16, 4, 16)
    dropped.drop_path = nn.Dropout(0.5)
    assert type(as_fused(dropped)) is Bottleneck
    assert type(as_fused(block(16, 4, 16))) is not Bottleneck


@pytest.mark.parametrize("training", [True, False])
def test_autocast(training):
    """bfloat16 in, bfloat16 out, float32 gradients, as plain; its gates are float32, and so nearer to the truth."""
    plain = block(16, 8, 16).train(training)
    fused, x = as_fused(plain), as_map(2, 16, 6, 5, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = fused(x), plain(x)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    assert_near(ours, theirs, 0.05)
    ours.float().square().sum().backward()
    theirs.float().square().sum().backward()
    for mine, other in zip(fused.parameters(), plain.parameters(), strict=True):
        assert mine.grad.dtype == torch.float32
        assert (mine.grad - other.grad).norm() <= 0.06 * other.grad.norm()


def test_compiled_beside_them_without_a_break():
    plain = block(16, 8, 16)
    fused, x = as_fused(plain), as_map(2, 16, 6, 5)
    torch.compiler.reset()
    out = torch.compile(fused, fullgraph=True, backend="aot_eager")(x)
    assert_near(out, plain(x), 1e-5)
    gradient = as_map(*out.shape, seed=3)
    ours = torch.autograd.grad(out, list(fused.parameters()), gradient)
    theirs = torch.autograd.grad(plain(x), list(plain.parameters()), gradient)
    for mine, other, parameter in zip(ours, theirs, fused.parameters(), strict=True):
        assert mine.stride() == parameter.stride()
        assert_near(mine, other, 1e-4)


def test_second_derivatives_are_refused():
    fused, x = as_fused(CBAM(8)), as_map(2, 8, 4, 4).requires_grad_()
    (first,) = torch.autograd.grad(fused(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError) as error:
        first.sum().backward()
    assert str(error.value) == (
        "the fused kernels have no second derivatives; train without them: --no-plugin fused, or RESNET_LAB_PLUGINS "
        "without it"
    )


def test_exported_without_the_kernels():
    fused, x = as_fused(block(16, 8, 16)).eval(), as_map(2, 16, 6, 5)
    program = torch.export.export(fused, (x,))
    assert "resnet_lab_fused" not in str(program.graph)
    torch.testing.assert_close(program.module()(x), fused(x), rtol=1e-4, atol=1e-5)


def test_the_same_bits_twice():
    fused, x = as_fused(block(16, 8, 16)), as_map(2, 16, 17, 16)
    gradients = [torch.autograd.grad(fused(x).square().sum(), list(fused.parameters())) for _ in range(2)]
    assert all(torch.equal(first, second) for first, second in zip(*gradients, strict=True))


def bytes_moved(function):
    """Bytes that kernels load and store while a function runs, those that a mask leaves out not counted."""
    moved = []

    def counting(method, mask_at):
        original = getattr(InterpreterBuilder, method)

        def wrapper(self, pointers, *arguments):
            moved.append(int(arguments[mask_at].data.sum()) * pointers.get_element_ty().primitive_bitwidth // 8)
            return original(self, pointers, *arguments)

        return mock.patch.object(InterpreterBuilder, method, wrapper)

    with counting("create_masked_load", 0), counting("create_masked_store", 1):
        function()
    return sum(moved)


def test_bytes_of_a_branch_end():
    """5 passes over maps forward and 8 backward; the rest by the loops of the kernels, in float32."""
    n, c, h, w = 2, 130, 17, 16
    attn, norm = branch_end(c, norm=True)
    x, identity, gradient = (as_map(n, c, h, w, dtype=torch.bfloat16, seed=seed).requires_grad_() for seed in range(3))
    pixels, splits, blocks, tiles = h * w, 2, 2, 9  # 272 pixels by 256, 130 channels by 128, 272 pixels by 32

    def step():
        affine, weights = (norm.weight, norm.bias, None, None), (attn.fc1.weight, attn.fc2.weight, attn.conv.weight)
        GatedBranch.apply(x, identity, *affine, 1e-5, *weights, "gelu")[0].backward(gradient.detach())

    maps = 13 * n * pixels * c * 2
    channels = n * c * 4 * (26 * splits + 3 * tiles)
    assert bytes_moved(step) == maps + channels + n * pixels * 4 * (3 + 10 * blocks)


# Depthwise convolution


@pytest.mark.parametrize(("dtype", "bias"), [(torch.float32, True), (torch.bfloat16, False)], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 70, 18, 17), (2, 8, 1, 1), (1, 2, 2, 9)], ids=str)
def test_depthwise(shape, stride, bias, dtype):
    channels = shape[1]
    torch.manual_seed(0)
    plain = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=bias)
    fused = as_fused(plain)
    assert type(fused) is FusedDepthwise
    x = as_map(*shape, dtype=dtype)
    ours_x, theirs_x = x.clone().requires_grad_(), x.double().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        ours = fused(ours_x)
    assert ours.dtype == dtype
    theirs = plain.double()(theirs_x)
    assert_near(ours, theirs, TOLERANCE[dtype])
    gradient = as_map(*ours.shape, dtype=dtype, seed=1)
    ours.backward(gradient)
    theirs.backward(gradient.double())
    for mine, other in zip((ours_x, *fused.parameters()), (theirs_x, *plain.parameters()), strict=True):
        assert mine.grad.dtype == mine.dtype
        assert_near(mine.grad, other.grad, TOLERANCE[dtype])


@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel_size": 5, "padding": 2},
        {"groups": 1},
        {"groups": 4},
        {"padding": 0},
        {"dilation": 2, "padding": 2},
        {"stride": 3},
        {"padding_mode": "circular"},
    ],
    ids=str,
)
def test_other_convolutions_stay_plain(arguments):
    assert type(as_fused(nn.Conv2d(8, 8, **{"kernel_size": 3, "padding": 1, "groups": 8, **arguments}))) is nn.Conv2d


# The conformance kit, on modules that run the kernels


def depthwise(in_channels: int, out_channels: int, stride: int, groups: int, bias: bool) -> nn.Module:
    return FusedDepthwise(in_channels, out_channels, 3, stride, padding=1, groups=in_channels, bias=bias)


def test_cbam_conforms():
    report = check("attention", FusedCBAM, skip={"cost": "of the interpreter"})
    assert report.passed, report.failures


def test_depthwise_conforms():
    traits = {"mixes_channels": False, "takes_groups": False}
    report = check("convolution", depthwise, traits=traits, skip={"cost": "of the interpreter"})
    assert report.passed, report.failures
