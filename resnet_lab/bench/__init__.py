"""What networks cost: counted, measured in turns, and held against what the device could do."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
