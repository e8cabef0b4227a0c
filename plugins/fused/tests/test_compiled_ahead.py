"""Kernels compiled for GPUs that are not there: they fit, spill nothing, and load and store each map once a tile."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

triton = pytest.importorskip("triton")
from resnet_lab_fused import depthwise, gates  # noqa: E402
from resnet_lab_fused import depthwise_kernels as of_depthwise  # noqa: E402
from resnet_lab_fused import gate_kernels as of_gates  # noqa: E402
from resnet_lab_fused.launching import WARPS  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

pytestmark = pytest.mark.skipif(triton.knobs.runtime.interpret, reason="the interpreter compiles nothing")

CAPABILITIES = {75: ("bf16", "fp32"), 80: ("bf16",), 90: ("bf16",), 100: ("bf16", "fp32")}
"""Turing, Ampere, Hopper, Blackwell, with the types of maps: bf16 for all, and fp32 for the first and the last."""

REGISTERS = 65536 // (32 * WARPS * 2)
"""Most of a thread, with two programs at once on a multiprocessor, and 255 in any case."""

TILE = {"CHUNK": gates.CHUNK, "PIXELS": gates.PIXELS, "CHANNELS": gates.CHANNELS}
STRIP = {"ROWS": depthwise.ROWS, "CHANNELS": depthwise.CHANNELS}
FORWARD = {"HAS_BIAS": True, "COLUMNS": depthwise.COLUMNS, **STRIP}
BACKWARD = {"COLUMNS": depthwise.BACKWARD_COLUMNS, **STRIP}

KERNELS = {
    # kernel, its constants, loads and stores of each map
    "pixel_statistics": (of_gates.pixel_statistics, {"HAS_WEIGHT": True, **TILE}, {"x": 1}, {}),
    "channel_statistics": (
        of_gates.channel_statistics,
        {"PIXELS": gates.SHORT, "CHANNELS": gates.NARROW},
        {"x": 1},
        {},
    ),
    "gated": (of_gates.gated, {"HAS_IDENTITY": True, "ACT": "gelu", **TILE}, {"x": 1, "identity": 1}, {"out": 1}),
    "backward_gated": (
        of_gates.backward_gated,
        {"HAS_IDENTITY": True, "ACT": "gelu", **TILE},
        {"x": 1, "identity": 1, "gradient": 1},
        {"inner": 1},
    ),
    "backward_pools": (of_gates.backward_pools, TILE, {"x": 1}, {}),
    "backward_input": (of_gates.backward_input, TILE, {"x": 1, "inner": 1}, {"out": 1}),
    # three shifts of each row, which a cache serves but for the first; at stride 2 of the one before the strip too
    "forward, stride 1": (of_depthwise.forward, {"STRIDE": 1, **FORWARD}, {"x": 3}, {"out": 1}),
    "forward, stride 2": (of_depthwise.forward, {"STRIDE": 2, **FORWARD}, {"x": 9}, {"out": 1}),
    # of the gradient, two rows before the strip and one in each step
    "backward, stride 1": (of_depthwise.backward, {"STRIDE": 1, **BACKWARD}, {"gradient": 9, "x": 1}, {"of_x": 1}),
    # a pixel of the gradient has four of x
    "backward, stride 2": (of_depthwise.backward, {"STRIDE": 2, **BACKWARD}, {"gradient": 4, "x": 4}, {"of_x": 4}),
}

SIZES = ("P", "C", "H", "W", "K", "L")


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        yield


@cache
def compiled(name, capability, element, **others):
    """The kernel for a number of channels that 16 divides, and aligned maps, as torch's are."""
    kernel, constants, loaded, stored = KERNELS[name]
    constants = {**constants, **others}
    maps = {*loaded, *stored}
    signature, attributes = {}, {}
    for place, argument in enumerate(kernel.arg_names):
        if argument in constants:
            signature[argument] = "constexpr"
        elif argument in SIZES:
            signature[argument] = "i32"
        else:
            signature[argument] = f"*{element if argument in maps else 'fp32'}"
        if argument == "C" or signature[argument].startswith("*"):
            attributes[place,] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    options = {"num_warps": WARPS, "enable_fp_fusion": False}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("name", KERNELS)
def test_fits_and_spills_nothing(name, capability, tmp_path):
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    for element in CAPABILITIES[capability]:
        kernel = compiled(name, capability, element)
        (tmp_path / "kernel.cubin").write_bytes(kernel.asm["cubin"])
        usage = subprocess.run(
            [tool, "--dump-resource-usage", tmp_path / "kernel.cubin"], capture_output=True, text=True, check=True
        ).stdout
        resources = {word: int(value) for word, value in re.findall(r"\b(REG|STACK|LOCAL|SHARED):(\d+)", usage)}
        assert 0 < resources["REG"] <= min(REGISTERS, 255), (element, resources)
        assert resources["STACK"] == resources["LOCAL"] == 0, (element, resources)
        assert resources["SHARED"] <= 4096, (element, resources)


@pytest.mark.parametrize("name", KERNELS)
def test_loads_and_stores_each_map_once_a_tile(name):
    """Operations on tiles of maps in Triton's own code, by the type of their pointers: maps alone are bf16."""
    _, _, loaded, stored = KERNELS[name]
    code = compiled(name, 90, "bf16").asm["ttir"]
    on_maps = [line for line in code.splitlines() if "x!tt.ptr<bf16>" in line]
    assert sum("tt.load" in line for line in on_maps) == sum(loaded.values())
    assert sum("tt.store" in line for line in on_maps) == sum(stored.values())


@pytest.mark.parametrize("name", KERNELS)
def test_moves_16_bytes_at_a_time(name):
    """Maps in bf16 by eight channels; backward, where nine sums are kept, a convolution's by four."""
    ptx = compiled(name, 90, "bf16").asm["ptx"]
    width = "v2" if name.startswith("backward,") else "v4"
    assert f"ld.global.{width}.b32" in ptx
    if KERNELS[name][3]:
        assert f"st.global.{width}.b32" in ptx


@pytest.mark.parametrize("name", [name for name, (kernel, *_) in KERNELS.items() if "scales" in kernel.arg_names])
def test_products_and_sums_are_not_contracted(name):
    """What is compared with a maximum has the same bits in each kernel; erf, which is made of such, is left out."""
    others = {"ACT": "none"} if "ACT" in KERNELS[name][1] else {}
    ptx = compiled(name, 90, "bf16", **others).asm["ptx"]
    assert "mul.rn.f32" in ptx
    assert "fma" not in ptx
