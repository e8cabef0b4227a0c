"""Whether an exported network is the one it was made from. Legend: N batch, C channels, S size, K classes."""

from collections.abc import Callable

import torch
from torch import Tensor

from resnet_lab.device.agreement import Disagreement, OutputAgreement, agreement_of
from resnet_lab.export.exported_model import ExportedModel, ExportError

BATCHES = (1, 3)


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
    try:
        return agreement_of(original.model(images), exported(images.clone()), "random images")
    except Disagreement as difference:
        raise ExportError(
            f"{original.weights}: the {what} does not compute what the network does: {difference}; nothing was written"
        ) from None
