"""The page as a parser reads it, against scikit-learn's figures of the same predictions."""

import re
from base64 import b64encode
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    recall_score,
)

from resnet_lab.evaluation.metrics import summarise
from resnet_lab.evaluation.metrics.confusion import Confusion
from resnet_lab.evaluation.picture_files import BUDGET
from resnet_lab.evaluation.run_summary import RunSummary
from resnet_lab.evaluation.suspects import Suspect
from resnet_lab.report.run_page import run_page
from resnet_lab.report.run_words import remarks, sentence
from tests.report.made_up_runs import ANIMALS, embedding_map, gallery, history, made_up_run, predictions
from tests.report.parsing import Page, require_readable_aloud, require_self_contained

EVIL = '<script>alert("1")</script>'
MADE = made_up_run()
FULL = run_page(MADE, gallery(MADE))


def test_one_file_that_fetches_nothing_and_runs_its_own_script_alone() -> None:
    require_self_contained(FULL)
    (script,) = re.findall(r"<script>(.*?)</script>", FULL, re.DOTALL)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    (policy,) = [meta["content"] for meta in Page(FULL).all("meta") if "http-equiv" in meta]
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_it_can_be_read_by_a_screen_reader() -> None:
    require_readable_aloud(FULL)


def row_of(html: str, name: str) -> list[str]:
    (found,) = [row for row in Page(html).rows() if " ".join(row).startswith(f"{name} ")]
    return found[len(name.split()) :]


def test_headline_figures_are_scikit_learn_s() -> None:
    scored = MADE.predictions
    assert scored is not None
    labels, named = scored.labels, scored.probabilities.argmax(1)
    every = np.arange(len(ANIMALS))
    present = np.unique(labels)
    figures = {
        "accuracy share": accuracy_score(labels, named),
        "macro accuracy": recall_score(labels, named, labels=present, average="macro"),
    }
    for mean in ("macro", "weighted"):
        of_mean = precision_recall_fscore_support(labels, named, labels=every, average=mean, zero_division=0)
        for name, value in zip(("precision", "recall", "F1"), of_mean, strict=False):
            figures[f"{mean} {name}"] = value
    figures["log loss (nats)"] = log_loss(labels, scored.probabilities, labels=every)
    rows = [" ".join(row) for row in Page(FULL).rows()]
    for name, value in figures.items():
        found = [row for row in rows if row.startswith(f"{name}") and " to " in row]
        assert len(found) == 1, name
        assert f" {value:.3f} " in found[0], name


def test_each_class_has_scikit_learn_s_figures() -> None:
    scored = MADE.predictions
    assert scored is not None
    named = scored.probabilities.argmax(1)
    table = precision_recall_fscore_support(scored.labels, named, labels=np.arange(len(ANIMALS)), zero_division=0)
    matrix = confusion_matrix(scored.labels, named, labels=np.arange(len(ANIMALS)))
    rows = Page(FULL).rows()
    for k, (precision, recall, f1, support) in enumerate(zip(*table, strict=True)):
        start = [ANIMALS[k], f"{recall:.3f}", f"{precision:.3f}", f"{f1:.3f}", str(support), str(10 + 10 * k)]
        (row,) = [row for row in rows if row[:6] == start]
        wrong = matrix[k].copy()
        wrong[k] = 0
        assert row[6:] == ([ANIMALS[wrong.argmax()], str(wrong.max())] if wrong.any() else [])


def test_the_matrix_has_all_counts_in_both_orders() -> None:
    scored = MADE.predictions
    assert scored is not None
    matrix = confusion_matrix(scored.labels, scored.probabilities.argmax(1), labels=np.arange(len(ANIMALS)))
    page = Page(FULL)
    order = [int(k) for k in page.all("table")[1]["data-order"].split()]
    assert order == sorted(range(len(ANIMALS)), key=lambda k: (-matrix[k].sum(), k))
    orders = [[int(k) for k in each["value"].split()] for each in page.all("input")]
    assert orders[0] == order
    assert sorted(orders[1]) == list(range(len(ANIMALS)))
    remarks_on = [cell["title"] for cell in page.all("td") if re.match("right|wrong", cell.get("class", ""))]
    expected = []
    for true in order:
        for other in order:
            if number := matrix[true, other]:
                what = f"{ANIMALS[true]} recognised" if true == other else f"{ANIMALS[true]} taken for {ANIMALS[other]}"
                share = 100 * number / matrix[true].sum()
                expected.append(f"{what}: {number} of {matrix[true].sum()} ({share:.0f}%)")
    assert remarks_on == expected


def test_pairs_in_words() -> None:
    items = [" ".join(text.split()) for text in Page(FULL).texts["li"]]
    scored = MADE.predictions
    assert scored is not None
    pairs = Counter(
        (ANIMALS[true], ANIMALS[named])
        for true, named in zip(scored.labels, scored.probabilities.argmax(1), strict=True)
        if true != named
    )
    (true, named), number = pairs.most_common(1)[0]
    support = int(np.sum(scored.labels == ANIMALS.index(true)))
    assert f"{true} taken for {named}: {number} of {support}" in items


def test_what_was_run_in_one_sentence() -> None:
    assert sentence(MADE) == (
        "resnet20 trained on animals (5 classes; 150 training, 10 validation, 120 test images of 16 × 16 pixels) for "
        "4 epochs in 1 min 22 s on a processor (cpu, fp32)."
    )
    changed = replace(MADE, changes=("activation gelu for relu in stages 1 to 3", "attention se for none in stage 3"))
    assert sentence(changed).startswith(
        "resnet20 with activation gelu for relu in stages 1 to 3 and attention se for none in stage 3, trained on "
    )


def test_works_with_their_true_and_predicted_class() -> None:
    page, scored = Page(FULL), MADE.predictions
    assert scored is not None
    number = int(np.flatnonzero(scored.predicted != scored.labels)[0])
    named, true = (scored.classes[k[number]] for k in (scored.predicted, scored.labels))
    heading = " ".join(page.texts["h3"][1].split())
    row = scored.probabilities[number]
    assert heading == f"Taken for {named} with {row.max():.3f} truly {true}, with {row[scored.labels[number]]:.3f}"
    alts = [image["alt"] for image in page.all("img")]
    assert alts[:4] == [
        f"The work {scored.paths[number]}: {true}, taken for {named}",
        f"Where the network sees {named} in the work",
        f"Where the network sees {true} in the work",
        f"Training image near/0.jpg: {named}",
    ]
    assert len(alts) == 3 * 6
    best = sorted(range(5), key=lambda k: -row[k])
    answers = [row for row in page.rows() if row[-1:] == [f"{scored.probabilities[number, best[0]]:.4f}"]]
    assert answers[0][0] == named


def remarks_on(made: RunSummary) -> list[str]:
    return [f"{remark.kind} {remark.text}" for remark in remarks(made)]


def test_remarks_come_first_with_a_link() -> None:
    found = re.findall(r'<li class="(\w+)"><b>.*?</b> (.*?) <a href="#.*?">', FULL)
    assert [" ".join(each) for each in found] == remarks_on(MADE) == ["hint 1 class has no images here."]


def test_missing_images_and_classes_are_reported() -> None:
    scored = MADE.predictions
    assert scored is not None
    one = replace(scored, origin=scored.origin.model_copy(update={"gone": 1}))
    assert remarks_on(replace(MADE, predictions=one))[0] == (
        "warning 1 of 121 images of this part is gone or cannot be read, and the others are scored."
    )
    some = replace(scored, origin=scored.origin.model_copy(update={"part": "all", "absent": ("dog", "eel")}))
    assert remarks_on(replace(MADE, predictions=some))[0] == "warning The source has no image of dog and eel."


def test_an_unfinished_run_says_so_first() -> None:
    running = {**MADE.record, "status": "running"}
    scored = predictions(ANIMALS, part="val")
    begun = replace(MADE, record=running, predictions=scored)
    assert remarks_on(begun)[0] == (
        "warning The training is still running, or was killed: the figures are those of the best weights so far on the "
        "validation part. The test part stays unseen until the end."
    )
    assert "for 4 of 4 epochs so far" in sentence(begun)
    stopped = replace(MADE, record={**MADE.record, "status": "interrupted by SIGTERM"})
    assert remarks_on(stopped)[0].startswith(
        "warning The training is not finished (interrupted by SIGTERM): the figures are"
    )
    nothing_yet = replace(
        begun, has_weights=False, predictions=None, summary=None, history=(), obstacle="there are no weights yet"
    )
    assert remarks_on(nothing_yet) == [
        "warning The training is still running, or was killed: 0 epochs done, and nothing is scored yet."
    ]
    html = run_page(nothing_yet, None)
    assert "The first epoch has not finished yet." in html
    assert not {"#figures", "#confusion", "#works"} & {link["href"] for link in Page(html).all("a")}
    require_readable_aloud(html)


def test_images_that_are_gone() -> None:
    gone = replace(MADE, obstacle="/data/animals: no such folder")
    assert remarks_on(gone)[0] == (
        "warning The images cannot be read now, so the kept predictions are shown, without pictures: "
        "/data/animals: no such folder."
    )
    assert "#works" not in run_page(gone, None)
    without = replace(gone, predictions=None, summary=None)
    assert remarks_on(without)[0].startswith("warning The images cannot be read now, so nothing can be scored: ")


def test_mistakes_with_a_suspected_label_are_marked() -> None:
    shown = gallery(MADE)
    number = shown.works[1].number
    suspect = Suspect(
        rank=1234, path="ant/1.jpg", label="ant", suggested=EVIL, p_label=0.1, p_suggested=0.9, score=0.1, flagged=True,
        predictions=1, sha256="0" * 64,
    )  # fmt: skip
    html = run_page(MADE, shown, {number: suspect})
    assert "suspected" not in FULL
    assert html.count("label suspected, rank 1,234") == 1
    assert html[: html.index("label suspected")].count('<article class="work') == 2
    assert "1 image of this part has a label that is suspected to be wrong" in html
    assert EVIL in [span.get("title", "").removeprefix("suggested: ") for span in Page(html).all("span")]
    require_self_contained(html)
    require_readable_aloud(html)


def test_other_things_to_know() -> None:
    small = made_up_run(n=20)
    scored = small.predictions
    assert scored is not None
    support = Counter(scored.labels.tolist())
    fewest = min((support[k], k) for k in support)
    assert (
        f"warning {sum(number < 10 for number in support.values())} classes have fewer than 10 images here. "
        f"{ANIMALS[fewest[1]]} has {fewest[0]}: one mistake moves its recall by {100 / fewest[0]:.0f} points."
    ) in remarks_on(small)
    trained_on = replace(MADE, predictions=predictions(ANIMALS, part="train"))
    assert any("trained on these images" in text for text in remarks_on(trained_on))
    chosen_by = replace(MADE, predictions=predictions(ANIMALS, part="val"))
    assert any("selected on this validation part" in text for text in remarks_on(chosen_by))


def test_what_to_try_next_is_there_where_a_measurement_supports_it() -> None:
    def steps(**changes: Any) -> list[str]:
        html = run_page(replace(MADE, **changes), None)
        section = html.partition('<h2 id="next">What to try next</h2>')[2].partition("</section>")[0]
        assert bool(section) == ('href="#next"' in html)
        return Page(f"<div>{section}</div>").texts.get("li", []) if section else []

    assert steps() == []
    assert steps(history=history((1.5, 0.9, 0.7, 0.6))) == [
        "Train longer: the last of 4 epochs is the best, and the validation loss still fell, from 0.800 in epoch 3 to "
        "0.700. Whether more epochs help, another run shows (--epochs 8)."
    ]
    unfinished = {**MADE.record, "status": "running"}
    assert steps(history=history((1.5, 0.9, 0.7, 0.6)), record=unfinished) == []
    losses = ((0.9, 0.8), (0.6, 0.5), (0.4, 0.6), (0.2, 0.7))
    overfitted = tuple(
        replace(epoch, train_loss=training, val_loss=validation)
        for epoch, (training, validation) in zip(history(), losses, strict=True)
    )
    assert steps(history=overfitted) == [
        "Augment or regularise more: after epoch 2 the validation loss rose from 0.500 to 0.700, while the training "
        "loss fell from 0.600 to 0.200. Accuracy need not suffer, but probabilities do."
    ]
    counts = np.diag([50] * len(ANIMALS))
    counts[0, 1] = 12
    assert MADE.summary is not None
    confused = replace(MADE.summary, confusion=Confusion(ANIMALS, counts))
    assert steps(summary=confused) == [
        "Look at ant taken for bee: 12 of all 12 mistakes. Wrong or overlapping labels would look like this too "
        "(resnet-lab data suspects)."
    ]


def test_names_cannot_become_markup() -> None:
    bytes_name = b"caf\xe9".decode("utf-8", "surrogateescape")
    evil = made_up_run((EVIL, f'"{bytes_name}', "a & b", "$x_1$", "</td>"), name="<i>run</i>")
    evil = replace(evil, obstacle="", changes=(EVIL,), record={**evil.record, "command": ["resnet-lab", EVIL]})
    html = run_page(evil, gallery(evil))
    page = Page(html)
    assert [tag for tag, _ in page.elements if tag in ("script", "i")] == ["script"]
    assert EVIL in " ".join(page.texts["th"])
    assert r"caf\udce9" in " ".join(page.texts["th"])
    assert "$x_1$" in " ".join(page.texts["th"])
    require_self_contained(html)
    require_readable_aloud(html)
    html.encode()


def test_provenance_and_configuration() -> None:
    terms = dict(zip(Page(FULL).texts["dt"], Page(FULL).texts["dd"], strict=True))
    assert terms["command"] == "resnet-lab train --data 'my animals'"
    assert terms["weights, SHA-256"] == "ab" * 32
    assert terms["fingerprint of the images"] == "fedcba9876543210"
    assert terms["versions"] == "python 3.12, resnet-lab 1.0"
    assert terms["augment"] == "flip, rotate90"
    assert (terms["weights"], terms["deterministic"], terms["lr"]) == ("none", "no", "0.003")


def test_network_by_stage() -> None:
    rows = Page(FULL).rows()
    for stage in MADE.cost.stages:
        (row,) = [row for row in rows if row[:1] == [stage.name]]
        assert row[-2:] == [f"{stage.parameters:,}", f"{stage.macs:,}"]
    assert ["all", f"{MADE.cost.parameters:,}", f"{MADE.cost.macs:,}"] in rows


def fifty() -> RunSummary:
    return made_up_run([f"A_painter_of_a_long_name_{number}" for number in range(50)], n=1000)


@pytest.mark.slow
def test_fifty_classes_stay_under_ten_megabytes_whatever_the_pictures() -> None:
    made = fifty()
    pictures = 24 * 6
    html = run_page(made, gallery(made, 24, BUDGET // pictures))
    assert html.count("data:image/webp;base64,") == pictures
    assert len(html.encode()) < 10e6
    assert len(run_page(made, None).encode()) < 1e6


def test_no_mistake_at_all() -> None:
    scored = predictions(ANIMALS)
    perfect = replace(scored, probabilities=np.eye(5, dtype=np.float32)[scored.labels] * 0.98 + 0.004)
    summary = summarise(perfect.labels, perfect.probabilities, ANIMALS, [10, 20, 30, 40, 50])
    html = run_page(replace(MADE, predictions=perfect, summary=summary), None)
    assert "No image is taken for another class." in html
    assert "There are too few different classes for a rank correlation" in html
    assert "#works" not in html


def test_figures_of_few_images_say_how_their_intervals_were_made() -> None:
    html = run_page(made_up_run(n=12), None)
    prose = " ".join(Page(html).prose().split())
    assert "bootstrap intervals over images, unless stated below the table." in prose
    assert "Interval for macro accuracy and macro recall: Wilson over classes." in prose
    assert "No interval for macro precision, macro F1, weighted precision and weighted F1: a class" in prose
    (row,) = [" ".join(row) for row in Page(html).rows() if row[:2] == ["macro", "F1"]]
    assert re.fullmatch(r"macro F1 mean over the classes .* recall 0\.\d{3}", row), "no interval"


def test_a_map_of_embeddings_with_what_it_shows_and_what_not() -> None:
    found = embedding_map(MADE)
    html = run_page(MADE, None, embedding_map=found)
    require_self_contained(html)
    require_readable_aloud(html)
    page = Page(html)
    assert {"href": "#map"} in page.all("a")
    wrong = int((found.labels != found.predicted).sum())
    (alt,) = [svg["aria-label"] for svg in page.all("svg") if "Map" in svg.get("aria-label", "")]
    assert alt == (
        f"Map of the embeddings of 120 images by t-SNE, {wrong} of them mistakes; 0.512 have the class of most of "
        "their 5 nearest neighbours in the embedding"
    )
    assert "The 120 images of the test part, by the 64 features" in page.prose()
    assert "Not to be read: distances between clusters" in page.prose("figcaption")
    figures = {" ".join(row[:3]): row[-1] for row in page.rows() if row}
    assert figures["accuracy of nearest"] == "0.512"
    assert figures["accuracy of the"] == f"{np.bincount(found.labels).max() / 120:.3f}"
    assert figures["trustworthiness of the"] == "0.875"
    sample = Page(run_page(MADE, None, embedding_map=embedding_map(MADE, scored=3000)))
    assert "A sample of 120 of the 3,000 images of the test part" in sample.prose()


def test_a_page_without_a_map_does_not_speak_of_it() -> None:
    assert 'id="map"' not in FULL
    assert "t-SNE" not in FULL
