"""Words and numbers as a reader sees them."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from resnet_lab.core.errors import printable
from resnet_lab.core.figure_names import figure_name

if TYPE_CHECKING:
    from resnet_lab.data.description import Description
    from resnet_lab.evaluation.metrics.headline import Interval

LONGEST = 24
"""Letters after which a longer word may be parted."""

CHANNELS = {1: ("grey",), 3: ("red", "green", "blue")}


def breakable(text: str) -> Markup:
    """`printable` for a page, where a narrow column may break it after marks that part words, and within long words."""
    parted = re.sub(rf"[_/-]+|[^\s_/-]{{{LONGEST}}}(?=[^\s_/-])", "\\g<0>\0", printable(text))
    return Markup(str(escape(parted)).replace("\0", "<wbr>"))


def shortened(text: str, letters: int) -> str:
    """`printable`, cut where it is longer."""
    text = printable(text)
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def interval_notes(figures: Mapping[str, "Interval"]) -> list[str]:
    """A sentence for each method that is not the bootstrap: the figures whose intervals it gives."""
    methods: dict[str, list[str]] = {}
    for name, each in figures.items():
        methods.setdefault(each.method, []).append(figure_name(name))
    return [
        f"No interval for {joined(names)}: {method.removeprefix('none: ')}."
        if method.startswith("none: ")
        else f"Interval for {joined(names)}: {method}."
        for method, names in methods.items()
        if "bootstrap" not in method
    ]


def signed(value: float, digits: int = 3) -> str:
    """Number with its sign; differences below the last digit are 0."""
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text[1:] if float(text[1:]) == 0 else text


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    minutes = round(seconds / 60)
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")


def joined(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def split_text(description: "Description") -> str:
    """Origin of the split."""
    if description.split_file is not None:
        return f"parts of {printable(str(description.split_file))}"
    folds = "" if description.folds is None else f", fold {description.fold} of {description.folds} (counted from 0)"
    return f"split with seed {description.seed}{folds}"


def device_text(device: Mapping[str, Any]) -> str:
    """The name of a device, and in brackets how it was used."""
    how = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in device.items() if name != "name")
    return f"{device.get('name')} ({how})"


def versions_text(versions: Mapping[str, str]) -> str:
    """`torch 2.9.1, resnet-lab 1.0`."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())
