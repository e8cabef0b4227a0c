import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from resnet_lab.export.agreement import random_images, require_same
from resnet_lab.export.exported_model import ExportedModel, ExportError
from tests.export.conftest import tiny


@pytest.fixture
def original(exported_model: Callable[..., ExportedModel]) -> ExportedModel:
    return exported_model(tiny())


def test_the_network_agrees_with_itself(original: ExportedModel) -> None:
    agreement = require_same(original, original.model, "copy")
    assert (agreement.images, agreement.probability, agreement.logit) == (4, 0, 0)


def test_the_largest_difference_is_reported(original: ExportedModel) -> None:
    def shifted(images: Tensor) -> Tensor:
        outputs = original.model(images).clone()
        outputs[-1, 0] += 1e-4 if len(images) == 3 else 0
        return outputs

    agreement = require_same(original, shifted, "copy")
    logits = original.model(random_images(original, 3)).detach()
    assert agreement.logit == pytest.approx(1e-4 / float(logits.abs().max()), rel=0.01)
    p = float(logits.softmax(1)[-1, 0])
    assert agreement.probability == pytest.approx(p * (1 - p) * 1e-4, rel=0.01)  # derivative of softmax


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (lambda out: out.roll(1, 1), "another first class for some of 1 random images"),
        (lambda out: out * torch.nan, "non-finite outputs"),
        (lambda out: out[:, :2], "outputs of shape (1, 2), expected (1, 3)"),
        (lambda out: out + (out == out.max()) * 0.01, "probabilities differ by up to "),
        (lambda out: out + 0.1 * out.abs().max(), "probabilities differ by up to "),  # which softmax does not see
    ],
)
def test_what_differs_is_refused(original: ExportedModel, change: Callable[[Tensor], Tensor], difference: str) -> None:
    with pytest.raises(ExportError) as failure:
        require_same(original, lambda images: change(original.model(images)), "copy")
    text = str(failure.value)
    assert text.startswith(f"{original.weights}: the copy does not compute what the network does: {difference}")
    assert text.endswith("; nothing was written")


def test_the_sentence_about_differing_outputs(original: ExportedModel) -> None:
    with pytest.raises(ExportError) as failure:
        require_same(original, lambda images: 1.1 * original.model(images), "copy")
    assert re.search(
        r"probabilities differ by up to \d\.\de-\d\d \(allowed 1e-04\) and logits by 1\.0e-01 of the largest "
        r"\(allowed 1e-03\); nothing was written$",
        str(failure.value),
    )


def test_a_single_non_finite_output_is_refused(original: ExportedModel) -> None:
    def broken(images: Tensor) -> Tensor:
        outputs = original.model(images).clone()
        outputs[0, int(outputs[0].argmax())] = torch.nan  # where argmax finds it, and so the right class
        return outputs

    with pytest.raises(ExportError, match="non-finite outputs"):
        require_same(original, broken, "copy")


def test_a_tie_is_no_other_class(original: ExportedModel) -> None:
    torch.nn.init.zeros_(original.model.fc.weight)
    torch.nn.init.zeros_(original.model.fc.bias)
    assert (
        require_same(original, lambda images: original.model(images) + torch.tensor([0, 1e-10, 0]), "copy").images == 4
    )
