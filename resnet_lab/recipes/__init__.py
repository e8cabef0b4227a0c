"""Recipes: experiments as TOML files, built-in ones next to this module, and users' anywhere."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
