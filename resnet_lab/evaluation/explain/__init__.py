"""Where a network looks: Grad-CAM maps, and pictures of them."""

from resnet_lab.evaluation.explain.explaining import ClassMap, Explainer, Explanation
from resnet_lab.evaluation.explain.loose import Explanations, explain
from resnet_lab.evaluation.explain.maps import GradCAM, Pass, grad_cam
from resnet_lab.evaluation.explain.pictures import draw, overlay

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
