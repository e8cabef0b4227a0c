"""`resnet_lab.evaluate`."""

from collections.abc import Sequence
from pathlib import Path

from resnet_lab.cli.options import name_source
from resnet_lab.core.errors import ConfigError
from resnet_lab.core.run_folder import Run as RunFolder
from resnet_lab.data.class_names import read_class_map
from resnet_lab.data.split import Part
from resnet_lab.device import choose
from resnet_lab.device.config import InferenceConfig
from resnet_lab.evaluation import scoring
from resnet_lab.evaluation.views import parse_views
from resnet_lab.interactive.progress import watching_training
from resnet_lab.interactive.results import Evaluation, Run, folder_of
from resnet_lab.network.plugins import default_registry


def evaluate(
    run: Run | str | Path,
    *,
    data: str | Path | None = None,
    split: Part | None = None,
    class_map: Sequence[str] = (),
    tta: str | None = None,
    again: bool = False,
    device: str = "auto",
    quiet: bool = False,
) -> Evaluation:
    """Score a run's best weights, with intervals, as `resnet-lab eval` does; predictions are stored and reused.

    Args:
        run: a run, or its folder.
        data: another source, of which all images are scored; the run's own by default.
        split: part of the run's own images; the test part by default.
        class_map: names of classes on the other side, `OLD=NEW`, or a CSV file of such pairs.
        tta: views over which probabilities are averaged: `"flip"`, `"rotate90"` or both with a comma.
        again: whether to recompute stored predictions.
        device: `auto`, `cpu`, `cuda`, `cuda:0`.
        quiet: whether to show no progress.

    Raises:
        ResNetLabError: as the command refuses.
    """
    if data is not None and split is not None:
        raise ConfigError("split is of the run's own images, and all of data are scored; leave one of them out")
    source = None if data is None else name_source(str(data))
    folder, registry, views = folder_of(run), default_registry(), parse_views(tta)
    placement = choose(device, runtime=InferenceConfig().runtime)
    with watching_training(quiet=quiet) as watcher:
        predictions = scoring.evaluate(
            folder, placement, registry, part=split or "test", source=source, class_map=read_class_map(class_map),
            again=again, views=views, watcher=watcher,
        )  # fmt: skip
    return Evaluation(folder, predictions, scoring.summary_of(RunFolder(folder), predictions))
