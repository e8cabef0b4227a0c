"""Training in a run folder: trains, saves, and resumes from saved states."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from resnet_lab.core.allocator import give_back_freed_memory
from resnet_lab.core.errors import ResNetLabError, RunError
from resnet_lab.core.files import write_atomically
from resnet_lab.core.history import Epoch, best_of, metrics_table, times_table
from resnet_lab.core.run_folder import Run
from resnet_lab.core.size_schedule import SizeSchedule
from resnet_lab.data.image_columns import hexadecimal
from resnet_lab.data.loader import Loader
from resnet_lab.data.split import Part
from resnet_lab.device import optimize_for_inference, out_of_memory
from resnet_lab.device.processes import Agreement, Processes
from resnet_lab.evaluation.inference import logits
from resnet_lab.evaluation.metrics import Scores, score
from resnet_lab.evaluation.predictions import Predictions, weights_digest
from resnet_lab.evaluation.scoring import origin_of
from resnet_lab.network import checkpoint
from resnet_lab.network.plugins import Registry
from resnet_lab.train.curves import draw_curves
from resnet_lab.train.deciding import compiled_step
from resnet_lab.train.determinism import deterministic
from resnet_lab.train.distributed import spread
from resnet_lab.train.freezing import PartlyFrozen
from resnet_lab.train.frozen_cache import cache_features
from resnet_lab.train.interruption import Interrupted, Interruption
from resnet_lab.train.last_epochs import last_epochs, may_be_last, outputs_on_images
from resnet_lab.train.learner import Learner
from resnet_lab.train.loop import epochs, require_finite, require_finite_outputs
from resnet_lab.train.optimisation import make_loss
from resnet_lab.train.preparation import Ready
from resnet_lab.train.progress import TrainingWatcher
from resnet_lab.train.state import Progress, read_state, write_state
from resnet_lab.train.tally import DivergedError, Tally
from resnet_lab.train.tracking import UNTRACKED, Track, Tracking

SAVE = 1
"""Sent by rank 0 when it is time to save; every signal's number is greater."""


@dataclass(frozen=True)
class TrainResult:
    """Result of a training.

    Attributes:
        signal: SIGINT or SIGTERM that came after the last step, when nothing was left to stop.
    """

    run: Path
    best_epoch: int
    test: Scores
    signal: int | None = None


class Trainer:
    """A training of which every process has one, and the first alone writes.

    Args:
        run: its folder, with run.json and splits.csv.
        record: the content of run.json.
        draws: whether curves.png is drawn.
        track: what rank 0 tells trackers of.
    """

    def __init__(
        self,
        run: Run,
        record: dict[str, Any],
        ready: Ready,
        registry: Registry,
        watcher: TrainingWatcher,
        processes: Processes,
        *,
        draws: bool = True,
        track: Track = UNTRACKED,
    ) -> None:
        self.draws = draws
        self.run, self.record, self.ready = run, record, ready
        self.placement, self.registry, self.watcher, self.processes = ready.placement, registry, watcher, processes
        self.config = config = ready.config
        self.sizes = SizeSchedule.of(config.progressive_size, ready.metadata.spec.input_size, config.epochs)
        self.batch_size = ready.batches["train"].order.batch_size
        self.progress = Progress(Tally(len(ready.metadata.classes), self.placement.device))
        self.saved_at = ""
        self.curves_due = monotonic()
        self.curves_of = 0
        trackers = track.made(registry) if processes.is_first else {}
        self.tracking = Tracking(run, record, track.study, trackers, watcher)
        self._schedule_save()

    def carry_out(self) -> TrainResult:
        """Train, test the best epoch once, and record it in run.json.

        Raises:
            RunError: another process trains in the folder, or a file cannot be written.
            DivergedError: a loss or an output is non-finite.
            Interrupted: a signal came; the state is saved.
        """
        give_back_freed_memory(even_if_kept=True)  # that preparing many images took; steps take other pieces
        with self.run.locked() if self.processes.is_first else nullcontext(), self.tracking:
            try:
                with deterministic(self.config.deterministic), Interruption() as interruption:
                    for epoch in self._epochs(interruption):
                        self._keep(epoch)
                    self._draw_curves()
                    self._write_weights(self.run.last)
                    test = self._test()
            except DivergedError as error:
                self._draw_curves()
                kept = f"; the state before it, of {self.saved_at}, is kept in {self.run.state}"
                diverged = DivergedError(f"{error}{kept if self.saved_at else ''}")
                self._record_status(str(diverged))
                raise diverged from None
            except Interrupted as error:
                self._draw_curves()
                self._record_status(str(error))
                self.processes.from_first(lambda: None)  # or one that ends early has the others killed
                raise
            except ResNetLabError as error:
                self._record_status(str(error))
                raise
            except (RuntimeError, MemoryError) as error:
                message = out_of_memory(error, self.placement.device, self.batch_size, self.config.accumulate)
                if message is None:
                    raise
                self._record_status(str(message))
                raise message from error
            history = self.progress.history
            best = best_of(history).epoch
            seconds = sum(epoch.seconds for epoch in history)
            self._record_status("finished", best_epoch=best, seconds=seconds, test=test.headline())
            self.tracking.finish(best, test.headline())
            if self.processes.is_first:
                self.run.state.unlink(missing_ok=True)
            return TrainResult(self.run.folder, best, test, interruption.number)

    def _epochs(self, interruption: Interruption) -> Iterator[Epoch]:
        """Train from where the run is; the state is saved when it is time, and before a signal ends the training."""
        network = self.placement.place(self.ready.network)
        batches = self._batches(network, interruption)
        train, val = batches["train"], batches["val"]
        called = self._called(network, train)
        loss = make_loss(self.config, train.images.labels, train.images.num_classes, self.placement.device)
        self.learner = Learner(network, called, loss, self.config, self.placement, self.processes)
        if self.run.state.exists():
            read_state(self.run.state, self.progress, self.learner, len(train))
            self._require_all_epochs()
            self.saved_at = str(self.progress)
            self.watcher.say(f"resuming at {self.progress}")
        if self.progress.history:
            self._publish()
        self.tracking.start(self.progress.history)
        agree = Agreement(self.processes)

        def after_step() -> None:
            self._report_step()
            time_to_save = monotonic() > self.save_next
            if time_to_save:
                self._schedule_save()
            agreed = agree(interruption.number or (SAVE if time_to_save else 0))
            if agreed:
                self._save()
            if agreed > SAVE:
                raise Interrupted(agreed)

        self.watcher.begin("training", self.config.epochs * len(train), self.progress.steps(len(train)))
        yield from epochs(self.learner, train, val, self.config, self.placement, self.progress, after_step)

    def _require_all_epochs(self) -> None:
        """Raise `RunError` where metrics.csv, which is written after the state, has epochs that the state lacks."""
        there = len(self.run.epochs()) if self.run.metrics.exists() else 0
        if there > len(self.progress.history):
            raise RunError(
                f"{self.run.state} is of {self.progress}, and {self.run.metrics.name} has {there} epochs, so that one "
                "of them is of another training; restore the run folder"
            )

    def _called(self, network: nn.Module, train: Loader) -> nn.Module:
        """The network as a step calls it: distributed, compiled, or itself; the same when a run resumes."""
        _, x, _ = next(train.training(self.config.epochs))  # at the whole size
        whole = spread(network, self.processes, x.shape[1:], sync_batch_norm=self.config.sync_batch_norm)
        placement, device = self.placement, self.record["device"]
        if placement.compile == "auto" and "compiled" in device:
            placement = replace(placement, compile="on" if device["compiled"] else "off")
        spec, steps = self.ready.metadata.spec, self.config.epochs * len(train)
        called = compiled_step(whole, x, spec, self.config, placement, steps, self.watcher)
        device["compiled"] = called is not whole
        self._record_status("running")
        return called

    def _batches(self, network: nn.Module, interruption: Interruption) -> dict[Part, Loader]:
        """Batches of images, or of the outputs of frozen parts."""
        ready = self.ready
        if not isinstance(network, PartlyFrozen):
            return ready.batches
        return cache_features(
            network,
            ready.batches,
            ready.data,
            ready.metadata,
            requested=self.config.cache_frozen,
            epochs=self.config.epochs,
            watcher=self.watcher,
            after_step=interruption.check,
        )

    def _report_step(self) -> None:
        """Report a step; on a GPU the figures so far are those of the last look at the losses."""
        progress, train = self.progress, self.ready.batches["train"]
        rate = progress.step / len(train) * len(train.images) / progress.seconds
        self.watcher.advance()
        self.watcher.step(progress.epoch, self.config.epochs, progress.tally.latest, rate)

    def _record_status(self, status: str, **outcome: Any) -> None:
        if self.processes.is_first:
            self.run.write({**self.record, "status": status, **outcome})

    def _keep(self, epoch: Epoch) -> None:
        """Write what an epoch came to; the best weights take their place once the state that names them is whole."""
        best = best_of(self.progress.history)
        if best is epoch:
            self._write_weights(self.run.best_of_epoch(epoch.epoch))
        if may_be_last(self.progress.history, self.config):
            self._keep_predictions(epoch.epoch)
        self._save()
        self._publish()
        self.tracking.epoch()
        self.watcher.epoch(epoch, best)

    def _save(self) -> None:
        """Nothing that has diverged is saved over what has not."""
        require_finite(self.progress, self.config, len(self.ready.batches["train"]), self.processes)
        write_state(self.run.state, self.progress, self.learner)
        self.saved_at = str(self.progress)
        self._schedule_save()

    def _schedule_save(self) -> None:
        self.save_next = monotonic() + 60 * self.config.save_minutes

    def _write_weights(self, path: Path) -> None:
        if self.processes.is_first:
            checkpoint.write(path, self.learner.scored, self.ready.metadata)

    def _publish(self) -> None:
        """Update the human-readable files to the state."""
        if not self.processes.is_first:
            return
        history = self.progress.history
        best = best_of(history).epoch
        self.run.settle_best(best)
        self.run.settle_predictions(last_epochs(history, self.config))
        write_atomically(self.run.metrics, metrics_table(history).encode())
        write_atomically(self.run.times, times_table(history).encode())
        if monotonic() > self.curves_due:
            self._draw_curves()

    def _keep_predictions(self, epoch: int) -> None:
        """Keep predictions on the test part by the weights after an epoch, before the state says that it is over."""
        batches, scored = self.ready.batches["test"], self.learner.scored
        outputs = outputs_on_images(scored, batches, self.placement)
        outputs = self.processes.gather_in_order(outputs, len(batches.images))
        require_finite_outputs(outputs, "test", epoch, self.config, len(self.ready.batches["train"]))
        if self.processes.is_first:
            weights = checkpoint.digest_of(scored, self.ready.metadata)
            predictions = self._predictions(batches, outputs.softmax(1).numpy(), weights, epoch)
            predictions.write(self.run.predictions_of_epoch(epoch))

    def _draw_curves(self) -> None:
        """Draw all epochs that are over, and let the next drawing wait until this one is a twentieth of the time."""
        history = self.progress.history
        if not (self.draws and self.processes.is_first) or len(history) == self.curves_of:
            return
        start = monotonic()
        title = f"{self.ready.metadata.spec.name} on {Path(self.ready.data.images.name).name}"
        write_atomically(self.run.curves, draw_curves(history, title, best_of(history).epoch, self.sizes.changes))
        self.curves_of = len(history)
        self.curves_due = monotonic() + 20 * (monotonic() - start)

    def _test(self) -> Scores:
        """Test the best epoch's weights, which every process reads once rank 0 has written them.

        The first keeps the predictions, as `evaluation.scoring.evaluate` does.
        """
        self.processes.from_first(lambda: None)
        batches = self.ready.batches["test"]
        model = optimize_for_inference(
            checkpoint.load(self.run.best, self.registry), self.placement, len(batches.order.share)
        )
        outputs = logits(model, batches.evaluation(), self.placement)
        outputs = self.processes.gather_in_order(outputs, len(batches.images))
        best = best_of(self.progress.history).epoch
        require_finite_outputs(outputs, "test", best, self.config, len(self.ready.batches["train"]))
        if self.processes.is_first:
            weights = weights_digest(self.run.best)
            predictions = self._predictions(batches, outputs.softmax(1).numpy(), weights, best)
            predictions.write(self.run.predictions("test"))
        return score(batches.images.labels, outputs.argmax(1).numpy(), self.ready.metadata.classes)

    def _predictions(
        self, batches: Loader, probabilities: NDArray[np.float32], weights: str, epoch: int
    ) -> Predictions:
        data = self.ready.data
        positions = batches.images.positions
        return Predictions(
            classes=self.ready.metadata.classes,
            paths=tuple(data.images.paths[position] for position in positions.tolist()),
            digests=tuple(hexadecimal(data.examined.digests[positions])),
            labels=batches.images.labels,
            probabilities=probabilities,
            origin=origin_of(weights, data.images.name, "test", self.placement, epoch),
        )
