"""Experiments as TOML files: the program's own beside this module, and a user's anywhere."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
