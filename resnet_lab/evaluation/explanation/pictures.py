"""Maps as pictures. Legend: H W pixels.

The colours are viridis (Smith and van der Walt 2015): its lightness rises evenly, so that equal steps of the map look
equal, and the order of values is seen by colour-blind readers and in a grey print alike. Unlike inferno's, neither of
its ends is black or white, which would be lost in a picture's shadows and lights. The picture below is grey, as its own
colours would mix with those of the map.
"""

import io
import warnings
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from numpy.typing import NDArray

from resnet_lab.core.errors import printable
from resnet_lab.evaluation.explanation.explaining import ClassMap, Explanation

Format = Literal["png", "svg"]

COLOURS = colormaps["viridis"]
STRENGTH = 0.6
"""Share of the map's colour in an overlay."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey level: ITU-R BT.601, section 2.5.1."""

LABEL = "share of the map's maximum"
HALF = 0.5
"""Share of the maximum where a line is drawn: it shows the extent where the picture's lights and shadows mislead."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "resnet-lab",
    "text.parse_math": False,
    "font.size": 10.0,
}
LONGEST = 22
"""Letters of a name that fit above a picture."""


def overlay(picture: NDArray[np.uint8], values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The map in colours over the picture in grey, shape (H, W, 3).

    Args:
        picture: shape (H, W, 3), (H, W, 1) or (H, W).
        values: the map, in [0, 1], shape (H, W).
    """
    grey = picture @ np.array(LUMA) if picture.shape[2:] == (3,) else picture.reshape(values.shape)
    colours = COLOURS(values)[..., :3] * 255
    mixed = (1 - STRENGTH) * grey[..., np.newaxis] + STRENGTH * colours
    return mixed.round().astype(np.uint8)


def draw(explanation: Explanation, name: str, layer: str, file_format: Format = "png", caption: str = "") -> bytes:
    """A figure: the picture, and each map over it with its class and probability, a line around what reaches half.

    Args:
        name: of the picture.
        caption: below the panels.
    """
    picture, panels = explanation.picture, 1 + len(explanation.maps)
    with rc_context(STYLE), warnings.catch_warnings():
        # a typeface lacks letters of some scripts; in an SVG the reader's own has them
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure = Figure(figsize=(0.9 + 3.1 * panels, 3.6), layout="compressed")
        axes = figure.subplots(1, panels)
        axes[0].imshow(picture if picture.shape[2] == 3 else picture[..., 0], cmap="gray", vmin=0, vmax=255)
        axes[0].set_title(f"{_shortened(name)}\nas the network sees it, {picture.shape[0]} x {picture.shape[1]}")
        for panel, each in zip(axes[1:], explanation.maps, strict=True):
            _draw_map(panel, picture, each)
        for panel in axes:
            panel.set(xticks=(), yticks=())
            panel.spines[:].set(color="0.6", linewidth=0.8)
        bar = figure.colorbar(ScalarMappable(cmap=COLOURS), ax=axes, fraction=0.04, pad=0.02, label=f"{LABEL}\n{layer}")
        bar.ax.axhline(HALF, color="white", linewidth=1.2)
        if caption:
            figure.supxlabel(caption, fontsize="medium")
        return _saved(figure, file_format)


def _draw_map(panel: Axes, picture: NDArray[np.uint8], each: ClassMap) -> None:
    panel.imshow(overlay(picture, each.values))
    if each.values.min() < HALF < each.values.max():
        panel.contour(each.values, levels=[HALF], colors="white", linewidths=1.2)
    panel.set_title(f"{each.role}: {_shortened(each.name)}\nprobability {each.probability:.3f}")


def _shortened(text: str) -> str:
    text = printable(text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1].rstrip()}…"


def _saved(figure: Figure, file_format: Format) -> bytes:
    content = io.BytesIO()
    metadata = {"Date": None} if file_format == "svg" else None  # the same explanation gives the same bytes
    figure.savefig(content, format=file_format, dpi=150, metadata=metadata)
    return content.getvalue()
