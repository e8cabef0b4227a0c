"""All analyses of a study beyond its verdicts."""

from dataclasses import dataclass

from resnet_lab.study.class_effects import ClassEffects, class_effects
from resnet_lab.study.interactions import Interaction, interactions
from resnet_lab.study.learning_curves import LearningCurves, learning_curves
from resnet_lab.study.paired_errors import PairedErrors, paired_errors
from resnet_lab.study.pareto import Pareto, pareto
from resnet_lab.study.results import StudyFindings
from resnet_lab.study.trials import StudyFolder


@dataclass(frozen=True)
class StudyAnalyses:
    """All analyses of a study.

    Attributes:
        class_effects: one per contrast.
        learning_curves: one per arm.
        interactions: one per pair of factors that vary.
        pareto: cost against score.
        paired_errors: one per arm other than the baseline.
    """

    class_effects: list[ClassEffects]
    learning_curves: list[LearningCurves]
    interactions: list[Interaction]
    pareto: Pareto
    paired_errors: list[PairedErrors]


def analyse(found: StudyFindings, folder: StudyFolder) -> StudyAnalyses:
    """Run every analysis.

    Raises:
        RunError: a trial's table of epochs is damaged.
    """
    return StudyAnalyses(
        class_effects(found), learning_curves(found, folder), interactions(found), pareto(found), paired_errors(found)
    )
