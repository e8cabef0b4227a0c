"""The hooks a plugin may implement.

A plugin is a module named by an entry point of the group `resnet_lab`::

    [project.entry-points.resnet_lab]
    simam = "resnet_lab_simam"

There is a hook for each kind of component (`kinds`), and one for kernels. A plugin implements any of them, marked with
`resnet_lab.plugin_api.hookimpl`. Each is called once with a function `register(name, factory)`; the name is what users
write (`--attn simam`), in lower case letters, digits and underscores. A factory is an ordinary function, or a class:
its positional arguments are given by the program as described for each hook, and its keyword-only arguments are the
component's parameters (`simam(epsilon=1e-4)`), checked against their annotations: `bool`, `int`, `float`, `str` or a
`Literal` of these::

    from resnet_lab.plugin_api import hookimpl

    @hookimpl
    def register_attentions(register):
        register("simam", SimAM)

Tensors are N C H W. A module whose own parameters start at random defines `reset_parameters()`, as torch's layers do:
it is called under a seed made from the parameter's name, so that a component never disturbs its neighbours' initial
values. Each `nn.Conv2d` outside an attention is initialised by the program (He et al. 2015, arXiv:1502.01852).
"""

from collections.abc import Callable
from typing import Any, Protocol

import pluggy

GROUP = "resnet_lab"
"""Entry-point group of plugins, and the name of their hooks."""

API_VERSION = 5
"""Version of the hooks here and the names in `plugin_api`, raised with every addition."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Register(Protocol):
    """Registers `factory` under `name`; refuses a name that is already taken."""

    def __call__(self, name: str, factory: Callable[..., object]) -> None: ...


class RegisterConvolution(Protocol):
    """`Register` with the traits of a convolution that the program must know to use it rightly."""

    def __call__(
        self, name: str, factory: Callable[..., object], *, mixes_channels: bool = True, takes_groups: bool = True
    ) -> None: ...


class RegisterNorm(Protocol):
    """`Register` for norms; one that adds no bias of its own leaves it to the convolution before it."""

    def __call__(self, name: str, factory: Callable[..., object], *, adds_bias: bool = True) -> None: ...


class RegisterKernels(Protocol):
    """Registers `kernels`, a subclass of the modules' class `plain`; a class has the kernels of one plugin at most."""

    def __call__(self, plain: type[Any], kernels: type[Any]) -> None: ...


@hookspec
def register_activations(register: Register) -> None:
    """Activations: `factory() -> Module`, elementwise, any shape to the same shape.

    The gain of the initialisation is computed from the function itself (1 / sqrt(E[f(z)^2]), z standard normal).
    """


@hookspec
def register_convolutions(register: RegisterConvolution) -> None:
    """Register replacements of a 3x3: `factory(in_channels, out_channels, stride, groups, bias) -> Module`.

    (N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride)). With `mixes_channels=False` it is
    only ever asked for in_channels == out_channels, and a 1x1 follows it where nothing else would mix channels. With
    `takes_groups=False` it is only ever asked for groups == 1. One that has a parameter `dilation: int = 1` can stand
    where a block or a network asks for a dilated convolution, and is then given it.
    """


@hookspec
def register_norms(register: RegisterNorm) -> None:
    """Normalisations: `factory(channels) -> Module`, (N, channels, H, W) to the same shape."""


@hookspec
def register_attentions(register: Register) -> None:
    """Attentions: `factory(channels) -> Module`, (N, channels, H, W) to the same shape.

    Every attention also takes the parameter `position`, which the program reads: `branch` (the default) puts it on
    the residual branch before the addition, `inner` before the last convolution of the branch, `output` on the block's
    output.
    """


@hookspec
def register_blocks(register: Register) -> None:
    """Blocks: `factory(in_channels, width, out_channels, stride, parts) -> Module`.

    (N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride)). `parts` (`model.Parts`) makes the
    components the user chose; a block that leaves one out cannot be combined with a choice of it. A block whose branch
    ends in a norm may name it by an attribute `last_norm`, for `zero_init_residual`.
    """


@hookspec
def register_shortcuts(register: Register) -> None:
    """Register shortcuts where the shape changes: `factory(in_channels, out_channels, stride, parts) -> Module`.

    (N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride)). It is only asked for where the
    shape changes, and refuses what it cannot do with a `SpecError`. `parts` (`model.ShortcutParts`) makes 1x1
    convolutions and norms; a shortcut need use neither. Since API 2.
    """


@hookspec
def register_stems(register: Register) -> None:
    """Register what comes before the first stage: `factory(in_channels, out_channels, parts) -> Module`.

    (N, in_channels, H, W) to (N, out_channels, ceil(H / r), ceil(W / r)), with an r of the stem's own. `parts`
    (`model.StemParts`) makes convolutions, norms and activations as chosen for the stem; the stem's own last norm and
    activation are its affair. Since API 2.
    """


@hookspec
def register_downsamples(register: Register) -> None:
    """Register downsampling of the residual branch: `factory(channels, stride) -> Module`.

    (N, channels, H, W) to (N, channels, ceil(H / stride), ceil(W / stride)). It is only asked for where stride > 1, and
    the convolution that would have had the stride then has none. It stands where the block puts it, in the built-in
    ones behind that convolution's norm and activation. Since API 2.
    """


@hookspec
def register_pools(register: Register) -> None:
    """Register pooling of the last feature map: `factory(channels) -> Module`.

    (N, channels, H, W) to (N, channels, 1, 1), for any H and W. One that gives more channels has their number as its
    attribute `out_channels`. Since API 2.
    """


@hookspec
def register_datasets(register: Register) -> None:
    """Data sets: `factory() -> ImageSet` (`resnet_lab.core.images`)."""


@hookspec
def register_trackers(register: Register) -> None:
    """Register trackers of trainings: `factory() -> Tracker` (`resnet_lab.plugin_api.Tracker`).

    It is called once for each training that `--track` asks to track, and contacts nothing yet. Since API 5.
    """


@hookspec
def register_kernels(register: RegisterKernels) -> None:
    """Register a GPU's kernels for a class of modules: `register(plain, kernels)`, `kernels` a subclass of `plain`.

    Where a network is trained on CUDA, each of its modules whose class is exactly `plain` and for which the class's
    `kernels.suits(module)` is true becomes a `kernels`. Only its class changes: parameters, names and weights files
    are the same with and without, so `kernels` has no `__init__` and keeps nothing. It computes what `plain` does, up
    to rounding, and leaves to `plain`, by `super().forward`, what it cannot: symbolic tracing, exports, processors.
    Runs and benches record which plugin's kernels they ran. Since API 4.
    """
