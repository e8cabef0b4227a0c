"""Trainings in processes of their own, to be killed.

usage: python -m tests.train.killed FOLDER [TRAININGS]
"""

import json
import multiprocessing
import random
import sys
from hashlib import sha256
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import perf_counter

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["resnet_lab.train.training", "resnet_lab.study.running", "torch._dynamo", "matplotlib.backends.backend_agg"]
)  # what a training and a study import in the end, once for all processes
SAVED = ("best.safetensors", "last.safetensors", "metrics.csv")
"""Files that must be bitwise the same."""


def attempt(folder: Path) -> None:
    """Begin a small training in `folder`, or resume it; states are saved all the time."""
    import torch

    from resnet_lab.network import zoo
    from resnet_lab.train.config import TrainConfig
    from resnet_lab.train.training import resume, train

    torch.set_num_threads(1)
    if folder.exists():
        resume(folder)
        return
    spec = zoo.get("resnet20").modified(input_size=8, in_channels=1, dropout=0.1)
    config = TrainConfig(
        epochs=3, batch_size=256, lr=1e-2, ema=0.9, augment=("flip", "mixup"), device="cpu", precision="fp32",
        compile="off", save_minutes=1e-6, keep_predictions=2,
    )  # fmt: skip
    train(spec, "digits", config, folder=folder)


def undisturbed(folder: Path) -> tuple[dict[str, str], float]:
    """Digests of what an undisturbed training leaves, and the seconds that it takes."""
    expected, _ = whole(folder / "first")  # with the imports, which later ones find done
    repeats = [whole(folder / f"again{number}") for number in range(2)]
    assert all(again == expected for again, _ in repeats)
    return expected, min(seconds for _, seconds in repeats)  # by a slow one, kills would come when all is over


def come_to_the_same(folder: Path, seeds: range, expected: dict[str, str], seconds: float) -> int:
    """Assert it of a killed training of each seed, and count the kills."""
    kills = 0
    for seed in seeds:
        run = folder / f"run{seed}"
        kills += killed(run, seconds, seed)
        assert digests(run) == expected, seed
        assert json.loads((run / "run.json").read_text())["status"] == "finished"
        assert not list(run.glob("state*"))
    return kills


def whole(folder: Path) -> tuple[dict[str, str], float]:
    """Digests of what an undisturbed training leaves, and the seconds it took."""
    start = perf_counter()
    process = _started(folder)
    process.join()
    assert process.exitcode == 0
    return digests(folder), perf_counter() - start


def killed(folder: Path, seconds: float, seed: int) -> int:
    """Train with a SIGKILL at random moments within `seconds` of each start, until it is done; how often it was killed.

    The third start is left alone for ever longer, so that an end comes.
    """
    draw = random.Random(seed)
    for kills in range(100):
        process = _started(folder)
        process.join(draw.uniform(0, seconds) * max(1.0, kills / 2))
        if process.exitcode is not None:
            assert process.exitcode == 0
            return kills
        process.kill()
        process.join()
        if _is_finished(folder):  # and killed on its way out
            return kills + 1
    raise AssertionError(f"{folder} was never done")


def _is_finished(folder: Path) -> bool:
    record = folder / "run.json"
    return record.exists() and json.loads(record.read_text())["status"] == "finished"


def digests(folder: Path) -> dict[str, str]:
    from resnet_lab.evaluation.predictions import Predictions

    found = {name: sha256((folder / name).read_bytes()).hexdigest() for name in SAVED}
    for path in folder.glob("predictions/test-epoch*"):  # whose origin has the date
        found[path.name] = sha256(Predictions.read(path).probabilities.tobytes()).hexdigest()
    return found


def _started(folder: Path) -> BaseProcess:
    process = CONTEXT.Process(target=attempt, args=(folder,))
    process.start()
    return process


def main(folder: str, trainings: int = 100) -> None:
    """Kill so many trainings, and say how many kills they outlived."""
    expected, seconds = undisturbed(Path(folder) / "undisturbed")
    kills = come_to_the_same(Path(folder), range(trainings), expected, seconds)
    assert kills >= trainings // 2, kills
    print(f"{trainings} trainings outlived {kills} kills with the bits of an undisturbed one")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100)
