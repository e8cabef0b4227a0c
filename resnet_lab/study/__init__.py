"""Does a change help, by how much, how sure is that, and at what cost: arms times seeds, paired, and what they say."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
