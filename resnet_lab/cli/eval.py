"""`resnet-lab eval`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnet_lab.cli import options, output, scoring_options
from resnet_lab.cli.bundles import command
from resnet_lab.cli.root import app
from resnet_lab.core.errors import ConfigError

if TYPE_CHECKING:
    from resnet_lab.evaluation.metrics import Summary
    from resnet_lab.evaluation.predictions import Predictions


@command(app, "eval", epilog="Example: `resnet-lab eval runs/20260101-120000-resnet20 --split val`")
def evaluate(
    *,
    run: Annotated[Path | None, typer.Argument(metavar="[RUN]", help="A run folder.", show_default=False)] = None,
    split: scoring_options.SplitOfRun = None,
    images: scoring_options.OtherImages,
    scoring: scoring_options.Scoring,
    weights: options.PublicWeights = None,
    adopting: options.Adopting,
    tables: scoring_options.ImageTables,
    placed: options.Placement,
    inference: options.Inference,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Score a run's best weights, with intervals; predictions are stored in the run folder and reused.

    With --weights, score pretrained weights with their own preprocessing on all images of --data.
    """
    from resnet_lab.cli.progress import Screen
    from resnet_lab.core.files import refuse_existing
    from resnet_lab.core.run_folder import Run
    from resnet_lab.data.class_names import read_class_map
    from resnet_lab.evaluation.scoring import evaluate as evaluate_run
    from resnet_lab.evaluation.scoring import kept_at, summary_of
    from resnet_lab.evaluation.views import parse_views

    of_run = {
        "--split": split,
        "--class-map": images.class_map,
        "--again": scoring.again,
        "--features-out": tables.features_out,
    }
    of_weights = {
        **dict.fromkeys(adopting.naming, True), "--classes": adopting.classes, "--preprocess": adopting.preprocess,
    }  # fmt: skip
    _refuse_mixtures(run, weights, images.source, of_run, of_weights)
    if run is not None:
        images.refuse_part(split)
    views, registry = parse_views(scoring.tta), options.load_registry(no_plugin)
    if tables.csv is not None:
        refuse_existing(tables.csv)
    placement, renamed = options.inference_placement(placed, inference), read_class_map(images.class_map or ())
    if weights is not None:
        from resnet_lab.evaluation.metrics import summarise
        from resnet_lab.evaluation.scoring import evaluate_weights

        adopted = adopting.adopt(weights, registry)
        with Screen() as screen:
            screen.weights(adopted.coverage)
            predictions = evaluate_weights(
                adopted, str(images.source), placement, registry, views=views, watcher=screen
            )
        summary = summarise(predictions.labels, predictions.probabilities, predictions.classes)
        _show(
            predictions,
            summary,
            tables.csv,
            {"weights": adopted.coverage.model_dump(mode="json")} if json else None,
            weights,
        )
        return
    assert run is not None
    with Screen() as screen:
        predictions = evaluate_run(
            run, placement, registry, part=split or "test", source=images.source, class_map=renamed,
            again=scoring.again, views=views, features_out=tables.features_out, watcher=screen,
        )  # fmt: skip
    opened = Run(run)
    summary = summary_of(opened, predictions)
    origin = predictions.origin
    about: dict[str, Any] = {"run": str(run), "best_epoch": origin.epoch}
    kept = {"gone": origin.gone, "absent": list(origin.absent), "predictions": str(kept_at(opened, origin))}
    kept |= {} if tables.features_out is None else {"features": str(tables.features_out)}
    title = images.source or f"{origin.part} part, weights of epoch {origin.epoch}"
    _show(predictions, summary, tables.csv, about if json else None, title, kept)
    if tables.features_out is not None and not json:
        output.line(f"embeddings: {len(predictions)} rows in {tables.features_out}")


def _refuse_mixtures(
    run: Path | None,
    weights: str | None,
    data: str | None,
    of_run: Mapping[str, object],
    of_weights: Mapping[str, object],
) -> None:
    if (run is None) == (weights is None):
        what = "nothing names what to score" if run is None else "RUN and --weights each name what to score"
        raise ConfigError(f"{what}; give a run folder, or --weights with --data")
    if weights is not None and data is None:
        raise ConfigError("--weights alone names no images; give them with --data")
    for name in (name for name, value in (of_weights if run is not None else of_run).items() if value):
        if run is not None:
            raise ConfigError(f"{name} is of --weights, and a run knows its own; leave it out")
        remedy = "give the names of the classes by --classes" if name == "--class-map" else "leave it out"
        raise ConfigError(f"{name} is of a run, and --weights are scored on all images of --data; {remedy}")


def _show(
    predictions: "Predictions",
    summary: "Summary",
    csv: Path | None,
    about: dict[str, Any] | None,
    title: str,
    kept: dict[str, Any] | None = None,
) -> None:
    """Write the CSV, and print JSON that begins with `about` and ends with `kept`, or else tables."""
    if csv is not None:
        from resnet_lab.core.files import write_new

        write_new(csv, predictions.as_csv().encode("utf-8", "surrogateescape"))
    if about is not None:
        part, values = predictions.origin.part, summary.as_json()
        tta = list(predictions.origin.views)
        runtime = predictions.origin.device.get("runtime", "torch")  # the only one of earlier versions
        headline = values.pop("headline")
        output.print_json(
            {**about, "split": part, part: headline, **values, "runtime": runtime, "tta": tta, **(kept or {})}
        )
        return
    from resnet_lab.cli.scores import print_summary
    from resnet_lab.evaluation.views import Views

    views = Views(predictions.origin.views)
    print_summary(summary, f"{title}, {views}" if views.names else title)
