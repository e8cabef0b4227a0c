"""CUDA pretended on the processor, for tests where there is no GPU.

Tensors say that they are on cuda:0 and are computed, forwards and backwards, on the CPU. What a GPU would refuse
raises here too: tensors or generators of two devices in one operator, and `numpy()`. What would make the host wait for
a GPU is counted by file and line of the program, as is a look at the clock while the device has work that nothing
waited for.

Kernels, their rounding, their races and their speed are those of the CPU: of these the pretence shows nothing.
"""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import resnet_lab

ROOT = Path(resnet_lab.__file__).parent
GIB = 2**30
READS = ("item", "tolist", "__bool__", "__float__", "__int__", "__index__", "__contains__", "cpu", "new_tensor")
"""Methods of a tensor that wait for its values."""

PRODUCTS = ("convolution", "convolution_backward", "mm", "addmm", "bmm")
aten = torch.ops.aten
INDEXING = (aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default)
"""Operators that take indices of the CPU too, which are copied to the device and waited for."""

_this = torch.device("cpu")
_real_clock = time.perf_counter


class PretendedCuda:
    """What happened.

    Attributes:
        waits: of the host for the device, by (file, line, kind).
        early: looks at the clock while a device had work that nothing waited for, by (file, line).
        lacks: names of operators that raise as a device does that has none of them.
        products: matrix products in float32, by the precision that was set for them.
        counting: whether waits are counted at the moment.
    """

    def __init__(self, devices: int) -> None:
        self.waits: Counter[tuple[str, int, str]] = Counter()
        self.early: Counter[tuple[str, int]] = Counter()
        self.products: Counter[str] = Counter()
        self.counting = True
        self.active = True
        self.current = 0
        self.devices = devices
        self.queued: set[int] = set()
        self.work: Counter[int] = Counter()
        self.generators = [torch.Generator() for _ in range(devices)]
        self.lacks: set[str] = set()
        self._pinned: dict[int, torch.UntypedStorage] = {}

    def wait(self, kind: str, index: int | None = None) -> None:
        """The host waits for one device."""
        self.queued.discard(self.current if index is None else index)
        if self.counting:
            self.waits[(*_place(), kind)] += 1

    def waits_by_file(self) -> dict[str, int]:
        found: Counter[str] = Counter()
        for (file, _, _), number in self.waits.items():
            found[file] += number
        return dict(found)

    @contextmanager
    def counted(self) -> Iterator[Counter[tuple[str, int, str]]]:
        """Waits of the block alone."""
        before, self.waits = self.waits, Counter()
        try:
            yield self.waits
        finally:
            before.update(self.waits)
            self.waits = before

    def pin(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._pinned[storage.data_ptr()] = storage  # held, so that no other takes its address
        return tensor

    def is_pinned(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self._pinned

    def device(self, given: Any = None) -> int:
        """Index of a device as torch.cuda takes it."""
        if given is None:
            return self.current
        if isinstance(given, int):
            return given
        index = torch.device(given).index
        return self.current if index is None else index

    def clock(self) -> float:
        if self.active and self.queued and _caller().startswith(str(ROOT)):
            self.early[_place()] += 1
        return _real_clock()


class PretendedTensor(torch.Tensor):
    """Memory of the CPU that says it is on a GPU."""

    _cuda: PretendedCuda
    _index: int

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("cuda", self._index)

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        return False

    def __repr__(self) -> str:  # type: ignore[override]
        return f"PretendedTensor({tuple(self.shape)}, {self.dtype}, {self.device})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            with torch.no_grad():
                copied = _wrapped(_plain(self).clone(), self._cuda, self._index)
            copied.requires_grad_(self.requires_grad)
            if getattr(self, "_is_param", False):
                copied._is_param = True  # type: ignore[attr-defined]
            memo[id(self)] = copied
        return memo[id(self)]  # type: ignore[no-any-return]

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        x = args[0] if args and isinstance(args[0], PretendedTensor) else None
        if x is not None:
            if name == "numpy":
                raise TypeError(
                    f"can't convert {x.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to "
                    "host memory first."
                )
            if name == "is_pinned":
                return False
            if name in READS:
                x._cuda.wait(name, x._index)
            if name == "cpu":
                return _down(x)
            if name == "new_tensor":
                return _wrapped(torch.tensor(*args[1:], **{"dtype": x.dtype, **kwargs}), x._cuda, x._index)
            if name == "to":
                return _moved(x, args[1:], kwargs)
            if name == "cuda":
                return x
            if name in READS:
                return getattr(_plain(x), name)(*args[1:], **kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        first = next(leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, PretendedTensor))
        return _run(first._cuda, func, args, kwargs or {})


class PretendedGenerator(torch.Generator):
    """A generator of the CPU that says it is a GPU's."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("cuda", 0)


class _Generators(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _RealGenerator)


_RealGenerator = torch.Generator


class _GeneratorOfDevice(metaclass=_Generators):
    def __new__(cls, device: Any = "cpu") -> Any:
        return PretendedGenerator() if torch.device(device).type == "cuda" else _RealGenerator()


class _ToPlain(torch.autograd.Function):
    """From the pretended device to the CPU, and gradients back."""

    @staticmethod
    def forward(ctx: Any, x: PretendedTensor) -> Tensor:
        ctx.of = x._cuda, x._index
        return _plain(x).clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _wrapped(gradients[0].clone(), *ctx.of)


def _down(x: PretendedTensor) -> Tensor:
    if x.requires_grad and torch.is_grad_enabled():
        return _ToPlain.apply(x)  # type: ignore[no-any-return]
    return _plain(x).clone()


def _plain(x: Tensor) -> Tensor:
    """The same memory as a tensor of the CPU, without history."""
    if not isinstance(x, PretendedTensor):
        return x
    with torch._C._DisableTorchDispatch():  # type: ignore[attr-defined]
        return torch.Tensor._make_subclass(torch.Tensor, x)  # type: ignore[attr-defined,no-any-return]


def _wrapped(x: Tensor, cuda: PretendedCuda, index: int) -> PretendedTensor:
    wrapped: PretendedTensor = torch.Tensor._make_subclass(PretendedTensor, x)  # type: ignore[attr-defined]
    wrapped._cuda, wrapped._index = cuda, index
    return wrapped


def _moved(x: PretendedTensor, args: Any, kwargs: Any) -> Tensor:
    """`x.to(...)`: to the CPU, to another of the devices, or as it is."""
    device, rest, named = None, [], dict(kwargs)
    for each in args:
        if isinstance(each, str | torch.device):
            device = torch.device(each)
        elif isinstance(each, Tensor):
            device = each.device
            rest.append(each.dtype)
        elif not (each is None or isinstance(each, bool)):
            rest.append(each)
    if named.get("device") is not None:
        device = torch.device(named["device"])
    named = {key: value for key, value in named.items() if key not in ("device", "non_blocking")}
    if device is not None and device.type == "cpu":
        x._cuda.wait("to the CPU", x._index)
        return _down(x).to(*rest, **named)
    if device is not None and device.type == "meta":
        return torch.empty_like(_plain(x), device="meta", **named)
    with torch._C.DisableTorchFunctionSubclass():
        if device is not None and x._cuda.device(device) != x._index:
            return _wrapped(_plain(x).to(*rest, **named).clone(), x._cuda, x._cuda.device(device))
        return x.to(*rest, **named) if rest or named else x


def _run(cuda: PretendedCuda, func: Any, args: Any, kwargs: Any) -> Any:
    """An operator below autograd."""
    leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    ours = [leaf for leaf in leaves if isinstance(leaf, PretendedTensor)]
    wanted = next((leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.device)), None)
    to_cuda = wanted is not None and wanted.type == "cuda"
    if not ours and not to_cuda:
        pinned = bool(kwargs.get("pin_memory"))
        out = func(*args, **{**kwargs, "pin_memory": False} if pinned else kwargs)
        return cuda.pin(out) if pinned else out
    index = cuda.device(wanted) if to_cuda else ours[0]._index
    if _is_composite(func):  # in inference mode these come here before they are taken apart
        with _Dispatch(cuda):
            return func.decompose(*args, **kwargs)
    if func._overloadpacket.__name__ in cuda.lacks:
        raise NotImplementedError(f"The operator '{func.name()}' is not currently implemented for the device.")
    _refuse(func, args, ours, leaves, index)
    _note_waits(cuda, func, args, kwargs, ours, index)
    _note_products(cuda, func, ours)
    given = {key: value for key, value in kwargs.items() if key != "pin_memory"}
    if to_cuda:
        given["device"] = _this
    memo: dict[int, PretendedTensor] = {}

    def plain(leaf: Any) -> Any:
        if not isinstance(leaf, PretendedTensor):
            return leaf
        alias = _plain(leaf)
        memo[id(alias)] = leaf
        aliases.append(alias)
        return alias

    aliases: list[Tensor] = []  # held, so that an id stays one tensor's
    args, given = tree_map(plain, args), tree_map(plain, given)
    with _drawing_from(cuda, func, kwargs, index):
        out = func(*args, **given)
    if not func.is_view and func not in (aten.detach.default, aten.alias.default):
        cuda.queued.add(index)
        cuda.work[index] += 1
    for alias in aliases:
        assert alias.shape == memo[id(alias)].shape, f"{func} changes a shape in place, which is not pretended"

    def back(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or isinstance(leaf, PretendedTensor):
            return leaf
        return memo[id(leaf)] if id(leaf) in memo else _wrapped(leaf, cuda, index)

    return tree_map(back, out)


def _is_composite(func: Any) -> bool:
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return has(func.name(), "CompositeImplicitAutograd") and not has(func.name(), "CPU")


def _refuse(func: Any, args: Any, ours: list[Any], leaves: list[Tensor], index: int) -> None:
    """Raise what a GPU would."""
    if func in (aten.copy_.default, aten._to_copy.default):
        return
    indexing = func in INDEXING
    scalars = torch.Tag.pointwise in func.tags or any(name in str(func) for name in ("_foreach", "_fused", "fill_"))
    for leaf in leaves:
        if isinstance(leaf, PretendedTensor):
            if leaf._index != ours[0]._index:
                found = f"cuda:{leaf._index} and cuda:{ours[0]._index}"
                raise RuntimeError(f"Expected all tensors to be on the same device, but found {found}! ({func})")
            continue
        changed = torch.Tag.inplace in func.tags and leaf is args[0]
        if not changed and (leaf is not args[0] if indexing else scalars and leaf.ndim == 0):
            continue
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, cuda:{index} and "
            f"{leaf.device}! ({func})"
        )


def _note_waits(cuda: PretendedCuda, func: Any, args: Any, kwargs: Any, ours: list[Any], index: int) -> None:
    """Count what the host has to wait for the device in, by the operator."""
    if func is aten._to_copy.default and not ours:
        if not (kwargs.get("non_blocking") and cuda.is_pinned(args[0])):
            cuda.wait("a copy to the device that blocks", index)
    elif func is aten.copy_.default:
        target, source, *blocking = args
        if isinstance(target, PretendedTensor) != isinstance(source, PretendedTensor):
            host = source if isinstance(target, PretendedTensor) else target
            unblocked = bool(blocking and blocking[0]) or kwargs.get("non_blocking")
            if not (unblocked and cuda.is_pinned(host)):
                cuda.wait("a copy between devices that blocks", index)
    elif func in INDEXING:
        for each in args[1]:
            if each is None:
                continue
            if not isinstance(each, PretendedTensor):
                cuda.wait("an index on the CPU", index)
            elif each.dtype in (torch.bool, torch.uint8) and (func is aten.index.Tensor or args[2].numel() > 1):
                cuda.wait("a boolean index", index)
    elif torch.Tag.dynamic_output_shape in func.tags or torch.Tag.data_dependent_output in func.tags:
        cuda.wait(str(func), index)


def _note_products(cuda: PretendedCuda, func: Any, ours: list[Any]) -> None:
    name = func._overloadpacket.__name__
    if name in PRODUCTS and ours and ours[0].dtype == torch.float32:
        convolution = name.startswith("convolution")
        backend = torch.backends.cudnn.conv if convolution else torch.backends.cuda.matmul
        cuda.products[backend.fp32_precision] += 1


@contextmanager
def _drawing_from(cuda: PretendedCuda, func: Any, kwargs: Any, index: int) -> Iterator[None]:
    """Random numbers of a GPU come from its own generator."""
    if torch.Tag.nondeterministic_seeded not in func.tags or kwargs.get("generator") is not None:
        yield
        return
    before = torch.default_generator.get_state()
    torch.default_generator.set_state(cuda.generators[index].get_state())
    try:
        yield
    finally:
        cuda.generators[index].set_state(torch.default_generator.get_state())
        torch.default_generator.set_state(before)


class _Dispatch(TorchDispatchMode):
    """Makes tensors of the pretended device where operators are asked for them."""

    def __init__(self, cuda: PretendedCuda) -> None:
        super().__init__()
        self._cuda = cuda

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(self._cuda, func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """What is decided before operators are dispatched."""

    def __init__(self, cuda: PretendedCuda) -> None:
        super().__init__()
        self._cuda = cuda

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, cuda = kwargs or {}, self._cuda
        device = kwargs.get("device")
        _refuse_generator(device, args, kwargs.get("generator"))
        if func in (torch.tensor, torch.as_tensor) and device is not None and torch.device(device).type == "cuda":
            cuda.wait("torch.tensor", cuda.device(device))
            return _wrapped(func(*args, **{**kwargs, "device": "cpu"}), cuda, cuda.device(device))
        x = args[0] if args and isinstance(args[0], Tensor) else None
        if x is not None and not isinstance(x, PretendedTensor):
            if func is torch.Tensor.is_pinned:
                return cuda.is_pinned(x)
            if func is torch.Tensor.pin_memory:
                return cuda.pin(x.clone())
            if func is torch.Tensor.to and len(args) > 1 and isinstance(args[1], PretendedTensor):
                return x.to(args[1].device, args[1].dtype, **kwargs)
            if func is torch.Tensor.cuda:
                return x.to(torch.device("cuda", cuda.device(args[1] if len(args) > 1 else None)), **kwargs)
        if func is torch.nn.functional.one_hot and isinstance(x, PretendedTensor):  # which on a GPU looks at no value
            classes = torch.arange(args[1], device=x.device)
            return (x.unsqueeze(-1) == classes).long()
        if func is torch.device:
            return func(*args, **kwargs)
        return func(*map(self._indexed, args), **{key: self._indexed(each) for key, each in kwargs.items()})

    def _indexed(self, given: Any) -> Any:
        """A device with its index, for which torch would ask CUDA's libraries."""
        if (isinstance(given, str) and given == "cuda") or (isinstance(given, torch.device) and given.type == "cuda"):
            return torch.device("cuda", self._cuda.device(given))
        return given


def _refuse_generator(device: Any, args: Any, generator: Any) -> None:
    """Raise what a GPU would; below Python a generator no longer says whose it is."""
    if generator is None:
        return
    first = args[0] if args else None
    wanted = torch.device(device) if device is not None else first.device if isinstance(first, Tensor) else _this
    if wanted.type != generator.device.type:
        raise RuntimeError(f"Expected a '{wanted.type}' device type for generator but found '{generator.device.type}'")


class _Event:
    """Recorded on the current device, whose work it takes the time of."""

    def __init__(self, cuda: PretendedCuda) -> None:
        self._cuda = cuda
        self.time, self.index = 0.0, -1
        self.work: Counter[int] = Counter()

    def record(self, stream: Any = None) -> None:
        self.time, self.index = _real_clock(), self._cuda.current if stream is None else stream.device.index
        self.work = self._cuda.work.copy()

    def synchronize(self) -> None:
        self._cuda.wait("Event.synchronize", self.index)

    def elapsed_time(self, end: "_Event") -> float:
        elsewhere = self.work != end.work and self.work[self.index] == end.work[self.index]
        if self._cuda.queued or elsewhere:  # it would raise, or give the time of another device
            self._cuda.early[_place()] += 1
        return 1000 * max(end.time - self.time, 1e-9)


class _Current:
    """`torch.cuda.device`."""

    cuda: PretendedCuda

    def __init__(self, device: Any) -> None:
        self._index = self.cuda.device(device)
        self._before = 0

    def __enter__(self) -> None:
        self._before, self.cuda.current = self.cuda.current, self._index

    def __exit__(self, *error: object) -> None:
        self.cuda.current = self._before


@contextmanager
def pretended_cuda(
    devices: int = 1, capability: tuple[int, int] = (9, 0), free: int = 100 * GIB, total: int = 139 * GIB
) -> Iterator[PretendedCuda]:
    """CUDA devices that are not there, in all threads of pools."""
    cuda = PretendedCuda(devices)
    before = torch.__future__.get_swap_module_params_on_conversion()
    with ExitStack() as stack:
        for owner, name, value in _replaced(cuda, capability, free, total):
            stack.enter_context(mock.patch.object(owner, name, value))
        for module in list(sys.modules.values()):
            if getattr(module, "__name__", "").startswith("resnet_lab") and hasattr(module, "perf_counter"):
                stack.enter_context(mock.patch.object(module, "perf_counter", cuda.clock))
        torch.__future__.set_swap_module_params_on_conversion(True)  # parameters stay the same objects, as on a GPU
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, before)
        stack.callback(setattr, cuda, "active", False)
        stack.enter_context(_Dispatch(cuda))
        stack.enter_context(_Functions(cuda))
        yield cuda


def _replaced(
    cuda: PretendedCuda, capability: tuple[int, int], free: int, total: int
) -> Iterator[tuple[object, str, object]]:
    """Owner, name and stand-in of all that asks CUDA's libraries."""
    real_submit, real_autocast = ThreadPoolExecutor.submit, torch.autocast
    real_grouped = torch._C._group_tensors_by_device_and_dtype
    from torch.optim.optimizer import Optimizer

    class Autocast(real_autocast):  # type: ignore[misc,valid-type]
        def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
            super().__init__("cpu", *args, **kwargs)

    def submit(pool: ThreadPoolExecutor, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        def inside(*args: Any, **kwargs: Any) -> Any:
            if threading.current_thread() is threading.main_thread() or not cuda.active:
                return call(*args, **kwargs)
            with _Dispatch(cuda), _Functions(cuda):
                return call(*args, **kwargs)

        return real_submit(pool, inside, *args, **kwargs)

    def grouped(lists: Any, with_indices: bool = False) -> Any:
        found = real_grouped(lists, with_indices)  # of what is seen of devices below Python
        return {(members[0][0][0].device, dtype): members for (_, dtype), members in found.items()}

    def set_rng_state(state: Tensor, device: Any = None) -> None:
        cuda.generators[cuda.device(device)].set_state(state)

    def manual_seed(seed: int) -> None:
        cuda.generators[cuda.current].manual_seed(seed)

    def manual_seed_all(seed: int) -> None:
        for generator in cuda.generators:
            generator.manual_seed(seed)

    library = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "_lazy_init": lambda: None,
        "_is_in_bad_fork": lambda: False,
        "device_count": lambda: cuda.devices,
        "current_device": lambda: cuda.current,
        "device": type("device", (_Current,), {"cuda": cuda}),
        "set_device": lambda device: setattr(cuda, "current", cuda.device(device)),
        "get_device_capability": lambda device=None: capability,
        "get_device_name": lambda device=None: "Pretended GPU",
        "get_arch_list": lambda: [f"sm_{capability[0]}{capability[1]}"],
        "mem_get_info": lambda device=None: (free, total),
        "memory_allocated": lambda device=None: 0,
        "memory_reserved": lambda device=None: 0,
        "max_memory_allocated": lambda device=None: 2**20,
        "max_memory_reserved": lambda device=None: 2**20,
        "reset_peak_memory_stats": lambda device=None: None,
        "empty_cache": lambda: None,
        "synchronize": lambda device=None: cuda.wait("synchronize", cuda.device(device)),
        "Event": lambda enable_timing=False: _Event(cuda),
        "current_stream": lambda device=None: mock.Mock(device=torch.device("cuda", cuda.device(device))),
        "get_rng_state": lambda device="cuda": cuda.generators[cuda.device(device)].get_state(),
        "set_rng_state": set_rng_state,
        "manual_seed": manual_seed,
        "manual_seed_all": manual_seed_all,
    }
    yield from ((torch.cuda, name, value) for name, value in library.items())
    yield torch, "autocast", Autocast
    yield torch, "Generator", _GeneratorOfDevice
    yield ThreadPoolExecutor, "submit", submit
    yield Optimizer, "_accelerator_graph_capture_health_check", lambda self: None
    yield torch._C, "_group_tensors_by_device_and_dtype", grouped
    yield torch.accelerator, "current_accelerator", lambda check_available=False: torch.device("cuda")
    yield torch.accelerator, "empty_cache", lambda: None
    yield torch.accelerator, "synchronize", library["synchronize"]
    yield time, "perf_counter", cuda.clock


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename != __file__:
            yield frame
        frame = frame.f_back


def _caller() -> str:
    return next(_frames()).f_code.co_filename


def _place() -> tuple[str, int]:
    """File and line of the program that is at work."""
    for frame in _frames():
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT):
            return path.relative_to(ROOT).as_posix(), frame.f_lineno
    return "", 0
