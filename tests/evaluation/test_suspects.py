"""Ranked label errors, against formulas and cases by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resnet_lab.core.errors import ConfigError, DataError, RunError
from resnet_lab.evaluation import suspects
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.evaluation.suspects import (
    FOLDER,
    TABLE,
    LabelQuality,
    as_csv,
    flagged_of,
    mean_of,
    rank_suspects,
    read_suspects,
)
from tests.report.made_up_runs import predictions

CLASSES = ("cat", "dog", "owl")


def scored(paths: str, labels: list[int], probabilities: list[list[float]]) -> Predictions:
    made = predictions(CLASSES, len(paths))
    return replace(
        made,
        paths=tuple(paths),
        digests=tuple(f"{ord(letter):064x}" for letter in paths),
        labels=np.array(labels),
        probabilities=np.array(probabilities, dtype=np.float32),
    )


def planted(n: int = 300, seed: int = 0) -> tuple[Predictions, set[str]]:
    """Predictions that are sure of the truth, with the labels of every tenth image moved on by one."""
    truth = np.arange(n) % 3
    draw = np.random.default_rng(seed).dirichlet(np.ones(3), n)
    shares = 0.85 * np.eye(3)[truth] + 0.15 * draw
    labels = np.where(np.arange(n) % 10 == 0, (truth + 1) % 3, truth)
    paths = tuple(f"{number:03d}.jpg" for number in range(n))
    made = replace(
        predictions(CLASSES, n), paths=paths, labels=labels, probabilities=shares.astype(np.float32)
    )  # fmt: skip
    return made, {path for path, one, other in zip(paths, truth, labels, strict=True) if one != other}


def test_means_are_over_the_trainings_that_held_an_image_out() -> None:
    first = scored("ba", [0, 1], [[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]])
    second = scored("bc", [0, 2], [[0.25, 0.25, 0.5], [0.25, 0.5, 0.25]])
    found = mean_of([first, second])
    assert (found.paths, found.labels.tolist(), found.counts.tolist()) == (("a", "b", "c"), [1, 0, 2], [1, 2, 1])
    assert found.probabilities.tolist() == [[0, 1, 0], [0.375, 0.25, 0.375], [0.25, 0.5, 0.25]]
    assert found.digests == tuple(f"{ord(letter):064x}" for letter in "abc")
    assert found.trainings == 2


def test_other_labels_of_an_image_are_refused() -> None:
    first, second = scored("a", [0], [[1, 0, 0]]), scored("a", [1], [[1, 0, 0]])
    message = "/data/animals: a has another content or label in one training than in another; train all on the same"
    with pytest.raises(DataError, match=message):
        mean_of([first, second])
    with pytest.raises(DataError, match=r"predictions are of the classes .*cat.* and of .*ape.*; they must be of the"):
        mean_of([first, replace(first, classes=("ape", "dog", "owl"))])


@pytest.mark.parametrize("quality", ["self_confidence", "normalized_margin"])
def test_scores_are_those_of_the_formulas(quality: LabelQuality) -> None:
    made, _ = planted()
    held_out = mean_of([made])
    shares, labels = held_out.probabilities, held_out.labels
    own = shares[np.arange(len(labels)), labels]
    others = np.where(np.eye(3)[labels] == 1, -1, shares).max(1)
    expected = own if quality == "self_confidence" else (own - others + 1) / 2
    ranked = rank_suspects(held_out, quality)
    order = np.argsort(expected, kind="stable")
    assert [each.path for each in ranked] == [held_out.paths[at] for at in order]
    assert [each.score for each in ranked] == pytest.approx(expected[order].tolist(), abs=1e-6)
    assert [each.rank for each in ranked] == list(range(1, len(labels) + 1))
    assert [each.p_label for each in ranked] == pytest.approx(own[order].tolist(), abs=1e-12)


def test_errors_that_a_sure_network_shows_are_first_and_flagged() -> None:
    made, wrong = planted()
    ranked = rank_suspects(mean_of([made]))
    assert {each.path for each in ranked[: len(wrong)]} == wrong
    assert {each.path for each in ranked if each.flagged} == wrong
    assert {(each.label, each.suggested) for each in ranked if each.flagged} == {
        ("dog", "cat"), ("owl", "dog"), ("cat", "owl"),
    }  # fmt: skip


def test_a_class_without_images_is_no_obstacle() -> None:
    made, _ = planted()
    kept = np.flatnonzero(made.labels != 2)
    some = replace(
        made,
        paths=tuple(made.paths[at] for at in kept),
        digests=tuple(made.digests[at] for at in kept),
        labels=made.labels[kept],
        probabilities=made.probabilities[kept],
    )
    assert len(rank_suspects(mean_of([some]))) == len(kept)


def test_the_list_is_read_as_it_was_written(tmp_path: Path) -> None:
    made, _ = planted(30)
    ranked = rank_suspects(mean_of([replace(made, paths=('a,\n"b".jpg', "\udcff.jpg", *made.paths[2:]))]))
    path = tmp_path / TABLE
    path.write_bytes(as_csv(ranked))
    found = read_suspects(path)
    assert [each.path for each in found] == [each.path for each in ranked]
    for one, other in zip(found, ranked, strict=True):
        exact = {"p_label", "p_suggested", "score"}
        assert one.model_dump(exclude=exact) == other.model_dump(exclude=exact)
        assert one.score == pytest.approx(other.score, rel=1e-6)


def test_a_damaged_list_is_refused(tmp_path: Path) -> None:
    made, _ = planted(30)
    path = tmp_path / TABLE
    content = as_csv(rank_suspects(mean_of([made]))).decode().splitlines()
    path.write_text("\n".join([content[0], content[1].replace(content[1].split(",")[0], "first", 1)]))
    message = r"suspects.csv: line 2: damaged: rank: input should be a valid integer.*, got 'first'; restore the file"
    with pytest.raises(RunError, match=message):
        read_suspects(path)


def test_flags_are_of_the_same_content_and_label(tmp_path: Path) -> None:
    made, wrong = planted()
    assert flagged_of(tmp_path, made) == {}
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / TABLE).write_bytes(as_csv(rank_suspects(mean_of([made]))))
    found = flagged_of(tmp_path, made)
    assert {made.paths[number] for number in found} == wrong
    assert all(each.path == made.paths[number] for number, each in found.items())
    assert flagged_of(tmp_path, replace(made, digests=tuple("f" * 64 for _ in made.paths))) == {}
    assert flagged_of(tmp_path, replace(made, labels=(made.labels + 1) % 3)) == {}


def test_without_cleanlab_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspects, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'suspects are ranked by the package cleanlab: pip install "resnet-lab\[cl'):
        rank_suspects(mean_of([planted()[0]]))
