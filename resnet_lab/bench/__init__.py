"""Costs of networks: counted, measured in interleaved rounds, and compared with the limits of the device."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
