from .coverage import Coverage as Coverage
from .loading import load_weights as load_weights
from .sources import Weights as Weights
from .sources import open_weights as open_weights
