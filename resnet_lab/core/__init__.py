"""Shared basis of all packages: errors, files, progress, the run folder. Imports no torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
