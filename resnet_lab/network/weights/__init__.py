"""Loading pretrained weights into networks, also modified ones, with a coverage report per tensor."""

from resnet_lab.network.weights.coverage import Coverage
from resnet_lab.network.weights.loading import load_weights
from resnet_lab.network.weights.sources import Weights, open_weights

__all__ = ["Coverage", "Weights", "load_weights", "open_weights"]
