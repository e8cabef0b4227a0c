"""Everything that a training needs, found and checked before anything is written."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from math import ceil

import torch
from torch import Tensor, nn

from resnet_lab.core.errors import ConfigError, PluginError
from resnet_lab.core.size_schedule import SizeSchedule
from resnet_lab.core.watcher import Watcher
from resnet_lab.data.augmentations import parse_augmentations
from resnet_lab.data.config import DataConfig
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.image_loader import image_loader
from resnet_lab.data.loader import Loader
from resnet_lab.data.order import Order, ProcessShard, Subset
from resnet_lab.data.preparation import Prepared, prepare
from resnet_lab.data.sources import open_images
from resnet_lab.data.split import PARTS, Part
from resnet_lab.device import Placement, choose, largest_batch, require_memory, try_step
from resnet_lab.device.accelerators import EXPERIMENTAL, computes_bf16
from resnet_lab.device.dry_run import lacking
from resnet_lab.device.kernels import with_kernels
from resnet_lab.device.processes import Processes
from resnet_lab.device.trial_step import compare, noise, untouched
from resnet_lab.network import cost
from resnet_lab.network.builder import assemble, faults_of_plugins, plugins_needed, sources_needed
from resnet_lab.network.checkpoint import Metadata
from resnet_lab.network.model import ResNet
from resnet_lab.network.plugins import Registry
from resnet_lab.network.recomputation import recompute_activations
from resnet_lab.network.spec import ModelSpec
from resnet_lab.network.weights import Coverage, Weights, load_weights, open_weights
from resnet_lab.train.config import TrainConfig, require_averaging, require_sizes
from resnet_lab.train.determinism import reserve_workspace
from resnet_lab.train.freezing import freeze
from resnet_lab.train.learner import Learner
from resnet_lab.train.optimisation import make_loss, require_optimizer, warmup_steps
from resnet_lab.train.progress import TrainingWatcher

STEPS_AT_LEAST = 10
"""Fewest steps per epoch that a batch size of `auto` leaves: a few large steps learn less than many."""

TRIED = 2
"""Images of the smallest step that a batch size of `auto` tries."""

FEWEST_TRIED = 4
"""Images of a step by which it is found out what a device lacks, at least."""

EMULATED, EMULATED_SECONDS = 4, 1.0
"""Images of a step that is timed in an emulated precision, and seconds that this takes, about."""

SLOWER = 1.2
"""Times as long as in float32 from which that is said."""

OPTIMISER_STATES = 3
"""Copies of the weights that Adam and a moving average keep."""


@dataclass(frozen=True)
class Ready:
    """Result of `make_ready`.

    Attributes:
        metadata: of the weights files to come.
        network: with its initial or pretrained weights, partly frozen where that was asked for.
        coverage: of the pretrained weights, where there are some.
    """

    config: TrainConfig
    placement: Placement
    data: Prepared
    batches: dict[Part, Loader]
    metadata: Metadata
    network: nn.Module
    coverage: Coverage | None


def make_ready(
    spec: ModelSpec,
    data: DataConfig,
    config: TrainConfig,
    registry: Registry,
    watcher: TrainingWatcher,
    processes: Processes,
    check: Callable[[Prepared], None] = lambda prepared: None,
    sharing: int = 1,
) -> Ready:
    """Open and decode the images, split them, and build the network with its initial weights.

    Args:
        check: raises what is wrong with the images, before anything is asked of their number.
        sharing: trainings that the device's memory has to do for at one time.

    Raises:
        ResNetLabError: anything that is wrong with the input.
    """
    require_optimizer(config)
    reserve_workspace(config.deterministic)
    with processes.first_ahead():  # what is fetched and decoded is there for the others
        images = open_images(data.source, registry, download=data.download)
        spec = spec.modified(num_classes=len(images.classes))
        weights = None if config.weights is None else open_weights(config.weights, spec)
        if weights is not None:
            spec = weights.network(spec)
        built = assemble(
            spec,
            registry,
            seed=config.seed_of("init"),
            zero_init_residual=config.zero_init_residual,
            init_gain=config.init_gain,
        )
        for note in built.notes:
            watcher.say(note)
        if config.checkpoint_activations:
            require_eager(config)
            recompute_activations(built.model)
        _refuse_broken_plugins(built.model, spec, registry)
        for remark in cost.small_maps(spec, cost.measure(spec, registry)):
            watcher.say(remark)
        require_sizes(config, spec.name)
        require_averaging(config, spec.name)
        sizes = SizeSchedule.of(config.progressive_size, spec.input_size, config.epochs)
        placement = choose(
            processes.device, config.precision, config.compile, config.channels_last, _strides(spec, sizes, registry)
        )
        coverage = None if weights is None else _load(weights, built.model, spec, images.classes, config, watcher)
        placement = with_kernels(built.model, placement, registry.kernels.values())
        network = freeze(built.model, config.freeze) if config.freeze else built.model
        image_format = ImageFormat(spec.input_size, spec.in_channels, data.fit)
        _require_memory(config, _smallest_batch(config, len(images)), network, image_format, placement, processes)
        prepared = prepare(images, image_format, data, config.seed_of("split"), watcher)
        check(prepared)
    if placement.device.type in EXPERIMENTAL and (missing := _lacking(network, prepared, config, placement, sizes)):
        watcher.say(f"{placement.device} lacks {', '.join(missing)}: this training is on the CPU")
        on_cpu = replace(processes, device="cpu")
        return make_ready(spec, data, config, registry, watcher, on_cpu, check, sharing)
    number = len(prepared.positions("train"))
    batch_size = _batch_size(config, number, network, image_format, placement, processes, sharing)
    _require_memory(config, batch_size, network, image_format, placement, processes)
    smallest = spec.modified(input_size=min(sizes.sizes))
    _require_enough_images(prepared, batch_size, smallest, config, registry, processes)
    watcher.say(f"{int(prepared.usable.sum())} images of {len(images.classes)} classes; training on {placement}")
    if config.batch_size == "auto":
        watcher.say(f"batch size {batch_size}")
    _warn_of_emulation(network, placement, image_format, batch_size, watcher)
    mean, std = prepared.statistics()
    metadata = Metadata(
        spec=spec,
        classes=images.classes,
        mean=mean,
        std=std,
        fit=data.fit,
        depth=prepared.pixels.image_format.depth,
        plugins=plugins_needed(spec, registry),
        plugin_sources=sources_needed(spec, registry),
    )
    batches = {part: _batches(prepared, part, metadata, config, batch_size, placement, sizes) for part in PARTS}
    if sizes.changes:
        stages = ", ".join(f"{size} px from epoch {epoch}" for epoch, size in sizes.changes.items())
        watcher.say(f"progressive size: {stages}")
    warmup_steps(config, len(batches["train"]))
    config = config.model_copy(update={"batch_size": batch_size})
    return Ready(config, placement, prepared, batches, metadata, network, coverage)


def require_eager(config: TrainConfig) -> None:
    """Raise `ConfigError` where a compiled network is asked for, which decides itself what it computes again."""
    if config.compile in ("on", "max"):
        raise ConfigError(
            f"checkpoint_activations and compile = {config.compile} exclude each other: compiled code decides itself "
            "what it computes again; give --compile off, or leave --checkpoint-activations out"
        )


def _refuse_broken_plugins(network: nn.Module, spec: ModelSpec, registry: Registry) -> None:
    """Two images through a network with plugins' parts: their errors are better raised before anything is decoded.

    The network is then as it was.
    """
    if not plugins_needed(spec, registry):
        return
    x = torch.zeros(2, spec.in_channels, spec.input_size, spec.input_size)
    before = {name: tensor.clone() for name, tensor in _tensors_of(network).items()}
    for training in (False, True):
        with faults_of_plugins(spec, registry, "run"), torch.no_grad(), torch.random.fork_rng(devices=[]):
            network.train(training)(x if training else x[:1])
        after = _tensors_of(network)
        for name in sorted(before.keys() | after.keys()):
            was, now = (str(tuple(each[name].shape)) if name in each else "absent" for each in (before, after))
            if was != now:
                raise PluginError(
                    f"{spec.name}: {name} is {was} before a forward pass and {now} after it, so its weights could not "
                    "be read again; a part of the network must make its layers and buffers in __init__"
                )
    with torch.no_grad():
        for name, tensor in _tensors_of(network).items():
            tensor.copy_(before[name])


def _tensors_of(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def _load(
    weights: Weights,
    network: ResNet,
    spec: ModelSpec,
    classes: tuple[str, ...],
    config: TrainConfig,
    watcher: TrainingWatcher,
) -> Coverage:
    coverage = load_weights(network, spec, weights, classes=classes, depthwise_from_dense=config.depthwise_from_dense)
    watcher.weights(coverage)
    _warn_of_frozen_unmatched(coverage, config.freeze, watcher)
    return coverage


def _warn_of_frozen_unmatched(coverage: Coverage, frozen: Sequence[str], watcher: Watcher) -> None:
    """Frozen parts keep even those values that were never learned."""
    for stage in coverage.stages:
        unmatched = (*stage.new.names, *stage.shape_differs.names, *stage.diagonal.names)
        if stage.stage in frozen and unmatched:
            watcher.say(
                f"{stage.stage} is frozen, and {len(unmatched)} of its tensors, such as {unmatched[0]}, are not from "
                "the weights: they keep their initial values"
            )


def _strides(spec: ModelSpec, sizes: SizeSchedule, registry: Registry) -> tuple[str, ...]:
    """Strides larger than the map they get, at any of the sizes; raises what a network has against a size."""
    costs = [cost.measure(spec.modified(input_size=size), registry) for size in sorted(set(sizes.sizes))]
    return tuple(stride for each in costs for stride in each.oversized_strides)


def _warn_of_emulation(
    network: nn.Module, placement: Placement, image_format: ImageFormat, batch_size: int, watcher: Watcher
) -> None:
    """Time a step of a few images in a precision that the processor emulates, and in float32."""
    if placement.device.type != "cpu" or placement.dtype == torch.float32 or computes_bf16(placement.device):
        return
    shape = (min(EMULATED, batch_size), image_format.channels, image_format.size, image_format.size)
    plain, model = replace(placement, dtype=torch.float32), placement.place(network)
    with untouched(model, placement.device):
        model.train()
        emulated, usual = compare(model, model, (placement, plain), noise(placement, shape), seconds=EMULATED_SECONDS)
    if emulated > SLOWER * usual:
        watcher.say(
            f"a step takes {emulated / usual:.1f} times as long in {placement.precision}, which this processor "
            "emulates, as in fp32 (--precision fp32)"
        )


def _lacking(
    network: nn.Module, prepared: Prepared, config: TrainConfig, placement: Placement, sizes: SizeSchedule
) -> list[str]:
    """Operations that a device lacks of a step on a few images, their augmentation included."""
    chosen = prepared.positions("train")[: max(FEWEST_TRIED, 2 * config.accumulate)]
    images, channels = prepared.images, prepared.pixels.image_format.channels
    order = Order(Subset(chosen, images.labels[chosen], len(images.classes)), len(chosen), shard=ProcessShard())
    augment, schedule = parse_augmentations(config.augment), sizes if sizes.changes else None
    loader = image_loader(prepared.pixels, order, [0.5] * channels, [0.25] * channels, placement, augment, schedule)
    model = placement.place(deepcopy(network).train())
    loss = make_loss(config, order.images.labels, len(images.classes), placement.device)
    learner = Learner(model, model, loss, config, placement)

    def step() -> None:
        _, x, y = next(loader.training(config.epochs))
        learner.step(x, y, config.lr)

    return lacking(step)


def _batches(
    prepared: Prepared,
    part: Part,
    metadata: Metadata,
    config: TrainConfig,
    batch_size: int,
    placement: Placement,
    sizes: SizeSchedule,
) -> Loader:
    images, chosen = prepared.images, prepared.positions(part)
    chunks = None if images.chunks is None else images.chunks[chosen]
    subset = Subset(chosen, images.labels[chosen], len(images.classes), chunks)
    order = Order(
        subset, batch_size, config.seed_of("order"), balanced=config.balance == "sampling", copies=config.repeats
    )
    augment = parse_augmentations(config.augment)
    return image_loader(
        prepared.pixels, order, metadata.mean, metadata.std, placement, augment, sizes if sizes.changes else None
    )


def _smallest_batch(config: TrainConfig, images: int) -> int:
    """The smallest that `_batch_size` can come to, before the number of training images is known."""
    if config.batch_size == "auto":
        return TRIED
    return min(config.batch_size, images // 2) if "batch_size" in config.model_fields_set else 1


def _batch_size(
    config: TrainConfig,
    images: int,
    network: nn.Module,
    image_format: ImageFormat,
    placement: Placement,
    processes: Processes,
    sharing: int,
) -> int:
    """Batch size: as asked for, or the largest power of two that the memory holds and of which an epoch has ten."""
    if config.batch_size == "auto":
        placed = placement.place(network)
        weights = sum(parameter.nbytes for parameter in placed.parameters() if parameter.requires_grad)

        def step(number: int) -> None:
            pieces = min(config.accumulate, number)
            try_step(
                placed, placement, (ceil(number / pieces), image_format.channels, image_format.size, image_format.size)
            )

        most = max(config.accumulate, images // (STEPS_AT_LEAST * processes.world_size))
        each = largest_batch(step, most, placement.device, OPTIMISER_STATES * weights, sharing)
        return processes.least(each) * processes.world_size
    if config.batch_size > images and "batch_size" not in config.model_fields_set:
        return images
    if config.batch_size > images:
        raise ConfigError(
            f"batch_size is {config.batch_size}, and the training part has {images} images; give at most as many"
        )
    return config.batch_size


def _require_memory(
    config: TrainConfig,
    batch_size: int,
    network: nn.Module,
    image_format: ImageFormat,
    placement: Placement,
    processes: Processes,
) -> None:
    """Raise `ConfigError` where the micro-batch of one process cannot fit into the memory."""
    images = max(1, batch_size // (processes.world_size * (1 if config.batch_size == "auto" else config.accumulate)))
    require_memory(
        network, (images, image_format.channels, image_format.size, image_format.size), placement, training=True
    )


def _require_enough_images(
    prepared: Prepared,
    batch_size: int,
    spec: ModelSpec,
    config: TrainConfig,
    registry: Registry,
    processes: Processes,
) -> None:
    """Raise `ConfigError` where a step, a micro-batch or a process's share of a part would have too few images."""
    if config.repeats > batch_size:
        raise ConfigError(f"repeats is {config.repeats}, and a step has {batch_size} images; give at most as many")
    number = len(prepared.positions("train"))
    smallest = number // ceil(number / batch_size) // processes.world_size
    if config.accumulate > smallest:
        raise ConfigError(
            f"accumulate is {config.accumulate}, and the smallest share of a step has {smallest} images; give at most "
            "as many"
        )
    _refuse_single_images(spec, smallest // config.accumulate, registry)
    for part in PARTS:
        if len(prepared.positions(part)) < processes.world_size:
            raise ConfigError(
                f"{prepared.images.name}: {len(prepared.positions(part))} images in the {part} part are too few for "
                f"{processes.world_size} processes; start no more than images"
            )


def _refuse_single_images(spec: ModelSpec, smallest: int, registry: Registry) -> None:
    """Batch norm has no variance to take over one image at one pixel; better raised now than at the first step."""
    if smallest > 1:
        return
    x = torch.empty(1, spec.in_channels, spec.input_size, spec.input_size, device="meta")
    try:
        assemble(spec, registry, device="meta").model.train()(x)
    except ValueError as error:
        raise ConfigError(
            f"this network cannot learn from a single image: {error}; raise batch_size, or lower accumulate"
        ) from None
