"""One page about suspected label errors."""

from pathlib import PurePath

from resnet_lab.core.errors import printable
from resnet_lab.evaluation.suspect_gallery import SuspectGallery
from resnet_lab.report.pages import render

PAIRS = 20
"""Pairs of labels that are listed."""

SCORES = {
    "self_confidence": "the probability of the label",
    "normalized_margin": "the margin of the label to the most probable other class",
    "confidence_weighted_entropy": "the entropy of the prediction by the probability of the label",
}


def suspects_page(found: SuspectGallery) -> str:
    """The HTML of one self-contained page."""
    return render(
        "suspects_page.html.j2",
        found=found,
        name=printable(PurePath(found.source).name or found.source),
        flagged=found.flagged,
        pairs=found.pairs[:PAIRS],
        more_pairs=max(0, len(found.pairs) - PAIRS),
        score=SCORES[found.quality],
        small=max((max(each.width, each.height) for each in found.pictures.values()), default=0) < 96,
    )
