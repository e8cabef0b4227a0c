"""Finding, isolating and registering plugins, on small distributions written into a temporary folder."""

import json
import os
import subprocess
import sys
from hashlib import sha256
from importlib.metadata import distributions, version
from inspect import getdoc
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resnet_lab.core.errors import PluginError, SpecError
from resnet_lab.network import hookspecs, plugins
from resnet_lab.network.builder import build, plugins_needed, resolve, sources_needed
from resnet_lab.network.kinds import KINDS
from resnet_lab.network.plugins import PluginWarning, load
from resnet_lab.network.spec import Component
from resnet_lab.plugin_api import RunStart

PROJECT = Path(__file__).parents[2]
CORE = f"resnet-lab {version('resnet-lab')}"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a distribution of one module; only those of the test are seen, whatever else is installed."""
    monkeypatch.delenv("RESNET_LAB_PLUGINS", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    modules = set()

    def entry_points(group):
        points = [point for found in distributions(path=[str(tmp_path)]) for point in found.entry_points]
        return [point for point in points if point.group == group]

    def write(name, source, *, release="1.0"):
        module = name.replace("-", "_")
        modules.add(module)
        (tmp_path / f"{module}.py").write_text(
            "import torch\nfrom torch import nn\nfrom resnet_lab.plugin_api import *\n" + dedent(source)
        )
        info = tmp_path / f"{module}-{release}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {release}\n")
        (info / "entry_points.txt").write_text(f"[resnet_lab]\n{name.removeprefix('lab-')} = {module}\n")

    monkeypatch.setattr(plugins, "entry_points", entry_points)
    yield write
    for module in modules:
        sys.modules.pop(module, None)


SCALE = """
class Scale(nn.Module):
    def __init__(self, channels, *, start: float = 1.0):
        super().__init__()
        self.start = start
        self.weight = nn.Parameter(torch.empty(channels, 1, 1))
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.constant_(self.weight, self.start)

    def forward(self, x):
        return x * self.weight

@hookimpl
def register_attentions(register):
    register("scale", Scale)
"""


def attention(name):
    return f"""
        @hookimpl
        def register_attentions(register):
            register({name!r}, lambda channels: nn.Identity())
        """


def statuses(registry):
    return [str(plugin) for plugin in registry.plugins]


def refusal(error, act):
    with pytest.raises(error) as caught:
        act()
    return str(caught.value)


# What comes with the program


def test_built_in_names():
    registry = load(only=())
    assert {kind: registry.names(kind) for kind in KINDS} == {
        "activation": ["gelu", "hardswish", "leaky_relu", "mish", "prelu", "relu", "silu"],
        "convolution": ["dense", "depthwise", "ghost", "partial", "separable", "ws"],
        "norm": ["batch", "filter_response", "frozen_batch", "group", "instance", "layer", "none"],
        "attention": ["bam", "cbam", "coord", "eca", "ela", "gc", "none", "se", "strip"],
        "block": ["basic", "bottleneck", "sk_basic", "sk_bottleneck"],
        "shortcut": ["pooled_projection", "projection", "zero_pad"],
        "stem": ["cifar", "deep", "deep_tiered", "patchify", "plain", "space_to_depth"],
        "downsample": ["average", "blur", "max_blur", "strided"],
        "pool": ["average", "average_maximum", "concatenation", "gem", "maximum"],
        "dataset": ["digits", "synthetic"],
        "tracker": ["aim", "mlflow", "tensorboard", "wandb"],
    }
    assert {str(entry.owner) for entry in registry.entries.values()} == {CORE}


def test_every_kind_has_a_hook_that_says_its_signature():
    hooks = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("register_")}
    assert sorted(hooks) == sorted(["register_kernels", *(f"register_{kind}s" for kind in KINDS)])
    assert all("`factory(" in getdoc(hook) for name, hook in hooks.items() if name != "register_kernels")


# Each hook, used by a plugin


def sample():
    torch.manual_seed(0)
    return torch.randn(2, 3, 32, 32)


def assert_equal_networks(registry, mine, theirs):
    """Changes that come to the same network: same initial weights, same output."""
    first, second = (build("resnet20", registry=registry, **changes).eval() for changes in (mine, theirs))
    for (name, weight), (other_name, other) in zip(first.named_parameters(), second.named_parameters(), strict=True):
        assert name == other_name
        torch.testing.assert_close(weight, other)
    torch.testing.assert_close(first(sample()), second(sample()))


def check_activation(registry):
    """ReLU written otherwise: the gain of the initialisation is computed from the function itself."""
    assert_equal_networks(registry, {"act": "positive"}, {"act": "relu"})


def check_convolution(registry):
    """Check that a 1x1 follows it, as it declares that it does not mix the channels."""
    assert_equal_networks(registry, {"conv": "each"}, {"conv": "depthwise"})


def check_norm(registry):
    """Check that the convolutions before it get a bias, as it declares that it adds none."""
    assert_equal_networks(registry, {"norm": "bare"}, {"norm": "none"})


def check_attention(registry):
    """Check that its initial scale is 1, at the end of the branch or of the block."""
    for position in ("branch", "output"):
        network = build("resnet20", registry=registry, attn=f"scale(position={position})").eval()
        plain = build("resnet20", registry=registry).eval()
        torch.testing.assert_close(network(sample()), plain(sample()))
        names = {
            name.rpartition(".attn" if position == "branch" else ".output_attn")[2] for name in network.state_dict()
        }
        assert ".weight" in names


def check_block(registry):
    """One convolution and the shortcut, by functions."""
    network = build("resnet20", block="single(slope=0.5)", registry=registry).eval()
    block = network.layer2[0]
    x = torch.randn(1, 16, 7, 7)
    out = F.leaky_relu(F.conv2d(x, block.conv.weight, stride=2, padding=1), 0.5) / (1 + 1e-5) ** 0.5
    expected = out + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, 16))
    torch.testing.assert_close(block(x), expected)
    assert refusal(SpecError, lambda: build("resnet20", block="single", downsample="blur@2", registry=registry)) == (
        "stage 2: block single has no place for a downsampling, so blur cannot go there; leave it at strided, or name "
        "other stages with blur@..."
    )


def check_shortcut(registry):
    assert_equal_networks(registry, {"shortcut": "strided"}, {"shortcut": "projection"})


def check_stem(registry):
    """All of it is `conv1`, and what stands behind it starts as it would with any other."""
    mine, plain = (build("resnet20", registry=registry, **changes).eval() for changes in ({"stem": "early"}, {}))
    plain.conv1.load_state_dict(mine.conv1.conv.state_dict())
    torch.testing.assert_close(mine(sample()), plain(sample()))
    assert {name for name in mine.state_dict() if not name.startswith(("conv1.", "layer", "fc."))} == set()


def check_downsample(registry):
    assert_equal_networks(registry, {"downsample": "means"}, {"downsample": "average"})


def check_pool(registry):
    assert_equal_networks(registry, {"pool": "means"}, {"pool": "average"})


def check_dataset(registry):
    images = registry.bind("dataset", Component.parse("greys(count=3)"), "here")()
    assert [images.read(index).getpixel((1, 1)) for index in range(len(images))] == [0, 1, 2]
    assert images.labels.dtype == np.int64


def check_tracker(registry):
    tracker = registry.bind("tracker", Component.parse("counter(start=3)"), "here")()
    tracker.on_epoch(1, {})
    assert tracker.epochs == 4
    assert tracker.on_run_start(RunStart(Path("runs/a"), "a", "", {})) == "a"


HOOKS = {
    "activation": (
        check_activation,
        """
        class Positive(nn.Module):
            def forward(self, x):
                return x.clamp(min=0)

        @hookimpl
        def register_activations(register):
            register("positive", Positive)
        """,
    ),
    "convolution": (
        check_convolution,
        """
        def each(in_channels, out_channels, stride, groups, bias):
            return nn.Conv2d(in_channels, out_channels, 3, stride, 1, groups=in_channels, bias=bias)

        @hookimpl
        def register_convolutions(register):
            register("each", each, mixes_channels=False, takes_groups=False)
        """,
    ),
    "norm": (
        check_norm,
        """
        @hookimpl
        def register_norms(register):
            register("bare", lambda channels: nn.Identity(), adds_bias=False)
        """,
    ),
    "attention": (check_attention, SCALE),
    "block": (
        check_block,
        """
        class Single(nn.Module):
            def __init__(self, in_channels, width, out_channels, stride, parts: Parts, *, slope: float = 0.1):
                super().__init__()
                self.conv = parts.conv(in_channels, out_channels, stride, must_mix=True)
                self.act = nn.LeakyReLU(slope)
                self.norm = parts.norm(out_channels)
                self.downsample = parts.shortcut(in_channels, out_channels, stride)

            def forward(self, x):
                return self.norm(self.act(self.conv(x))) + (x if self.downsample is None else self.downsample(x))

        @hookimpl
        def register_blocks(register):
            register("single", Single)
        """,
    ),
    "shortcut": (
        check_shortcut,
        """
        def strided(in_channels, out_channels, stride, parts: ShortcutParts):
            return nn.Sequential(parts.pointwise(in_channels, out_channels, stride), parts.norm(out_channels))

        @hookimpl
        def register_shortcuts(register):
            register("strided", strided)
        """,
    ),
    "stem": (
        check_stem,
        """
        class Early(nn.Module):
            def __init__(self, in_channels, out_channels, parts: StemParts):
                super().__init__()
                self.conv = parts.conv(in_channels, out_channels, 3)
                self.norm = parts.norm(out_channels)
                self.act = parts.act()

            def forward(self, x):
                return self.act(self.norm(self.conv(x)))

        @hookimpl
        def register_stems(register):
            register("early", Early)
        """,
    ),
    "downsample": (
        check_downsample,
        """
        @hookimpl
        def register_downsamples(register):
            register("means", lambda channels, stride: nn.AvgPool2d(stride))
        """,
    ),
    "pool": (
        check_pool,
        """
        class Means(nn.Module):
            def forward(self, x):
                return x.mean((2, 3), keepdim=True)

        @hookimpl
        def register_pools(register):
            register("means", lambda channels: Means())
        """,
    ),
    "dataset": (
        check_dataset,
        """
        import numpy as np
        from PIL import Image

        def greys(*, count: int = 2) -> ImageSet:
            names = tuple(str(level) for level in range(count))
            return ImageSet("greys", names, names, np.arange(count), lambda index: Image.new("L", (2, 2), index))

        @hookimpl
        def register_datasets(register):
            register("greys", greys)
        """,
    ),
    "tracker": (
        check_tracker,
        """
        class Counter(Tracker):
            def __init__(self, *, start: int = 0):
                self.epochs = start

            def on_run_start(self, run):
                return run.name

            def on_epoch(self, epoch, metrics):
                self.epochs += 1

            def on_finish(self, end):
                pass

        @hookimpl
        def register_trackers(register):
            register("counter", Counter)
        """,
    ),
}


def test_every_hook_is_tested():
    assert sorted(HOOKS) == sorted(KINDS)


@pytest.mark.parametrize("kind", HOOKS)
def test_hook(install, kind):
    check, source = HOOKS[kind]
    install("lab-mine", source, release="2.5")
    registry = load()
    assert statuses(registry) == ["plugin mine (lab-mine 2.5) loaded"]
    own = load(only=())
    (new,) = set(registry.entries) - set(own.entries)
    assert new[0] == kind
    assert str(registry.entries[new].owner) == "lab-mine 2.5"
    check(registry)


def test_a_plugin_s_attention_trains(install):
    install("lab-scale", SCALE)
    network = build("resnet20", attn="scale(start=2.0)", registry=load())
    weight = network.layer3[2].attn.weight
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    F.cross_entropy(network(sample()), torch.tensor([3, 7])).backward()
    optimiser.step()
    torch.testing.assert_close(weight.data, 2 - 0.1 * weight.grad)
    assert weight.grad.abs().max() > 0


def test_plugins_needed(install):
    install("lab-scale", SCALE, release="0.3")
    assert plugins_needed(resolve("resnet20", attn="scale@2"), load()) == {"lab-scale": "0.3"}
    assert plugins_needed(resolve("resnet20", attn="se"), load()) == {}
    (owner,) = {plugin.owner for plugin in load().plugins}
    source = Path(sys.modules["lab_scale"].__file__).read_bytes()
    assert sources_needed(resolve("resnet20", attn="scale@2"), load()) == {"lab-scale": sha256(source).hexdigest()}
    assert owner.source == sha256(source).hexdigest()


# Parameters


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scale(start=high)", "parameter 'start': input should be a valid number, got 'high'"),
        ("scale(start=true)", "parameter 'start': input should be a valid number, got True"),
        ("scale(star=1.0)", "has no parameter 'star'; did you mean 'start'?"),
        ("scale(weight=1.0)", "has no parameter 'weight'; known: position, start"),
        ("scale(position=end)", "parameter 'position': input should be 'branch', 'inner' or 'output', got 'end'"),
        ("needy", "needs its parameter 'size'"),
        ("needy(size=2.0)", "parameter 'size': input should be a valid integer, got 2.0"),
    ],
)
def test_refused_parameters(install, text, message):
    install("lab-scale", SCALE)
    install(
        "lab-needy",
        """
        def needy(channels, *, size: int):
            return nn.Identity()

        @hookimpl
        def register_attentions(register):
            register("needy", needy)
        """,
    )
    component = Component.parse(text)
    refused = refusal(SpecError, lambda: load().bind("attention", component, "stage 3"))
    assert (
        refused.replace(f"{component.name}: ", f"{component.name} ") == f"stage 3: attention {component.name} {message}"
    )


def test_a_whole_number_is_taken_for_a_float(install):
    install("lab-scale", SCALE)
    assert load().bind("attention", Component.parse("scale(start=3)"), "here")(4).weight.unique().item() == 3


@pytest.mark.parametrize("name", ["copy", "json", "schema", "_size", "model_config"])
def test_any_name_of_a_parameter(install, name):
    install(
        "lab-mine",
        f"""
        def thing(channels, *, {name}: int = 1):
            return nn.Conv2d(1, {name}, 1)

        @hookimpl
        def register_attentions(register):
            register("thing", thing)
        """,
    )
    assert load().bind("attention", Component.parse(f"thing({name}=7)"), "here")(8).out_channels == 7


# Plugins that are broken

BROKEN = {
    "ImportError: cannot import name 'nothing' from 'torch' ({torch})": "from torch import nothing",
    "ModuleNotFoundError: No module named 'not_here'": "import not_here",
    "SystemExit: 3": "raise SystemExit(3)",
    "SyntaxError: invalid syntax (lab_bad.py, line 4)": "a b",
    "ZeroDivisionError: division by zero": "1 / 0",
    "RuntimeError: two lines": "raise RuntimeError('two\\n  lines')",
    "PluginValidationError: unknown hook 'register_atentions' in plugin {module}": """
        @hookimpl
        def register_atentions(register):
            register("thing", nn.Identity)
        """,
    "PluginValidationError: Plugin 'lab_bad' for hook 'register_attentions' hookimpl definition: "
    "register_attentions(add) Argument(s) {{'add'}} are declared in the hookimpl but can not be found in the "
    "hookspec": """
        @hookimpl
        def register_attentions(add):
            add("thing", nn.Identity)
        """,
    "attention name 'Thing' must be lower case letters, digits and underscores": attention("Thing"),
    "attention name 'thing(x=1)' must be lower case letters, digits and underscores": attention("thing(x=1)"),
    "attention name ' thing' must be lower case letters, digits and underscores": attention(" thing"),
    "attention name '' must be lower case letters, digits and underscores": attention(""),
    "attention 'thing': the factory must be callable, got str": """
        @hookimpl
        def register_attentions(register):
            register("thing", "nn.Identity")
        """,
    "NameError: name 'Nowhere' is not defined": """
        def thing(channels, *, mode: "Nowhere" = 1):
            return nn.Identity()

        @hookimpl
        def register_attentions(register):
            register("thing", thing)
        """,
    "KeyError: 'in the hook'": """
        @hookimpl
        def register_attentions(register):
            register("thing", lambda channels: nn.Identity())
            raise KeyError("in the hook")
        """,
}


@pytest.mark.parametrize("cause", BROKEN)
def test_broken(install, cause):
    """It is named with its cause, registers nothing, and does not stop the plugin after it."""
    install("lab-bad", BROKEN[cause])
    install("lab-scale", SCALE)
    registry = load()
    expected = cause.format(torch=torch.__file__, module=sys.modules.get("lab_bad"))
    failed = f"plugin bad (lab-bad 1.0) failed: {expected}"
    assert statuses(registry) == [failed, "plugin scale (lab-scale 1.0) loaded"]
    assert [str(plugin) for plugin in registry.failures] == [failed]
    assert registry.names("attention") == sorted([*load(only=()).names("attention"), "scale"])
    message = refusal(SpecError, lambda: build("resnet20", attn="thing@2", registry=registry))
    assert message == f"stage 2: unknown attention 'thing'; known: {', '.join(registry.names('attention'))}; {failed}"


def test_ctrl_c_during_an_import_is_not_swallowed(install):
    install("lab-bad", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load()


def test_default_registry_warns_of_each_failure(install):
    install("lab-bad", "1 / 0")
    install("lab-worse", "import not_here")
    with pytest.warns(PluginWarning) as caught:
        registry = plugins.default_registry.__wrapped__()
    assert [str(warning.message) for warning in caught] == statuses(registry) == [
        "plugin bad (lab-bad 1.0) failed: ZeroDivisionError: division by zero",
        "plugin worse (lab-worse 1.0) failed: ModuleNotFoundError: No module named 'not_here'",
    ]  # fmt: skip


BREACHES = {
    "it registers nothing; mark its hooks with @hookimpl": """
        def register_attentions(register):
            register("thing", nn.Identity)
        """,
    "convolution 'thing': unknown trait 'mixes_chanels'; did you mean 'mixes_channels'?": """
        @hookimpl
        def register_convolutions(register):
            register("thing", nn.Identity, mixes_chanels=False)
        """,
    "attention 'thing': unknown trait 'adds_bias'; known: none": """
        @hookimpl
        def register_attentions(register):
            register("thing", nn.Identity, adds_bias=False)
        """,
    "attention 'thing': parameter 'mask' must be annotated bool, int, float, str or a Literal of these": """
        def thing(channels, *, mask: torch.Tensor = None):
            return nn.Identity()

        @hookimpl
        def register_attentions(register):
            register("thing", thing)
        """,
    "norm 'thing': the factory is called with (channels), and too many positional arguments": """
        @hookimpl
        def register_norms(register):
            register("thing", lambda: nn.Identity())
        """,
    "activation 'thing': the factory is called with (), and missing a required argument: 'slope'": """
        @hookimpl
        def register_activations(register):
            register("thing", lambda slope: nn.LeakyReLU(slope))
        """,
    "attention 'thing': parameter 'position' is read by the program; name it otherwise": """
        def thing(channels, *, position: int = 1):
            return nn.Identity()

        @hookimpl
        def register_attentions(register):
            register("thing", thing)
        """,
}


@pytest.mark.parametrize("cause", BREACHES)
def test_broken_contract(install, cause):
    install("lab-bad", BREACHES[cause])
    assert statuses(load()) == [f"plugin bad (lab-bad 1.0) failed: {cause}"]


def test_a_plugin_that_needs_a_newer_api(install):
    """It is not run, since what it imports may be what is missing."""
    install("lab-new", "from resnet_lab.plugin_api import not_there_yet\nrequires_api = 6", release="3.1")
    install("lab-scale", SCALE)
    registry = load()
    assert statuses(registry) == [
        "plugin new (lab-new 3.1) failed: it needs plugin API 6, and this resnet-lab offers 5: upgrade resnet-lab",
        "plugin scale (lab-scale 1.0) loaded",
    ]
    assert build("resnet20", attn="scale", registry=registry).fc.out_features == 10


def test_what_a_plugin_may_import():
    from resnet_lab import plugin_api

    assert all(hasattr(plugin_api, name) for name in plugin_api.__all__)
    assert plugin_api.API_VERSION == hookspecs.API_VERSION == 5


# Kernels


def kernels(plain="nn.SiLU", body="suits = staticmethod(lambda module: True)"):
    return f"""
        class Fast({plain}):
            {body}

        @hookimpl
        def register_kernels(register):
            register({plain}, Fast)
        """


def test_kernels_for_a_class_of_modules(install):
    install("lab-fast", kernels(), release="2.0")
    registry = load()
    assert statuses(registry) == ["plugin fast (lab-fast 2.0) loaded"]
    (offer,) = registry.kernels.values()
    assert offer.plain is torch.nn.SiLU
    assert issubclass(offer.kernels, torch.nn.SiLU)
    assert str(offer.owner) == "lab-fast 2.0"
    assert registry.entries == load(only=()).entries
    assert load(only=()).kernels == {}


KERNEL_BREACHES = {
    "kernels Fast: must have no __init__ of their own: modules become it after they are made": kernels(
        body="suits = staticmethod(lambda module: True); __init__ = lambda self: None"
    ),
    "kernels Fast: need a static method `suits(module) -> bool`, which says what they compute": kernels(body="pass"),
    "kernels SiLU: must be a subclass of ReLU, whose modules become it": """
        @hookimpl
        def register_kernels(register):
            register(nn.ReLU, nn.SiLU)
        """,
    "kernels ReLU: must be a subclass of ReLU, whose modules become it": """
        @hookimpl
        def register_kernels(register):
            register(nn.ReLU, nn.ReLU)
        """,
    "kernels: they are registered by two classes of modules, got 'relu'": """
        @hookimpl
        def register_kernels(register):
            register("relu", nn.ReLU)
        """,
    "kernels: they are registered by two classes of modules, got <class 'dict'>": """
        @hookimpl
        def register_kernels(register):
            register(dict, nn.ReLU)
        """,
    "kernels Fast: modules cannot become it, since __class__ assignment: 'Fast' object layout differs from 'SiLU'; "
    "leave out slots and other bases": kernels(body="suits = staticmethod(lambda module: True); __slots__ = ('a',)"),
    "kernels for SiLU are registered twice; register one class": kernels()
    + """
            register(nn.SiLU, Fast)
        """,
}


@pytest.mark.parametrize("cause", KERNEL_BREACHES)
def test_broken_kernels(install, cause):
    """All or nothing: they and the plugin's components are left out."""
    install("lab-bad", attention("thing") + KERNEL_BREACHES[cause])
    registry = load()
    assert statuses(registry) == [f"plugin bad (lab-bad 1.0) failed: {cause}"]
    assert registry.kernels == {}
    assert "thing" not in registry.names("attention")


def test_a_class_with_kernels_of_two_plugins_runs_neither_s(install):
    for name in ("lab-first", "lab-second", "lab-third"):
        install(name, kernels())
    install("lab-other", kernels("nn.Mish"))
    registry = load()
    clash = "both have kernels for SiLU, and neither is used; leave one of the two plugins out with --no-plugin"
    assert statuses(registry) == [
        "plugin first (lab-first 1.0) loaded",
        "plugin other (lab-other 1.0) loaded",
        f"plugin second (lab-second 1.0) failed: lab-first 1.0 and lab-second 1.0 {clash}",
        f"plugin third (lab-third 1.0) failed: lab-first 1.0 and lab-third 1.0 {clash}",
    ]
    assert list(registry.kernels) == [torch.nn.Mish]
    assert list(load(without=["first", "third"]).kernels) == [torch.nn.Mish, torch.nn.SiLU]


# Names that clash


def test_a_built_in_name_stays_the_program_s(install):
    """All or nothing: the plugin's other component is left out too."""
    install(
        "lab-bad",
        """
        @hookimpl
        def register_attentions(register):
            register("free", lambda channels: nn.Identity())
            register("cbam", lambda channels: nn.Identity())
        """,
        release="0.2",
    )
    registry = load()
    assert statuses(registry) == [
        f"plugin bad (lab-bad 0.2) failed: attention 'cbam' is already registered by {CORE}; "
        "lab-bad 0.2 may not register it again"
    ]
    assert registry.entries == load(only=()).entries
    own, expected = (build("resnet20", attn="cbam", registry=each) for each in (registry, load(only=())))
    assert torch.equal(own.eval()(sample()), expected.eval()(sample()))
    assert statuses(load(kinds=["dataset"])) == statuses(registry)


def test_components_of_the_kinds_that_are_wanted():
    assert {kind for kind, _ in load(only=(), kinds=["dataset", "pool"]).entries} == {"dataset", "pool"}
    assert load(only=(), kinds=["dataset"]).names("dataset") == load(only=()).names("dataset")


def test_a_name_of_two_plugins_is_neither_s(install):
    install("lab-first", attention("twice"), release="1.1")
    install("lab-second", attention("twice"), release="2.2")
    registry = load()
    assert statuses(registry) == [
        "plugin first (lab-first 1.1) loaded",
        "plugin second (lab-second 2.2) failed: attention 'twice' is already registered by lab-first 1.1; "
        "lab-second 2.2 may not register it again",
    ]
    assert refusal(PluginError, lambda: build("resnet20", attn="twice@2", registry=registry)) == (
        "stage 2: attention 'twice' is registered by lab-first 1.1 and again by lab-second 2.2; "
        "leave one of the two plugins out with --no-plugin"
    )
    for left_out, owner in (("first", "lab-second 2.2"), ("lab-second", "lab-first 1.1")):
        assert str(load(without=[left_out]).get("attention", "twice", "here").owner) == owner


def test_one_name_may_be_of_two_kinds(install):
    install(
        "lab-mine",
        """
        @hookimpl
        def register_activations(register):
            register("cbam", nn.ReLU)
        """,
    )
    registry = load()
    assert str(registry.get("activation", "cbam", "here").owner) == "lab-mine 1.0"
    assert str(registry.get("attention", "cbam", "here").owner) == CORE


# Which plugins are loaded


@pytest.mark.parametrize(
    ("variable", "loaded"),
    [
        (None, ["one", "two"]),
        ("", []),
        (" , ", []),
        ("two", ["two"]),
        ("lab-one", ["one"]),
        (" one , lab-two,", ["one", "two"]),
    ],
)
def test_environment_variable(install, monkeypatch, variable, loaded):
    for name in ("one", "two"):
        install(f"lab-{name}", attention(name))
    if variable is not None:
        monkeypatch.setenv("RESNET_LAB_PLUGINS", variable)
    registry = load()
    assert [plugin.name for plugin in registry.plugins if plugin.status == "loaded"] == loaded
    assert [plugin.name for plugin in registry.plugins if plugin.status == "disabled"] == sorted(
        {"one", "two"} - {*loaded}
    )
    assert registry.names("attention") == sorted([*load(only=()).names("attention"), *loaded])


def test_an_argument_wins_over_the_environment_variable(install, monkeypatch):
    install("lab-one", attention("one"))
    monkeypatch.setenv("RESNET_LAB_PLUGINS", "no-such-plugin")
    assert statuses(load(only=["one"])) == ["plugin one (lab-one 1.0) loaded"]
    assert refusal(PluginError, load) == "plugin 'no-such-plugin' is not installed; known: lab-one, one"


def test_without(install):
    """A plugin left out is not imported, and is named where its component is missed."""
    install("lab-one", "raise AssertionError('imported')")
    install("lab-two", attention("two"))
    registry = load(without=["lab-one"])
    assert statuses(registry) == ["plugin one (lab-one 1.0) disabled", "plugin two (lab-two 1.0) loaded"]
    assert refusal(SpecError, lambda: registry.get("attention", "one", "stage 1")) == (
        "stage 1: unknown attention 'one'; did you mean 'none'?; plugin one (lab-one 1.0) disabled"
    )
    assert statuses(load(only=["two"], without=["two"])) == [
        "plugin one (lab-one 1.0) disabled",
        "plugin two (lab-two 1.0) disabled",
    ]


@pytest.mark.parametrize(
    "choice", [{"only": ["lab-twoo"]}, {"without": ["lab-twoo"]}, {"only": ["lab-two"], "without": ["lab-twoo"]}]
)
def test_a_plugin_that_is_not_installed(install, choice):
    install("lab-two", attention("two"))
    message = refusal(PluginError, lambda: load(**choice))
    assert message == "plugin 'lab-twoo' is not installed; did you mean 'lab-two' or 'two'?"


# The real thing


@pytest.fixture(scope="module")
def simam(tmp_path_factory):
    """Environment of a process in which plugins/simam is installed, from nothing but this checkout."""
    site = tmp_path_factory.mktemp("site")
    command = "pip install --quiet --no-deps --no-build-isolation --no-index --disable-pip-version-check --target"
    source = PROJECT / "plugins" / "simam"
    subprocess.run([sys.executable, "-m", *command.split(), site, source], check=True, timeout=120)
    return os.environ | {"PYTHONPATH": str(site), "RESNET_LAB_PLUGINS": "simam"}


def python(environment, *arguments):
    result = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.slow
def test_installed_plugin_in_a_network(simam):
    """The network equals the unmodified one with SimAM, by its formula in numpy, put before each addition."""
    program = """
        import json, torch, resnet_lab
        network = resnet_lab.build("resnet18", attn="simam(epsilon=0.01)", seed=3).eval()
        torch.manual_seed(0)
        print(json.dumps(network(torch.randn(2, 3, 64, 64)).tolist()))
    """
    out = torch.tensor(python(simam, "-c", dedent(program)))

    class ByFormula(nn.Module):
        def forward(self, x):
            x = x.detach().double().numpy()
            squares = (x - x.mean((2, 3), keepdims=True)) ** 2
            variance = squares.sum((2, 3), keepdims=True) / (x[0, 0].size - 1)
            return torch.from_numpy(x / (1 + np.exp(-(squares / (4 * (variance + 0.01)) + 0.5)))).float()

    network = build("resnet18", seed=3, registry=load(only=())).eval()
    for block in (*network.layer1, *network.layer2, *network.layer3, *network.layer4):
        block.attn = ByFormula()
    torch.manual_seed(0)
    torch.testing.assert_close(out, network(torch.randn(2, 3, 64, 64)), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_installed_plugin_on_the_command_line(simam):
    built = python(simam, "-m", "resnet_lab", "build", "--model", "resnet18", "--attn", "simam@3,4", "--json")
    plain = (built["unmodified"]["parameters"], built["unmodified"]["macs"])
    assert (built["parameters"], built["macs"]) == plain == (11_689_512, 1_814_073_344)
    assert [stage["block"]["attn"] for stage in built["spec"]["stages"]] == ["none", "none", "simam", "simam"]

    listed = python(simam, "-m", "resnet_lab", "plugins", "list", "--json")["plugins"]
    assert [row for row in listed if row["source"] != "resnet-lab" and row["status"] != "disabled"] == [
        {
            "name": "simam",
            "kind": "attention",
            "source": "resnet-lab-simam",
            "version": "0.1.0",
            "status": "loaded",
            "parameters": {"epsilon": 1e-4, "position": "branch"},
        }
    ]
