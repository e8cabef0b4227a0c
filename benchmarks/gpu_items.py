"""Items of `gpu_day.py`, each measured in interleaved rounds. Legend: N images, C channels, H W pixels.

Ratios say how many times as fast: they are medians over rounds, with the exact 95% interval of a median.
"""

import os
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any
from unittest.mock import patch
from xml.etree import ElementTree

import torch
from gpu_day import Found, Item, Skipped
from torch import Tensor

from resnet_lab.bench import interleaved_timing
from resnet_lab.bench.arms import BenchArm, arms_of
from resnet_lab.bench.config import Mode
from resnet_lab.bench.interleaved_timing import interleave
from resnet_lab.bench.measuring import bench
from resnet_lab.bench.peers import NAMES
from resnet_lab.bench.results import as_json, machine
from resnet_lab.bench.statistics import FEWEST, median_interval
from resnet_lab.bench.timed_networks import NetworkCache, network_of, ready
from resnet_lab.core.errors import ConfigError
from resnet_lab.data.config import DataConfig
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.preparation import Prepared, prepare
from resnet_lab.data.sources import open_images
from resnet_lab.device import Placement, choose, compile_for_training
from resnet_lab.device.gpu_shares import take_share
from resnet_lab.device.kernels import take_kernels
from resnet_lab.network import zoo
from resnet_lab.network.builder import assemble
from resnet_lab.network.kinds import KINDS
from resnet_lab.network.plugins import Registry, default_registry
from resnet_lab.network.spec import ModelSpec
from resnet_lab.study.design import study_from
from resnet_lab.study.running import run_study
from resnet_lab.study.trials import StudyFolder
from resnet_lab.testing import check_kernels
from resnet_lab.testing.checking import Checks, under_test
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.learner import Learner
from resnet_lab.train.optimisation import make_loss

ROOT = Path(__file__).parents[1]
PEER, PEER_WITH_CBAM, DEPTHWISE, END_TO_END = 1.05, 1.35, 1.0, 0.95
"""Ratios that are aimed at."""

WITH_KERNELS = " with kernels"
"""End of the name of an arm that runs plugins' kernels."""


@dataclass(frozen=True)
class Sizes:
    """What is measured, and how long.

    Attributes:
        images: of the set that is trained on.
        steps: of an epoch beside one resident batch.
        rounds: of a bench, at most.
        epochs: in each arm that is timed by epochs, and twice as many as a trial has.
        benches: of a network beside itself.
        trial: network of the trials.
    """

    device: str = "cuda"
    network: str = "resnet50"
    size: int = 224
    batch: int = 256
    images: int = 5120
    steps: int = 15
    rounds: int = 15
    epochs: int = 6
    benches: int = 5
    trial: str = "resnet18"

    @property
    def spec(self) -> ModelSpec:
        return zoo.get(self.network).modified(input_size=self.size)

    @property
    def is_gpu(self) -> bool:
        return self.device != "cpu"

    def placement(self, compile: Any = "off") -> Placement:
        return choose(self.device, "bf16", compile)

    def prepared(self) -> Prepared:
        """Drawn images in the cache."""
        source = f"synthetic(images={self.images})"
        form = ImageFormat(self.size)
        return prepare(open_images(source, default_registry()), form, DataConfig(source=source), seed=0)


REAL = Sizes()
TINY = Sizes("cpu", "resnet18", 32, 4, images=48, steps=6, rounds=2, epochs=2, benches=1, trial="resnet20")


def ratio(what: str, above: Sequence[float], below: Sequence[float], at_least: float | None = None) -> Found:
    """Times of two arms in the same rounds, as one ratio; where one was done earlier, of the rounds of both."""
    values = [a / b for a, b in zip(above, below, strict=False)]
    interval = median_interval(values)
    return {
        "what": what, "ratio": median(values), "interval": interval,
        "quartiles": quantiles(values, n=4)[::2] if len(values) > 1 else None, "n": len(values),
        "at_least": at_least, "met": None if at_least is None else _met(interval, at_least),
    }  # fmt: skip


def _met(interval: tuple[float, float] | None, at_least: float) -> str:
    if interval is None:
        return "undecided"
    return "met" if interval[0] >= at_least else "missed" if interval[1] < at_least else "undecided"


# The device, and what is right on it


def device(sizes: Sizes) -> Iterator[Found]:
    """Device, versions and plugins."""
    placement = sizes.placement()
    yield {"machine": machine(placement.device, placement.name), "placement": str(placement)}
    yield {
        "packages": {name: bool(find_spec(name)) for name in ("triton", "timm", "pytorch_grad_cam", "pynvml", "ray")},
        "plugins": [str(plugin) for plugin in default_registry().plugins],
        "kernels": [f"{each.owner}: {each.kernels.__name__}" for each in default_registry().kernels.values()],
    }


def gpu_tests(sizes: Sizes) -> Iterator[Found]:
    """Tests that need a GPU: the program's, and those of plugins."""
    for folder in (ROOT, *sorted((ROOT / "plugins").glob("*"))):
        mark = "pytest.mark." + "gpu"
        files = [str(path) for path in sorted((folder / "tests").rglob("test_*.py")) if mark in path.read_text()]
        if files:
            name, found = folder.name if folder != ROOT else "resnet-lab", tested(folder, files)
            counts = f"{found['passed']} passed, {found['skipped']} skipped, {len(found['failed'])} failed"
            yield {name: found, "notes": [f"tests of {name}: {counts}"]}


def tested(folder: Path, files: Sequence[str]) -> Found:
    """Numbers of tests that passed, failed and were skipped, and the messages of those that failed."""
    with tempfile.TemporaryDirectory() as reports:
        report = Path(reports, "report.xml")
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder), *sys.path])}
        subprocess.run([*command, *files], cwd=folder, env=environment, check=False)
        cases = list(ElementTree.parse(report).iter("testcase"))
    failed = {
        f"{case.get('classname')}::{case.get('name')}": (child.get("message") or "")[:500]
        for case in cases
        for child in case
        if child.tag in ("failure", "error")
    }
    skipped = sum(any(child.tag == "skipped" for child in case) for case in cases)
    return {"passed": len(cases) - len(failed) - skipped, "skipped": skipped, "failed": failed}


def conformance(sizes: Sizes) -> Iterator[Found]:
    """The conformance kit's check on CUDA of every registered component, and all its checks of kernels."""
    registry = default_registry()
    found: dict[str, dict[str, str]] = {"passed": {}, "skipped": {}, "failed": {}}
    for kind, name in sorted(registry.entries):
        if KINDS[kind].places:
            result = Checks(under_test(kind, name, registry), {}).result("cuda")
            found[result.status][f"{kind} {name}"] = str(result)
            yield dict(found)
    for offer in registry.kernels.values():
        for result in check_kernels(offer).results:
            found[result.status][f"kernels {offer.kernels.__name__}, {result.name}"] = str(result)
        yield dict(found)
    counts = ", ".join(f"{len(those)} {status}" for status, those in found.items())
    yield {"notes": [f"components and kernels: {counts}", *found["failed"].values()]}


# Speed beside timm's and torchvision's


def resnet50_training(sizes: Sizes) -> Iterator[Found]:
    """Training step of the plain network, compiled and eager, beside timm's and torchvision's."""
    yield from beside_peers(sizes, "none", "train", PEER)


def resnet50_inference(sizes: Sizes) -> Iterator[Found]:
    """Inference of a batch by the plain network, compiled and eager, beside timm's and torchvision's."""
    yield from beside_peers(sizes, "none", "infer", PEER)


def cbam_training(sizes: Sizes) -> Iterator[Found]:
    """Training step with CBAM, compiled and eager, with plugins' kernels and without, beside timm's."""
    yield from beside_peers(sizes, "cbam", "train", PEER_WITH_CBAM)


def cbam_inference(sizes: Sizes) -> Iterator[Found]:
    """Inference of a batch with CBAM, compiled and eager, beside timm's."""
    yield from beside_peers(sizes, "cbam", "infer", PEER_WITH_CBAM)


def latency(sizes: Sizes) -> Iterator[Found]:
    """Inference of one image by the plain network, compiled and eager, beside timm's and torchvision's."""
    yield from beside_peers(sizes, "none", "latency")


def beside_peers(sizes: Sizes, attn: str, mode: Mode, at_least: float | None = None) -> Iterator[Found]:
    """Bench of ours and of peers, and how many times as fast ours is as the fastest of theirs."""
    there = [name for name in NAMES if find_spec(name)]
    yield {name: "skipped: it is not installed" for name in NAMES if name not in there}
    rows = yield from benched(sizes, {"attn": [attn]}, mode, ("on", "off"), there)
    ours, theirs = ([row for row in rows if (row["maker"] == "resnet-lab") == own] for own in (True, False))
    what = f"{sizes.network}{'' if attn == 'none' else f' with {attn}'}, {mode}"
    yield {
        "ratios": [
            *faster(what, those(ours, "on"), those(theirs, "on"), mode, at_least),
            *faster(what, those(ours, "off"), those(theirs, "off"), mode),
            *faster(what, those(ours, "on"), those(ours, "off"), mode),
            *gains(what, ours, mode),
        ]
    }


def depthwise(sizes: Sizes) -> Iterator[Found]:
    """Training step with depthwise 3x3 convolutions, with plugins' kernels and without, beside dense ones."""
    rows = yield from benched(sizes, {"conv": ["dense", "depthwise"]}, "train", ("on", "off"))
    dense, other = ([row for row in rows if row["name"].startswith("dense") == own] for own in (True, False))
    what = f"{sizes.network}, train"
    yield {
        "ratios": [
            *faster(what, those(other, "on"), those(dense, "on"), "train", DEPTHWISE),
            *faster(what, those(other, "off"), those(dense, "off"), "train", DEPTHWISE),
            *gains(what, rows, "train"),
        ]
    }


def eight_training(sizes: Sizes) -> Iterator[Found]:
    """Training step of the eight combinations, eager, with plugins' kernels and without."""
    yield from eight(sizes, "train")


def eight_inference(sizes: Sizes) -> Iterator[Found]:
    """Inference of a batch by the eight combinations, eager."""
    yield from eight(sizes, "infer")


def eight(sizes: Sizes, mode: Mode) -> Iterator[Found]:
    """Bench of the eight, and how many times as fast each is with plugins' kernels."""
    parts = {"act": ["relu", "gelu"], "conv": ["dense", "depthwise"], "attn": ["none", "cbam"]}
    rows = yield from benched(sizes, parts, mode)
    yield {"ratios": gains(f"{sizes.network}, {mode}", rows, mode)}


def with_kernels(arms: Sequence[BenchArm], registry: Registry) -> list[BenchArm]:
    """Arms without plugins' kernels, and those of ours for which there are some once more with these."""
    fused = [
        replace(arm, name=arm.name + WITH_KERNELS)
        for arm in arms
        if arm.maker == "resnet-lab" and take_kernels(network_of(arm, registry, "meta"), registry.kernels.values())
    ]
    return [*(replace(arm, has_kernels=False) for arm in arms), *fused]


def benched(
    sizes: Sizes, parts: Mapping[str, Sequence[str]], mode: Mode, compiled: Sequence[Any] = ("off",), peers: Any = ()
) -> Generator[Found, None, list[Found]]:
    """Bench of every combination, in training with plugins' kernels too; gives the rows of arms that were timed.

    Where the first cannot be timed, as where compiling fails, the eager ones are.
    """
    registry = default_registry()
    plain = arms_of([sizes.spec], parts, batches=[sizes.batch], precisions=["bf16"], compiled=compiled, peers=peers)
    arms = with_kernels(plain, registry) if mode == "train" else plain
    if mode == "train" and not registry.kernels:
        yield {"kernels": "skipped: no plugin that has some is installed"}
    run = partial(bench, registry=registry, modes=[mode], rounds=sizes.rounds, device=sizes.device)
    with rehearsed(sizes):
        try:
            found = run(arms)
        except ConfigError as error:
            eager = [arm for arm in arms if arm.compile == "off"]
            if len(eager) in (0, len(arms)):
                raise
            yield {"compiled": f"failed: {error}"}
            found = run(eager)
    content = as_json(found, sizes.placement().device)
    yield {mode: content}
    return [row for row in content["arms"] if mode in row]


@contextmanager
def rehearsed(sizes: Sizes) -> Iterator[None]:
    """In a rehearsal `torch.compile` is without effect, and measurements are a twentieth as long."""
    if sizes.is_gpu:
        yield
    else:
        with torch.compiler.set_stance("force_eager"), patch.object(interleaved_timing, "SAMPLE", 0.005):
            yield


def those(rows: Sequence[Found], compiled: str) -> list[Found]:
    """Those that are compiled, or not."""
    return [row for row in rows if row["compile"] == compiled]


def gains(what: str, rows: Sequence[Found], mode: Mode) -> list[Found]:
    """How many times as fast each arm is with plugins' kernels."""
    plain = {row["name"] + WITH_KERNELS: row for row in rows}
    return [each for row in rows if row["name"] in plain for each in faster(what, [row], [plain[row["name"]]], mode)]


def faster(
    what: str, ours: Sequence[Found], theirs: Sequence[Found], mode: Mode, at_least: float | None = None
) -> list[Found]:
    """How many times as fast the fastest of some arms is as the fastest of others; empty where either are missing."""
    if not (ours and theirs):
        return []
    best, other = (min(rows, key=lambda row: float(row[mode]["median_ms"])) for rows in (ours, theirs))
    above, below = (row[mode]["samples_ms"] for row in (other, best))
    return [ratio(f"{what}: {best['name']} over {other['name']}", above, below, at_least)]


# Training


def end_to_end(sizes: Sizes) -> Iterator[Found]:
    """Epochs from the cache beside steps on one batch that is there, and waits of the host for the GPU in them."""
    from frozen_speed import batches, few

    data, placement = few(sizes.prepared(), sizes.steps * sizes.batch), sizes.placement("on")
    mean, std = data.statistics()
    resident = batches(data, "train", mean, std, placement, sizes.batch)
    with patch("resnet_lab.data.image_loader.DEVICE_SHARE", 0.0):
        streamed = batches(data, "train", mean, std, placement, sizes.batch)
    _, x, y = next(resident.training(0))
    number = len(resident)
    sources: dict[str, Callable[[int], Iterator[tuple[Any, Tensor, Tensor]]]] = {
        "synthetic": lambda epoch: repeat((None, x, y), number), "streamed": streamed.training,
    }  # fmt: skip
    if sizes.is_gpu:
        sources["resident"] = resident.training
    with rehearsed(sizes):
        arms = {name: Epochs(sizes, source, x, y) for name, source in sources.items()}
        for name, arm in arms.items():
            if sizes.is_gpu:
                found = waits(arm)
                words = f"{found['waits']} waits in {number} steps, and {found['planted']} where one was planted"
                yield {f"waits, {name}": found, "notes": [f"{sizes.network}, epochs, {name}: {words}"]}
        turns = interleave(arms, sizes.epochs, placement.device)
    yield {
        "milliseconds per epoch": turns.samples,
        "remarks": turns.conditions.remarks(),
        "ratios": [
            ratio(f"{sizes.network}, epochs: {name} over synthetic", turns.samples["synthetic"], samples, END_TO_END)
            for name, samples in turns.samples.items()
            if name != "synthetic"
        ],
    }


class Epochs:
    """Epochs of the program's own step, compiled, on batches of a source."""

    def __init__(self, sizes: Sizes, source: Callable[[int], Any], x: Tensor, y: Tensor) -> None:
        placement = sizes.placement("on")
        spec = sizes.spec.modified(num_classes=10)
        model = placement.place(assemble(spec, default_registry()).model).train()
        called = compile_for_training(model, placement, spec.hash, x.shape)
        config = TrainConfig(lr=1e-3, batch_size=len(x))
        loss = make_loss(config, y.cpu().numpy(), 10, placement.device)
        self._learner = Learner(model, called, loss, config, placement)
        self._source, self._epoch = source, 0

    def __call__(self) -> None:
        self._epoch += 1
        for _, x, y in self._source(self._epoch):
            self._learner.step(x, y, 1e-3)

    def shift(self) -> None:
        """Implements `Timed.shift`: the weights stay where they are."""


def waits(call: Callable[[], object]) -> Found:
    """Places where the host waited for the GPU during a call, by torch's own warnings, after one call without them.

    `planted` is the number found where one was planted: 1, or the warnings cannot be trusted.
    """
    call()
    with seen_waits() as found:
        call()
    with seen_waits() as planted:
        torch.ones(1, device="cuda").item()
    return {"waits": sum(found.values()), "places": dict(found), "planted": sum(planted.values())}


@contextmanager
def seen_waits() -> Iterator[Counter[str]]:
    """Counts of the places that warn of a wait, filled in at the end."""
    found: Counter[str] = Counter()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode("default")
    found.update(f"{each.filename}:{each.lineno}" for each in seen if "called a synchronizing" in str(each.message))


def frozen_stages(sizes: Sizes) -> Iterator[Found]:
    """Epochs with the output of frozen stages stored, beside epochs without."""
    from frozen_speed import few, measured

    data = few(sizes.prepared(), 4 * sizes.batch)
    for stages in ("1-3", "1-4"):
        found = measured(data, stages, sizes.placement(), sizes.epochs, sizes.network, sizes.batch // 2)
        what = f"{sizes.network}, stages {stages} frozen: epochs with the store over without"
        yield {stages: found, "ratios": [ratio(what, found["seconds without"], found["seconds with"])]}


def same_network(sizes: Sizes) -> Iterator[Found]:
    """Benches of a network beside itself (A/A)."""
    from same_arms import benches, summary

    found: list[Found] = []
    with rehearsed(sizes):
        for each in benches(sizes.benches, sizes.device, max(FEWEST, sizes.rounds)):
            found.append(each)
            yield {"runs": found, "summary": summary(found)}
    yield {
        "notes": [
            f"{mode}: of {counts['runs']} ratios {counts['within 2%']} are within 2% of 1, and "
            f"{counts['interval holds 1']} intervals hold it"
            for mode, counts in summary(found).items()
        ]
    }


def cudnn_benchmark(sizes: Sizes) -> Iterator[Found]:
    """Training step and inference, eager, with cudnn.benchmark and without."""
    [arm] = arms_of([sizes.spec], {}, batches=[sizes.batch], precisions=["bf16"])
    before = torch.backends.cudnn.benchmark
    modes: tuple[Mode, ...] = ("train", "infer")
    for mode in modes:
        arms = {
            name: Searching(ready(arm, mode, NetworkCache(default_registry()), sizes.device), search)
            for name, search in (("without", False), ("with", True))
        }
        with rehearsed(sizes):
            samples = interleave(arms, sizes.rounds, sizes.placement().device).samples
        what = f"{sizes.network}, {mode}: with cudnn.benchmark over without"
        yield {mode: samples, "ratios": [ratio(what, samples["without"], samples["with"])]}
    torch.backends.cudnn.benchmark = before


class Searching:
    """A call for which cuDNN searches the fastest algorithms, or not."""

    def __init__(self, call: Any, search: bool) -> None:
        self._call, self._search = call, search

    def __call__(self) -> object:
        torch.backends.cudnn.benchmark = self._search
        return self._call()

    def shift(self) -> None:
        self._call.shift()


def quarters(sizes: Sizes) -> Iterator[Found]:
    """Four trials at a time, each with a quarter of the GPU's memory, beside one after the other."""
    design = {
        "study": {
            "name": "quarters", "recipe": "digits-quick", "seeds": 2,
            "arms": {"plain": {}, "half-the-rate": {"train.lr": 5e-3}},
        },
        "model": {"model": sizes.trial, "input_size": sizes.size // 2},
        "data": {"source": f"synthetic(images={sizes.images})"},
        "train": {
            "epochs": sizes.epochs // 2, "batch_size": sizes.batch // 2, "compile": "off", "device": sizes.device
        },
    }  # fmt: skip
    seconds = []
    for number in (1, 4):
        with tempfile.TemporaryDirectory() as folder, get_context("spawn").Pool(number) as pool:
            start = perf_counter()
            StudyFolder(Path(folder)).note(study_from(design, "quarters"))
            peaks = pool.starmap(trials, [(design, folder, 1 / number)] * number, chunksize=1)
            seconds.append(perf_counter() - start)
        yield {f"{number} at a time": {"seconds": seconds[-1], "peak bytes of each process": peaks}}
    yield {"ratios": [ratio("four trials, on a quarter each: at a time over one by one", seconds[:1], seconds[1:])]}


def trials(design: Found, folder: str, share: float) -> int | None:
    """Run those trials that no other process runs; the peak of the GPU's memory, in bytes."""
    from study_checks import Quiet

    take_share(share)
    run_study(study_from(design, "quarters"), StudyFolder(Path(folder)), default_registry(), Quiet())
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


def grad_cam(sizes: Sizes) -> Iterator[Found]:
    """Maps of Grad-CAM beside pytorch-grad-cam's."""
    if not find_spec("pytorch_grad_cam"):
        raise Skipped("pytorch-grad-cam is not installed")
    from grad_cam_speed import comparisons

    for what, found in comparisons(sizes.device, sizes.epochs, sizes.network, max(64, sizes.size)):
        seconds = found["seconds a batch"]
        theirs = min((name for name in seconds if name.startswith("theirs")), key=lambda name: median(seconds[name]))
        yield {
            what: found,
            "ratios": [
                ratio(f"{sizes.network}, Grad-CAM, {what}: {name} over {theirs}", seconds[theirs], seconds[name])
                for name in seconds
                if name.startswith("ours")
            ],
        }


ITEMS = (
    Item(1, 15, device),
    Item(1, 60, gpu_tests),
    Item(1, 50, conformance),
    Item(1, 190, resnet50_training),
    Item(1, 120, resnet50_inference),
    Item(1, 90, eight_inference),
    Item(2, 210, cbam_training),
    Item(2, 160, depthwise),
    Item(2, 130, eight_training),
    Item(3, 110, end_to_end),
    Item(3, 60, frozen_stages),
    Item(3, 50, same_network),
    Item(3, 40, cudnn_benchmark),
    Item(3, 70, quarters),
    Item(3, 80, latency),
    Item(3, 30, grad_cam),
    Item(3, 100, cbam_inference),
)
"""In order of worth within a part."""
