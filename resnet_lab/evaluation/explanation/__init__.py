"""Explanations of predictions: Grad-CAM maps, and pictures of them."""

from resnet_lab.evaluation.explanation.explaining import ClassMap, Explainer, Explanation
from resnet_lab.evaluation.explanation.image_files import Explanations, explain
from resnet_lab.evaluation.explanation.maps import GradCAM, Pass, grad_cam
from resnet_lab.evaluation.explanation.pictures import draw, overlay

__all__ = [
    "ClassMap",
    "Explainer",
    "Explanation",
    "Explanations",
    "GradCAM",
    "Pass",
    "draw",
    "explain",
    "grad_cam",
    "overlay",
]
