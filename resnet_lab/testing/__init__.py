"""The conformance kit: whether a component keeps its hook's contract, for the authors of plugins.

Each check has a name, and fails with what happened, the smallest case in which it does, and a hint.
"""

from resnet_lab.testing.checking import check
from resnet_lab.testing.kernels import check_kernels
from resnet_lab.testing.pytest_form import conformance
from resnet_lab.testing.results import Report, Result

__all__ = ["Report", "Result", "check", "check_kernels", "conformance"]
