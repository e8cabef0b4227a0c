"""A network: its specification, its parts and plugins, how it is built, counted, stored and given weights."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
