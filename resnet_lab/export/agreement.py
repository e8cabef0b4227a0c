"""Whether an exported network is the one it was made from. Legend: N batch, C channels, S size, K classes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from resnet_lab.export.exported_model import ExportedModel, ExportError

BATCHES = (1, 3)
PROBABILITY = 1e-4
LOGIT = 1e-3
"""Tolerance of a logit, relative to the largest."""

TIE = 1e-6
"""Difference of two probabilities that is rounding: either class then counts as the first."""


@dataclass(frozen=True)
class OutputAgreement:
    """The largest differences found.

    Attributes:
        images: that were compared.
        probability: in [0, 1].
        logit: as a share of the largest logit.
    """

    images: int
    probability: float
    logit: float


def random_images(original: ExportedModel, number: int) -> Tensor:
    """Normalised images of noise, (N, C, S, S), others for each number."""
    spec = original.metadata.spec
    generator = torch.Generator().manual_seed(number)
    return torch.randn(number, spec.in_channels, spec.input_size, spec.input_size, generator=generator)


@torch.inference_mode()
def require_same(original: ExportedModel, exported: Callable[[Tensor], Tensor], what: str) -> OutputAgreement:
    """Compare outputs on batches of several sizes.

    Args:
        exported: (N, C, S, S) to logits (N, K).
        what: the file is, for errors.

    Raises:
        ExportError: another first class, or outputs further apart than rounding explains.
    """
    found = [_compared(original, exported, what, number) for number in BATCHES]
    return OutputAgreement(sum(BATCHES), max(each.probability for each in found), max(each.logit for each in found))


def _compared(original: ExportedModel, exported: Callable[[Tensor], Tensor], what: str, number: int) -> OutputAgreement:
    images = random_images(original, number)
    wanted, got = original.model(images), exported(images.clone())
    if got.shape != wanted.shape:
        raise _refused(original, what, f"outputs of shape {tuple(got.shape)}, expected {tuple(wanted.shape)}")
    if not bool(got.isfinite().all()):
        raise _refused(original, what, "non-finite outputs")
    sure, found = wanted.softmax(1), got.softmax(1)
    chosen = sure.gather(1, found.argmax(1, keepdim=True)).squeeze(1)
    if not bool((sure.amax(1) - chosen <= TIE).all()):
        raise _refused(original, what, f"another first class for some of {number} random images")
    probability = float((sure - found).abs().max())
    logit = float((wanted - got).abs().max() / wanted.abs().max().clamp(min=TIE))
    if probability > PROBABILITY or logit > LOGIT:
        raise _refused(
            original,
            what,
            f"probabilities differ by up to {probability:.1e} (allowed {PROBABILITY:.0e}) and logits by "
            f"{logit:.1e} of the largest (allowed {LOGIT:.0e})",
        )
    return OutputAgreement(number, probability, logit)


def _refused(original: ExportedModel, what: str, difference: str) -> ExportError:
    return ExportError(
        f"{original.weights}: the {what} does not compute what the network does: {difference}; nothing was written"
    )
