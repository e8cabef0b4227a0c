"""A trained network on images: predictions, figures about them, comparisons, and where it looks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
