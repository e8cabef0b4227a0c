"""Figures about predictions: pure functions of labels and probabilities."""

from resnet_lab.evaluation.metrics.paired import Paired, paired
from resnet_lab.evaluation.metrics.scores import ClassScores, Scores, macro_accuracy, score
from resnet_lab.evaluation.metrics.summary import Summary, summarise

__all__ = ["ClassScores", "Paired", "Scores", "Summary", "macro_accuracy", "paired", "score", "summarise"]
