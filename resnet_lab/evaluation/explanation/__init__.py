"""Explanations of predictions: maps by Grad-CAM, HiResCAM, occlusion and integrated gradients, and pictures of them."""

from resnet_lab.evaluation.explanation.explaining import ClassMap, Explainer, Explanation
from resnet_lab.evaluation.explanation.image_files import Explanations, explain
from resnet_lab.evaluation.explanation.input_maps import IntegratedGradients, Occlusion
from resnet_lab.evaluation.explanation.layer_maps import GradCAM, grad_cam
from resnet_lab.evaluation.explanation.maps import Maps, Pass
from resnet_lab.evaluation.explanation.methods import EXPLAINABLE
from resnet_lab.evaluation.explanation.pictures import draw, overlay
from resnet_lab.evaluation.explanation.sanity import SanityCheck, rank_correlation

__all__ = [
    "EXPLAINABLE",
    "ClassMap",
    "Explainer",
    "Explanation",
    "Explanations",
    "GradCAM",
    "IntegratedGradients",
    "Maps",
    "Occlusion",
    "Pass",
    "SanityCheck",
    "draw",
    "explain",
    "grad_cam",
    "overlay",
    "rank_correlation",
]
