"""Studies of arms over paired seeds: effects, intervals, verdicts and costs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
