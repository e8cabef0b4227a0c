"""ICC profiles by hand, as ICC.1:2001-04 (version 2) lays them out, and what they mean by formula."""

import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

SRGB = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
ADOBE_RGB = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
DISPLAY_P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
PROPHOTO = np.array([[0.79767, 0.13519, 0.03134], [0.28804, 0.71188, 0.00009], [0.0, 0.0, 0.82491]])
"""Red, green and blue as columns of XYZ under D50, by Lindbloom and the profiles of their makers."""

D50 = np.array([0.9642, 1.0, 0.8249])
CORNERS = {"": (100, 0, 0), "c": (60, -20, -30), "m": (55, 50, 0), "y": (90, -5, 60), "k": (0, 0, 0)}
"""L*, a* and b* of paper and of one ink alone."""


def rgb_profile(primaries: NDArray[np.float64], gamma: float) -> bytes:
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    tags = {f"{name}XYZ": _xyz(column) for name, column in zip("rgb", primaries.T, strict=True)}
    return _profile(b"mntr", b"RGB ", b"XYZ ", {**tags, **{f"{name}TRC": curve for name in "rgb"}, "wtpt": _xyz(D50)})


def grey_profile(gamma: float) -> bytes:
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    return _profile(b"mntr", b"GRAY", b"XYZ ", {"kTRC": curve, "wtpt": _xyz(D50)})


def cmyk_profile() -> bytes:
    """A table of its corners: the inks of `CORNERS`, of which several together are black."""
    nodes = b""
    for number in range(16):
        inks = "".join(ink for place, ink in enumerate("cmyk") if number >> (3 - place) & 1)
        lightness, a, b = CORNERS.get(inks, CORNERS["k"])
        nodes += bytes((round(lightness * 2.55), a + 128, b + 128))
    identity = bytes(range(256))
    table = (
        b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + struct.pack(">9i", *(65536 * np.eye(3, dtype=int)).ravel().tolist())
    )
    return _profile(b"prtr", b"CMYK", b"Lab ", {"A2B0": table + 4 * identity + nodes + 3 * identity, "wtpt": _xyz(D50)})


def srgb_of(levels: NDArray[np.uint8], primaries: NDArray[np.float64], gamma: float) -> NDArray[np.float64]:
    """Levels of sRGB, 0 to 255, of levels (..., 3) in another space."""
    return encoded(((levels / 255.0) ** gamma) @ primaries.T)


def srgb_of_lab(lightness: float, a: float, b: float) -> NDArray[np.float64]:
    y = (lightness + 16) / 116
    f = np.array([y + a / 500, y, y - b / 200])
    return encoded(D50 * np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)))


def encoded(xyz: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = np.clip(xyz @ np.linalg.inv(SRGB).T, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _xyz(values: NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def _profile(kind: bytes, space: bytes, connection: bytes, tags: Mapping[str, bytes]) -> bytes:
    table, content = struct.pack(">I", len(tags)), b""
    begin = 128 + 4 + 12 * len(tags)
    for name, tag in tags.items():
        table += name.encode() + struct.pack(">II", begin + len(content), len(tag))
        content += tag + bytes(-len(tag) % 4)
    header = struct.pack(">I4sI4s4s4s", begin + len(content), bytes(4), 0x02100000, kind, space, connection)
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += struct.pack(">3i", *(round(value * 65536) for value in D50))
    return header.ljust(128, b"\0") + table + content
