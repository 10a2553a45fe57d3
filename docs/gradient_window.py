"""Figures for the page on backpropagation: how far every loss of a window reaches back, and where truncation cuts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from charloom.plots.figures import CUT, INK, new_axes

if TYPE_CHECKING:
    from jaxtyping import Float
    from matplotlib.axes import Axes
    from matplotlib.colors import LogNorm

_COLOURS = "viridis"  # perceptually uniform, distinguishable with any colour vision
_STATE_ARROW = {"arrowstyle": "-|>", "color": "#8a8a8a", "linewidth": 0.7, "mutation_scale": 5}
_STATE_ARROW |= {"shrinkA": 0, "shrinkB": 0}


def gradient_triangle(
    norms: Float[np.ndarray, "T T"],
    text: str,
    bptt_length: int,
    *,
    floor: float = 1e-4,
    ax: Axes | None = None,
) -> Axes:
    """Draw how far each loss reaches back: a triangle of gradient norms, on a logarithmic colour scale.

    Args:
        norms: ‖∂L_t/∂h_k‖, losses down the rows, states along the columns, as `insight.gradient_grid` measures it.
        text: at least T + 1 characters; step t reads text[t] and predicts text[t + 1].
        bptt_length: steps of a window; a line marks the border between windows, hatching the pairs without a gradient.
        floor: the norm of the darkest colour, which also stands for all smaller ones.
        ax: where to draw; None makes a figure of one.

    Returns:
        The Axes, characters read on x and predicted on y; its first collection has the squares, for a colour bar.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    ax = new_axes("gradient triangle") if ax is None else ax
    T = len(norms)
    reached = [(t, k) for t in range(T) for k in range(t + 1) if k // bptt_length == t // bptt_length]
    _draw_squares(ax, reached, [norms[t][k] for t, k in reached], floor)
    cuts = [(start, min(start + bptt_length, T)) for start in range(bptt_length, T, bptt_length)]
    for start, end in cuts:
        _draw_cut(ax, start, end)
    if cuts:
        _name_cut(ax, *max(cuts, key=lambda cut: cut[0] * (cut[1] - cut[0])))
    ax.set_xlim(-0.5, T - 0.5)
    ax.set_ylim(-0.5, T - 0.5)
    ax.set_aspect("equal")
    ax.set_xticks(range(T), [_visible(char) for char in text[:T]], family="monospace")
    ax.set_yticks(
        range(T), [_visible(char) for char in text[1 : T + 1]], family="monospace", va="center_baseline"
    )
    ax.tick_params(length=0, pad=3)
    ax.spines[["top", "right", "left", "bottom"]].set_visible(False)
    ax.set_xlabel("the state behind this character, k →")
    ax.set_ylabel("the loss of predicting this one, t →", labelpad=6)
    return ax


def gradient_river(
    norms: Float[np.ndarray, "T"], bptt_length: int, *, floor: float = 1e-4, ax: Axes | None = None
) -> Axes:
    """Draw the unrolled network: state flows right, and the last loss's gradient left below it, as wide as its norm.

    Args:
        norms: ‖∂L_t/∂h_k‖ of the last loss, one per step: the last row of the norms for `gradient_triangle`.
        bptt_length: steps of a window; the river ends at the start of the last one.
        floor: as in `gradient_triangle`, so equal norms have equal colours.
        ax: where to draw; None makes a figure of one.

    Returns:
        The Axes, with steps on x.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    ax = new_axes("gradient river") if ax is None else ax
    T = len(norms)
    for k in range(T - 1):
        ax.annotate("", (k + 0.9, 1), (k + 0.1, 1), arrowprops=_STATE_ARROW)
    ax.plot(range(T), [1] * T, "o", color=INK, markersize=3.5)
    _draw_river(ax, norms, floor)
    for start in range(bptt_length, T, bptt_length):
        ax.axvline(start - 0.5, color=CUT, linewidth=1.2, linestyle=(0, (3, 2)))
    ax.set_xlim(-0.5, T - 0.5)
    ax.set_ylim(-0.75, 1.35)
    ax.set_yticks([1, 0], ["state →", "← gradient"])
    ax.text(T - 0.3, 0, "L", va="center", color=INK, fontstyle="italic")
    ax.tick_params(length=0, labelbottom=False)
    ax.spines[["top", "right", "left", "bottom"]].set_visible(False)
    return ax


def _log_scale(floor: float) -> LogNorm:
    from matplotlib.colors import LogNorm

    return LogNorm(floor, 1.0, clip=True)


def _draw_squares(ax: Axes, places: list[tuple[int, int]], norms: list[float], floor: float) -> None:
    """One square per loss and state, (t, k), coloured by its norm."""
    from matplotlib.collections import PolyCollection

    corners = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
    squares = [[(k + dx, t + dy) for dx, dy in corners] for t, k in places]
    drawn = PolyCollection(
        squares, array=norms, cmap=_COLOURS, norm=_log_scale(floor), edgecolors="face", linewidths=0.2
    )
    ax.add_collection(drawn)


def _draw_cut(ax: Axes, start: int, end: int) -> None:
    """The border before a window, and hatching over the states that truncation cuts off from its losses."""
    ax.fill_between(
        [-0.5, start - 0.5],
        start - 0.5,
        end - 0.5,
        facecolor="none",
        edgecolor="#c4c4c4",
        hatch="///",
        linewidth=0,
    )
    ax.plot([start - 0.5] * 2, [start - 1.5, end - 0.5], color=CUT, linewidth=1.2, linestyle=(0, (3, 2)))


def _name_cut(ax: Axes, start: int, end: int) -> None:
    """Explain the hatching once, in the largest hatched area."""
    ax.text(
        start / 2 - 0.5,
        (start + end) / 2 - 0.5,
        "cut: the state went on,\nno gradient comes back",
        ha="center",
        va="center",
        color=CUT,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 3},
    )


def _draw_river(ax: Axes, norms: Float[np.ndarray, "T"], floor: float) -> None:
    """One trapezium between each two neighbouring steps, coloured by the norm at the earlier one."""
    from matplotlib import colormaps

    scale, colours, widest = _log_scale(floor), colormaps[_COLOURS], max(norms)
    for k, (here, ahead) in enumerate(zip(norms, norms[1:])):
        if here == 0:  # cut
            continue
        half, half_ahead = 0.6 * here / widest, 0.6 * ahead / widest
        colour = colours(scale(here))
        ax.fill_between([k, k + 1], [-half, -half_ahead], [half, half_ahead], color=colour, linewidth=0.6)


def _visible(char: str) -> str:
    return {" ": "␣", "\n": "⏎", "\t": "⇥"}.get(char, char)
