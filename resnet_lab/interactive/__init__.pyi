from .reporting import report as report
from .results import Evaluation as Evaluation
from .results import Report as Report
from .results import Run as Run
from .results import Study as Study
from .scoring import evaluate as evaluate
from .studying import study as study
from .training import train as train
