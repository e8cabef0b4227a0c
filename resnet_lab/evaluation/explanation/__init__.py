"""Explanations of predictions: Grad-CAM and HiResCAM maps, and pictures of them."""

from resnet_lab.evaluation.explanation.explaining import ClassMap, Explainer, Explanation
from resnet_lab.evaluation.explanation.image_files import Explanations, explain
from resnet_lab.evaluation.explanation.maps import METHODS, GradCAM, Method, Pass, grad_cam
from resnet_lab.evaluation.explanation.pictures import draw, overlay
from resnet_lab.evaluation.explanation.sanity import SanityCheck, rank_correlation

__all__ = [
    "METHODS",
    "ClassMap",
    "Explainer",
    "Explanation",
    "Explanations",
    "GradCAM",
    "Method",
    "Pass",
    "SanityCheck",
    "draw",
    "explain",
    "grad_cam",
    "overlay",
    "rank_correlation",
]
