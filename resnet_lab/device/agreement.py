"""Whether two ways to run a network give the same answers. Legend: N images, K classes."""

from dataclasses import dataclass

from torch import Tensor

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


class Disagreement(Exception):
    """Outputs that are further apart than rounding explains; its text says how they differ."""


def agreement_of(wanted: Tensor, got: Tensor, images: str = "images") -> OutputAgreement:
    """Compare logits, each (N, K).

    Args:
        images: what the images are, for the text.

    Raises:
        Disagreement: other shapes, non-finite outputs, another first class, or probabilities or logits that differ.
    """
    if got.shape != wanted.shape:
        raise Disagreement(f"outputs of shape {tuple(got.shape)}, expected {tuple(wanted.shape)}")
    if not bool(got.isfinite().all()):
        raise Disagreement("non-finite outputs")
    sure, found = wanted.softmax(1), got.softmax(1)
    chosen = sure.gather(1, found.argmax(1, keepdim=True)).squeeze(1)
    if not bool((sure.amax(1) - chosen <= TIE).all()):
        raise Disagreement(f"another first class for some of {len(wanted)} {images}")
    probability = float((sure - found).abs().max())
    logit = float((wanted - got).abs().max() / wanted.abs().max().clamp(min=TIE))
    if probability > PROBABILITY or logit > LOGIT:
        raise Disagreement(
            f"probabilities differ by up to {probability:.1e} (allowed {PROBABILITY:.0e}) and logits by "
            f"{logit:.1e} of the largest (allowed {LOGIT:.0e})"
        )
    return OutputAgreement(len(wanted), probability, logit)
