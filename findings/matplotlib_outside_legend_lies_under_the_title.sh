#!/usr/bin/env bash
# matplotlib 3.10.7: with the constrained layout, a legend at loc="outside upper left" is drawn over the figure's title.
#
# The layout makes room at the top for the title and for the legend, but puts both at the same height: the title is
# centred at the edge, the legend begins there too. Below ("outside lower left") they are apart. No warning. Seen for a
# figure of 7 x 2.4 inches: the boxes of title and legend overlap above, and do not below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q matplotlib==3.10.7
"$folder/venv/bin/python" - <<'PYTHON'
import sys

from matplotlib.figure import Figure


def overlap(place):
    figure = Figure(figsize=(7, 2.4), layout="constrained")
    title = figure.suptitle("Effects on accuracy: a study of three parts")
    figure.subplots().plot([0, 1], label="95% interval of the difference")
    legend = figure.legend(loc=place, ncols=3)
    figure.draw_without_rendering()
    return legend.get_window_extent().overlaps(title.get_window_extent())


above, below = overlap("outside upper left"), overlap("outside lower left")
print(f"title and legend overlap: above {above}, below {below}")
sys.exit((above, below) != (True, False))
PYTHON
