"""Draw the README's picture: text that a model generated, tinted by surprisal, beside its gradient flow.

    python docs/readme_picture.py RUN

RUN is a run folder whose corpus is available, such as one made by ``charloom train tinyshakespeare.txt --minutes 2``.
Writes ``docs/readme.png``.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import charloom
from charloom import plots

OUT = Path(__file__).parent / "readme.png"
PROMPT, SEED, TEMPERATURE = "ROMEO:", 3, 0.6
LINES, COLUMNS = 15, 60
TINT = mpl.colormaps["YlOrRd"]
FULL_TINT_BITS = 8.0


def draw(run: str) -> Figure:
    """Both panels."""
    model = charloom.load(run)
    (sample,) = model.sample(PROMPT, length=900, temperature=TEMPERATURE, seed=SEED, log_probs=True)
    bits = [0.0] * len(PROMPT) + [-nats / math.log(2) for nats in sample.log_probs]
    figure = Figure(figsize=(11, 4.4), layout="constrained", dpi=110)
    text, flow = figure.subplots(1, 2, width_ratios=(1.25, 1))
    draw_text(text, PROMPT + sample.text, bits)
    plots.gradient_lags(charloom.gradients(run), ax=flow)
    flow.set_title("how far its gradients reach back", fontsize=10)
    return figure


def draw_text(ax: mpl.axes.Axes, text: str, bits: list[float]) -> None:
    """One cell per character; the redder, the less the model expected it."""
    ax.set(xlim=(0, COLUMNS), ylim=(LINES, 0), xticks=[], yticks=[])
    ax.set_title("generated text, tinted by surprisal (0 to 8 bits per character)", fontsize=10)
    ax.spines[:].set_visible(False)
    row = column = 0
    for char, surprisal in zip(text, bits, strict=True):
        if char == "\n" or column == COLUMNS:
            row, column = row + 1, 0
            if char == "\n":
                continue
        if row == LINES:
            return
        shade = TINT(min(surprisal, FULL_TINT_BITS) / FULL_TINT_BITS * 0.7)
        if surprisal > 0:
            ax.add_patch(Rectangle((column, row + 0.05), 1, 0.9, facecolor=shade, linewidth=0))
        ax.text(
            column + 0.5,
            row + 0.5,
            char,
            family="DejaVu Sans Mono",
            fontsize=9,
            ha="center",
            va="center_baseline",
        )
        column += 1


if __name__ == "__main__":
    draw(sys.argv[1]).savefig(OUT)
    sys.stdout.write(f"wrote {OUT}\n")
