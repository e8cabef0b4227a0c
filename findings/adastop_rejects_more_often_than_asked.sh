#!/usr/bin/env bash
# adastop 0.1.3 (Mathieu et al. 2023, arXiv:2306.10882): two agents with equal distributions are told apart in about 16%
# of comparisons where alpha = 0.05 is asked for, and in 11% at alpha = 0.025.
#
# In partial_compare the boundary is a quantile of the signed differences of permuted means (mean_diffs), and the test
# statistic the absolute value of the observed one, so that each tail is tested at alpha. Besides, with 4 seeds a look
# and B = 1000 later looks have no more permutations than the 70 of the first. No error and no warning. Seen, of 300
# comparisons of 5 looks at 4 seeds each: 48 told apart at 0.05, 33 at 0.025.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q adastop==0.1.3 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
from adastop import MultipleAgentsComparator


def told_apart(alpha, comparisons=300, looks=5, seeds=4):
    draw, count = np.random.default_rng(0), 0
    for comparison in range(comparisons):
        scores = draw.normal(size=(looks * seeds, 2))
        comparator = MultipleAgentsComparator(n=seeds, K=looks, B=1000, alpha=alpha, beta=0.0, seed=comparison)
        for look in range(1, looks + 1):
            comparator.partial_compare({str(arm): scores[: look * seeds, arm] for arm in range(2)}, verbose=False)
            if comparator.is_finished:
                break
        count += comparator.decisions["[0 1]"] in ("larger", "smaller")
    return count


at_5, at_half = told_apart(0.05), told_apart(0.025)
print(f"told apart, of 300 without a difference: {at_5} at alpha = 0.05, {at_half} at 0.025")
sys.exit((at_5, at_half) != (48, 33))
PYTHON
