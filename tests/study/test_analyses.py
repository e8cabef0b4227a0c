"""Every analysis of one fabricated study."""

from pathlib import Path

from resnet_lab.study.analyses import analyse
from tests.study.fabricated import design, found, shares


def test_one_analysis_per_contrast_arm_and_pair_of_factors(tmp_path: Path) -> None:
    analyses = analyse(*found(tmp_path, design(), shares, n=60))
    assert len(analyses.class_effects) == 5
    assert len(analyses.learning_curves) == 4
    assert len(analyses.interactions) == 1
    assert len(analyses.pareto.points) == 4
    assert len(analyses.paired_errors) == 3
