import json

import numpy as np

from resnet_lab.evaluation.metrics import summarise
from resnet_lab.evaluation.metrics.headline import headline
from tests.evaluation.metrics.drawn import predictions


def test_every_number_is_json() -> None:
    labels, probabilities = predictions(np.random.default_rng(0), 60, 6)
    summary = summarise(labels, probabilities, tuple("abcdef"), (5, 9, 3, 20, 8, 7))
    written = json.loads(json.dumps(summary.as_json(), allow_nan=False))
    assert written["headline"] == {**headline(labels, probabilities), "n": 60}
    assert set(written["intervals"]) - {"level", "resamples", "methods"} == set(written["headline"]) - {"n"}
    assert set(written["intervals"]["methods"]) == set(written["headline"]) - {"n"}
    assert np.sum(written["confusion"]["counts"]) == sum(row["support"] for row in written["classes"]) == 60
    assert [row["rank"] for row in written["ranks"]] == [1, 2, 3, 4, 5, 6]
    assert written["abundance"]["train_images"] == [5, 9, 3, 20, 8, 7]
    assert sum(each["n"] for each in written["calibration"]["bins"]) == 60


def test_without_a_training_part_there_is_no_remark() -> None:
    labels, probabilities = predictions(np.random.default_rng(0), 20, 3)
    assert summarise(labels, probabilities, ("a", "b", "c")).abundance is None
