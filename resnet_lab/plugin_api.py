"""Everything a plugin may import; the rest of the package is private to the program."""

from resnet_lab.errors import DataError, SpecError
from resnet_lab.hookspecs import Register, RegisterConvolution, RegisterNorm, hookimpl
from resnet_lab.images import ImageSet
from resnet_lab.model import Parts

__all__ = ["DataError", "ImageSet", "Parts", "Register", "RegisterConvolution", "RegisterNorm", "SpecError", "hookimpl"]
