"""Studies whose answer is known, on digits: no difference, the same network in another memory layout, a handicap.

usage: python benchmarks/study_checks.py FOLDER OUT.json [SEEDS]

Of the same network twice, trained from the same seeds, every difference must be exactly 0 where the arms differ in
nothing that counts, and undecided or equivalent where they begin with other weights. Arms that are handicapped must
come out as worse, in two studies of different seeds by about as much. And a study may take hardly longer than its
trainings. A study that is there already in FOLDER is not run again.
"""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from resnet_lab.network.plugins import default_registry
from resnet_lab.study import trials
from resnet_lab.study.design import study_from
from resnet_lab.study.results import findings
from resnet_lab.study.running import run_study
from resnet_lab.study.trials import StudyFolder
from resnet_lab.study.writing import as_json
from resnet_lab.train.progress import TrainingWatcher

STUDIES: dict[str, dict[str, Any]] = {
    "same": {
        "margin": 0.01,
        "arms": {
            "plain": {"train.channels_last": False},
            "saved-less-often": {"train.channels_last": False, "train.save_minutes": 20.0},
            "other-layout": {"train.channels_last": True},
        },
    },
    "same-but-for-chance": {
        "margin": 0.01,
        "vary": ["split", "order"],
        "arms": {
            "plain": {"train.init_seed": 1000},
            "other-weights": {"train.init_seed": 2000},
        },
    },
    "handicapped": {
        "seeds": 6,
        "arms": {
            "plain": {},
            "hundredth-of-the-rate": {"train.lr": 1e-4},
            "random-stages": {"train.freeze": ["stem", "layer1", "layer2"]},
        },
    },
    "handicapped-again": {
        "seeds": 6,
        "first_seed": 100,
        "arms": {
            "plain": {},
            "hundredth-of-the-rate": {"train.lr": 1e-4},
            "random-stages": {"train.freeze": ["stem", "layer1", "layer2"]},
        },
    },
}


class Quiet:
    """A line for each trial."""

    def say(self, text: str) -> None:
        print(text, flush=True)

    def show(self, states: Mapping[str, str], outcomes: Any) -> None:
        print(f"{len(outcomes)} of {len(states)}", flush=True)

    def training(self, trial: trials.Trial) -> TrainingWatcher:
        return TrainingWatcher()


def main(folder: str, out: str, seeds: int = 10) -> None:
    """Run all of them, and write what they found with the time that they and their trainings took."""
    inside = 0.0
    bare = trials.train

    def timed(*arguments: Any, **options: Any) -> None:
        nonlocal inside
        start = time.perf_counter()
        bare(*arguments, **options)
        inside += time.perf_counter() - start

    trials.train = timed
    found: dict[str, Any] = {"threads": torch.get_num_threads(), "torch": torch.__version__}
    registry = default_registry()
    for name, plan in STUDIES.items():
        inside, start = 0.0, time.perf_counter()
        design = study_from({"study": {"name": name, "recipe": "digits-quick", "seeds": seeds, **plan}}, name)
        kept = StudyFolder(Path(folder) / name)
        kept.note(design)
        done = run_study(design, kept, registry, Quiet())
        ran = time.perf_counter() - start
        content = as_json(findings(done, kept, registry))
        content |= {
            "seconds": ran,
            "seconds_in_trainings": inside,
            "seconds_of_findings": time.perf_counter() - start - ran,
        }
        found[name] = content
        for arm in content["arms"][1:]:
            print(arm["in_words"], arm["differences"], flush=True)
        print(f"{name}: {ran:.1f} s, of which {inside:.1f} s in trainings", flush=True)
    Path(out).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 10)
