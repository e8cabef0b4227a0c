"""Pixels that are stored in 16 bits, of which cameras and scanners use fewer."""

import numpy as np
from PIL import Image

BITS_PER_SAMPLE, PHOTOMETRIC, MAX_SAMPLE_VALUE = 258, 262, 281
WHITE_IS_ZERO = 0
"""Tags of TIFF 6.0, section 8, and a value of the second."""

DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras and scanners use of 16."""

FEW_BITS = 12
"""Bits in use up to which colours of 16 bits, of which the upper eight are read, are refused."""


def of_sixteen_bits(image: Image.Image, depth: int | None) -> tuple[Image.Image, int | None]:
    """Grey levels of 16 bits as 8, and how many bits are in use where the file does not state it.

    Args:
        depth: bits that are in use in the whole set; None where that is not known.
    """
    values = np.asarray(image)
    largest, stated = int(values.max(initial=0)), _stated_depth(image)
    own = None if stated is not None and largest < 2**stated else depth_of(largest)
    depth = (stated if own is None else depth or own) or DEPTHS[-1]
    white = 2**depth - 1
    if largest > white:
        values = np.minimum(values, white)
    if image.format == "TIFF" and _tag(image, PHOTOMETRIC) == WHITE_IS_ZERO:  # which Pillow minds up to 8 bits
        values = white - values
    return Image.fromarray((values >> (depth - 8)).astype(np.uint8)), own


def stretched(image: Image.Image, bits: int) -> Image.Image:
    """Levels that use so many bits of 8, as all of these; transparency stays as it is."""
    bands, white = image.getbands(), 2**bits - 1
    levels = [min(255, round(255 * level / white)) for level in range(256)]
    return image.point([each for band in bands for each in (range(256) if band in "Aa" else levels)])


def depth_of(largest: int) -> int:
    """Lowest of the usual bit depths that holds a value."""
    return next(depth for depth in DEPTHS if largest < 2**depth)


def _stated_depth(image: Image.Image) -> int | None:
    """Bits in use by a TIFF file's own tags, where these are fewer than 16."""
    if image.format != "TIFF":
        return None
    stated = (_tag(image, BITS_PER_SAMPLE), _tag(image, MAX_SAMPLE_VALUE).bit_length())
    return min((bits for bits in stated if 8 <= bits < 16), default=None)


def _tag(image: Image.Image, number: int) -> int:
    """A TIFF tag's first value; -1 where it has none that is an integer."""
    value = getattr(image, "tag_v2", {}).get(number)
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int) else -1


def largest_value(image: Image.Image) -> int:
    """Largest value of all channels but that of transparency."""
    colours = [band not in "Aa" for band in image.getbands()]
    counts = np.array(image.histogram()).reshape(-1, 256)[colours]
    return int(np.flatnonzero(counts.any(0)).max(initial=0))
