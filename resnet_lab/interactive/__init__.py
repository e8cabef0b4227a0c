"""The command line's work as functions, and their results as objects that a notebook shows."""

import warnings

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

warnings.filterwarnings("ignore", "IProgress not found")  # captum's progress bars, never shown, look for ipywidgets
