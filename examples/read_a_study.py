"""Read a study's results with pandas: paired differences by hand, and the verdicts of the program beside them.

usage: python read_a_study.py TABLES, the folder that `resnet-lab study report STUDY --csv TABLES` wrote
"""

import sys
from pathlib import Path

import pandas

tables = Path(sys.argv[1])
trials = pandas.read_csv(tables / "trials.csv")
effects = pandas.read_csv(tables / "effects.csv")

scores = trials.pivot(index="seed", columns="arm", values="macro_accuracy")  # one row per seed, one column per arm
baseline = trials["arm"].iloc[0]
differences = scores.drop(columns=baseline).sub(scores[baseline], axis=0)
print(differences.agg(["mean", "std", "count"]).T.round(4).to_string())

arms = effects[effects["kind"] == "arm"]
for row in arms.itertuples():
    print(f"{row.name}: {row.difference:+.4f} [{row.low:+.4f}, {row.high:+.4f}], {row.n} seeds: {row.verdict}")
