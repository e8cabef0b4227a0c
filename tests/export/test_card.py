import csv
import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt

from resnet_lab.core.errors import RunError
from resnet_lab.device import choose
from resnet_lab.evaluation.metrics.headline import intervals
from resnet_lab.evaluation.scoring import evaluate
from resnet_lab.export.card import model_card
from resnet_lab.export.exported_model import ExportedModel, open_exported_model
from resnet_lab.network import checkpoint, cost, zoo
from resnet_lab.network.plugins import Registry
from tests.export.conftest import tiny

RESNET20 = "resnet20 (He et al. 2015, arXiv:1512.03385, section 4.2, option A)"


@pytest.fixture
def original(run: Path, registry: Registry) -> ExportedModel:
    return open_exported_model(run, registry)


def rewritten(run: Path, **changes: Any) -> dict[str, Any]:
    """run.json with tables updated."""
    record = json.loads((run / "run.json").read_text())
    for key, value in changes.items():
        record[key] = {**record[key], **value} if isinstance(record.get(key), dict) else value
    (run / "run.json").write_text(json.dumps(record))
    return dict(record)


def header_of(card: str) -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    return dict(yaml.safe_load(card.split("---\n")[1]))


def tables_of(card: str) -> dict[str, list[str]]:
    """Cells of each table's rows, by the first."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in card.splitlines() if line.startswith("|")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in rows}


def test_the_hub_s_library_reads_the_header(original: ExportedModel, run: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    data = hub.ModelCard(model_card(original, license="apache-2.0")).data
    assert (data.license, data.pipeline_tag, data.library_name) == (
        "apache-2.0", "image-classification", "resnet-lab",
    )  # fmt: skip
    test = json.loads((run / "run.json").read_text())["test"]
    found = {result.metric_type: result.metric_value for result in data.eval_results}
    assert found == {
        "accuracy": test["accuracy"],
        "balanced_accuracy": test["macro_accuracy"],
        "precision": test["macro_precision"],
        "recall": test["macro_recall"],
        "f1": test["macro_f1"],
    }
    first = data.eval_results[0]
    assert (first.task_type, first.dataset_name, first.dataset_split) == ("image-classification", "paintings", "test")
    assert data.model_name == "resnet20"


def test_no_license_and_no_data_set_of_the_hub_is_claimed(original: ExportedModel) -> None:
    assert header_of(model_card(original)).keys() == {
        "library_name", "pipeline_tag", "tags", "metrics", "model-index",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("source", "datasets"),
    [
        ("hf:someone/paintings", ["someone/paintings"]),
        ("hf:mnist(label=digit)", ["mnist"]),
        ("hf:/home/me/saved", None),
        ("torchvision:CIFAR10", None),
    ],
)
def test_data_sets_of_the_hub_are_named(
    original: ExportedModel, run: Path, source: str, datasets: list[str] | None
) -> None:
    rewritten(run, data={"source": source})
    assert header_of(model_card(original)).get("datasets") == datasets


def test_network_data_and_results(original: ExportedModel, run: Path) -> None:
    record, card = json.loads((run / "run.json").read_text()), model_card(original)
    rows, counted = tables_of(card), cost.measure(tiny(), original.registry)
    assert rows["parameters"] == [f"{counted.parameters:,}"]
    assert rows["multiply-adds for one image"] == [f"{counted.macs:,}"]
    assert rows[f"changes against {RESNET20}"] == ["2 stages for 3; depth 1 for 3 in stages 1 to 2"]
    images = record["data"]["images"]
    assert rows["images"] == [f"{images['train']} train, {images['val']} val, {images['test']} test"]
    assert rows["source"] == ["paintings"]
    assert rows["fingerprint of labels and contents"] == [f"`{record['data']['fingerprint']}`"]
    assert rows["Macro-averaged accuracy"] == [f"{record['test']['macro_accuracy']:.4f}"]
    assert f"weights of epoch {record['best_epoch']}, on the {record['test']['n']} images" in card
    assert "3 classes: blue, green, red." in card


def test_what_the_training_did(original: ExportedModel, run: Path) -> None:
    rows = tables_of(model_card(original))
    assert (rows["epochs"], rows["batch size"], rows["optimizer"], rows["seed"]) == (["2"], ["16"], ["adam"], ["0"])
    for off in ("momentum", "decay", "warmup epochs", "augment", "balance", "precision", "compile", "accumulate"):
        assert off not in rows
    rewritten(
        run, config={"optimizer": "sgd", "schedule": "step", "augment": ["flip", "crop(pad=2)"], "weight_decay": 0.1}
    )
    rows = tables_of(model_card(original))
    assert (rows["momentum"], rows["decay"], rows["decay epochs"]) == (["0.9"], ["0.7"], ["30"])
    assert (rows["augment"], rows["decay norms"]) == (["flip, crop(pad=2)"], ["True"])


def test_pretrained_weights_are_named_with_what_they_gave(original: ExportedModel, run: Path) -> None:
    stage = {"stage": "stem", "loaded": {"names": ["conv1.weight"], "parameters": 432}}
    rewritten(run, weights={"source": "/home/me/earlier.pth", "share": 0.5, "stages": [stage]})
    assert tables_of(model_card(original))["started from"] == [
        "earlier.pth (50.0% of the parameters outside the classifier loaded)"
    ]


def test_intervals_where_predictions_were_kept(original: ExportedModel, run: Path) -> None:
    kept = evaluate(run, choose("cpu", "fp32"), original.registry)
    card = model_card(original)
    assert f"on the {len(kept)} images of the test part, with 95% intervals over images:" in card
    value, interval, method = tables_of(card)["Accuracy"]
    assert method == intervals(kept.labels, kept.probabilities)["accuracy"].method
    low, high = (float(end) for end in interval.split(" to "))
    assert value == f"{np.mean(kept.labels == kept.probabilities.argmax(1)):.4f}"
    assert 0 <= low <= float(value) <= high <= 1
    assert low < high
    metrics = header_of(card)["model-index"][0]["results"][0]["metrics"]
    losses = -np.log(kept.probabilities[np.arange(len(kept)), kept.labels].astype(np.float64))
    assert {each["type"]: each["value"] for each in metrics}["log_loss"] == pytest.approx(losses.mean())


def test_limits_are_counted(original: ExportedModel, run: Path) -> None:
    with (run / "splits.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "split"])
        for label, train, test in (("blue", 33, 12), ("green", 3, 1), ("red", 20, 9)):
            table.writerows([f"{label}/{i}", label, "train"] for i in range(train))
            table.writerows([f"{label}/t{i}", label, "test"] for i in range(test))
    images = {"train": 56, "val": 0, "test": 22}
    record = json.loads((run / "run.json").read_text())
    rewritten(run, data={**record["data"], "images": images}, test={**record["test"], "n": 22})
    limits = [line for line in model_card(original).split("## Limits")[1].splitlines() if line.startswith("- ")]
    assert limits == [
        "- It knows the classes above alone: whatever else an image shows, it is given one of them.",
        "- It was trained on 3 to 33 images per class.",
        "- The classes are unequal: blue has 11 times as many training images as green.",
        "- 2 of 3 classes have fewer than 10 test images, so that one image moves their recall by more than ten "
        "points.",
        "- It is one training with one seed on one split: another seed or split gives other figures.",
    ]


def test_a_run_that_is_not_finished(original: ExportedModel, run: Path) -> None:
    record = rewritten(run, status="running")
    for key in ("test", "best_epoch", "seconds"):
        del record[key]
    (run / "run.json").write_text(json.dumps(record))
    card = model_card(original)
    assert "The training was not finished when this card was written; these are the best weights so far." in card
    assert "## Results" not in card
    assert "model-index" not in header_of(card)


def test_results_of_null_are_left_out(original: ExportedModel, run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "test": None, "seconds": None}))
    card = model_card(original)
    assert "time of training" not in tables_of(card)
    assert "## Results" not in card


def test_damaged_weights_of_the_record_are_named_with_their_file(original: ExportedModel, run: Path) -> None:
    rewritten(run, weights={"source": "a.pth"})
    with pytest.raises(RunError) as failure:
        model_card(original)
    assert str(failure.value) == (
        f"{run}/run.json: damaged: weights: share: field required; the run's weights can still be used by their path"
    )


def test_no_folder_of_the_machine_is_named(original: ExportedModel, run: Path) -> None:
    source = Path(json.loads((run / "run.json").read_text())["data"]["source"])
    card = model_card(original)
    assert card.count(str(source.parent)) + card.count(str(run.parent)) == 0
    assert "resnet-lab train --data=paintings --epochs 2" in card


def test_of_a_weights_file_alone_nothing_is_invented(exported_model: Callable[..., ExportedModel]) -> None:
    card = model_card(exported_model(tiny(act="gelu")))
    assert header_of(card).keys() == {"library_name", "pipeline_tag", "tags"}
    assert re.findall("^## (.*)$", card, re.MULTILINE) == ["Network", "How to use", "Limits"]
    assert "3 classes: still life, portrait, landscape." in card
    assert tables_of(card)[f"changes against {RESNET20}"] == [
        "activation gelu for relu in the stem; 2 stages for 3; activation gelu for relu in stages 1 to 2; "
        "depth 1 for 3 in stages 1 to 2"
    ]


def test_an_unmodified_network_and_one_of_no_name(exported_model: Callable[..., ExportedModel]) -> None:
    assert tables_of(model_card(exported_model(zoo.get("resnet20"))))[f"changes against {RESNET20}"] == ["nothing"]
    rows = tables_of(model_card(exported_model(tiny(name="mine"))))
    assert rows["network"] == ["mine"]
    assert not any(name.startswith("changes against") for name in rows)


def test_the_code_in_it_runs(original: ExportedModel, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "model.safetensors").write_bytes((run / "best.safetensors").read_bytes())
    monkeypatch.chdir(run)
    (code,) = re.findall(r"```python\n(.*?)```", model_card(original), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    expected = checkpoint.load(run / "best.safetensors")(torch.zeros(1, 3, 16, 16)).softmax(1)
    torch.testing.assert_close(names["probabilities"], expected)
    assert names["metadata"].classes == ("blue", "green", "red")


def test_a_recorded_command_stays_in_its_fence(original: ExportedModel, run: Path) -> None:
    rewritten(run, command=["resnet-lab", "train\n```\n# A heading <b>", "\x1b[31m"])
    card = model_card(original)
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(card.split("---\n", 2)[2])
    *_, command = re.findall(r'<pre><code class="language-text">(.*?)</code></pre>', rendered, re.DOTALL)
    assert html.unescape(command) == "resnet-lab 'train\n```\n# A heading <b>' '\\x1b[31m'\n"


def test_a_record_writes_nothing_of_its_own_into_the_card(original: ExportedModel, run: Path) -> None:
    rewritten(run, data={"fingerprint": "`<b>|"}, config={"<b>|": "<b>|"})
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(model_card(original))
    assert "<b>" not in rendered
