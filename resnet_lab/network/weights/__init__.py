"""Pretrained weights into a network, perhaps a modified one, and an account of what became of each tensor."""

from resnet_lab.network.weights.coverage import Coverage
from resnet_lab.network.weights.loading import load_weights
from resnet_lab.network.weights.sources import Weights, open_weights

__all__ = ["Coverage", "Weights", "load_weights", "open_weights"]
