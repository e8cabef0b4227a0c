"""Studies of two arms that differ in nothing but the order of their images, trained on digits: any verdict is false.

usage: python benchmarks/equal_arms.py OUT.json [STUDIES] [PROCESSES]

Each study has seeds of its own: 6, whose initial weights and folds are those of both arms, with 2 epochs of the recipe
digits-quick. An arm keeps its order of images over all seeds. Studies declare one endpoint or the other in turns.
"""

import json
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from study_checks import Quiet

from resnet_lab.bench.results import machine
from resnet_lab.device import choose
from resnet_lab.network.plugins import default_registry
from resnet_lab.study.design import study_from
from resnet_lab.study.results import findings
from resnet_lab.study.running import run_study
from resnet_lab.study.trials import StudyFolder

SEEDS = 6
ENDPOINTS: tuple[dict[str, Any], ...] = (
    {"metric": "macro_accuracy", "epochs_scored": "best"},
    {"metric": "log_loss", "epochs_scored": 2},
)


def measure(number: int) -> dict[str, Any]:
    """Train a study, and what it found."""
    torch.set_num_threads(1)
    endpoint = ENDPOINTS[number % len(ENDPOINTS)]
    plan = {
        "name": f"equal arms {number}", "recipe": "digits-quick", "seeds": SEEDS, "first_seed": 1000 * number,
        "vary": ["init", "split"], **endpoint,
        "arms": {name: {"train.order_seed": 10 * number + order} for order, name in enumerate(("one", "other"))},
    }  # fmt: skip
    registry = default_registry()
    with tempfile.TemporaryDirectory() as folder:
        design = study_from({"study": plan, "train": {"epochs": 2, "compile": "off"}}, "equal arms")
        kept = StudyFolder(Path(folder) / "study")
        kept.note(design)
        found = findings(run_study(design, kept, registry, Quiet()), kept, registry)
    [effect] = found.families[0]
    return {
        **endpoint, "verdict": effect.verdict, "differences": list(effect.differences), "p": effect.p_t,
        "interval": effect.interval,
    }  # fmt: skip


def main(out: str, studies: str = "20", processes: str = "2") -> None:
    """Run all of them, and write after each what was found."""
    about = machine(torch.device("cpu"), choose("cpu").name)
    content: dict[str, Any] = {"machine": about, "seeds": SEEDS, "studies": []}
    with ProcessPoolExecutor(int(processes), mp_context=get_context("spawn")) as pool:
        for found in pool.map(measure, range(1, int(studies) + 1)):
            content["studies"].append(found)
            Path(out).write_text(json.dumps(content, indent=1))
            print(found["metric"], found["verdict"], f"p {found['p']:.3f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
