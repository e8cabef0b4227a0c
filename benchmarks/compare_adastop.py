"""AdaStop on the scores of `simulate_looks.py pair`: verdicts found, false verdicts, and trainings.

usage: python benchmarks/compare_adastop.py OUT.json [STUDIES] [OF] [BLOCKS]

In an environment with numpy and adastop (Mathieu et al. 2023, arXiv:2306.10882): five looks after 4 seeds each, 20 at
most, at 5%, with early acceptance at beta = 0.05 and without, and 2,000 permutations. It compares arms as independent
samples. The first STUDIES of each case are those of `simulate_looks.py` with OF studies; with BLOCKS, every seed moves
the scores of both arms by noise of that standard deviation, which paired differences do not see.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from adastop import MultipleAgentsComparator

SIZES = (0.0, 0.5, 0.7, 1.0, 2.0)
SEEDS, LOOKS = 20, 5


def trained(scores: np.ndarray, beta: float, seed: int) -> tuple[str, int]:
    """Decision about two arms, and seeds trained; scores of shape (S, 2)."""
    n = SEEDS // LOOKS
    comparator = MultipleAgentsComparator(n=n, K=LOOKS, B=2000, alpha=0.05, beta=beta, seed=seed)
    for look in range(1, LOOKS + 1):
        values = {str(arm): scores[: look * n, arm] for arm in range(2)}
        comparator.partial_compare(values, verbose=False)
        if comparator.is_finished:
            break
    return comparator.decisions["[0 1]"], look * n


def main(out: str, studies: str = "1000", of: str = "4000", blocks: str = "0") -> None:
    """Measure every size, and write all."""
    found = []
    for number, size in enumerate(SIZES):
        draw, moves = np.random.default_rng([number, int(of)]), np.random.default_rng(number)
        results: dict[float, list[tuple[str, int]]] = {0.0: [], 0.05: []}
        for study in range(int(studies)):
            scores = draw.normal(0, np.sqrt(0.5), (SEEDS, 2)) + np.array([0.0, size])
            scores += moves.normal(0, float(blocks), (SEEDS, 1))
            for beta, each in results.items():
                each.append(trained(scores, beta, study))
        for beta, each in results.items():
            differ = float(np.mean([decision in ("larger", "smaller") for decision, _ in each]))
            trainings = float(np.mean([seeds for _, seeds in each])) / SEEDS
            found.append({"size": size, "beta": beta, "differs": differ, "trainings": trainings})
            print(found[-1], flush=True)
    content = {"adastop": version("adastop"), "studies": int(studies), "blocks": float(blocks), "cases": found}
    Path(out).write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
