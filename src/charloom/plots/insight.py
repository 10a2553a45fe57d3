"""What an inspection found, one picture a question; the numbers are those of `charloom.insight`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from charloom.generation import sign
from charloom.insight.connectivity import Connectivity
from charloom.insight.context import FarContext
from charloom.insight.embedding import Embedding
from charloom.insight.errors import Group
from charloom.insight.features import char_class, is_vowel
from charloom.insight.gates import Gates
from charloom.insight.gradient_flow import HORIZON_SHARE, Decay, Flow, GradientFlow, farthest
from charloom.insight.jacobian import StepJacobian
from charloom.insight.results import ContextCurve
from charloom.plots.figures import COLOURS, CUT, FAINT, INK, legend, new_axes

if TYPE_CHECKING:
    from jaxtyping import Float
    from matplotlib.axes import Axes
    from numpy import ndarray as Array

FLOOR = 1e-8
"""Gradients are drawn down to this share of lag 0's: what is smaller is nothing, by any measure."""

_KINDS = (
    ("vowels", COLOURS[1]),
    ("other letters", COLOURS[0]),
    ("digits", COLOURS[2]),
    ("all else", COLOURS[3]),
)


def gradient_lags(flow: GradientFlow, *, ax: Axes | None = None) -> Axes:
    """Draw how the gradient fades with the lag, as a share of lag 0's: trained as lines, before training dotted.

    Returns:
        The Axes; lags across, a line a state array and the horizon's share marked.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    ax = new_axes("gradient flow") if ax is None else ax
    lowest = 1.0
    for (decay, before), colour in zip(
        zip(flow.trained.arrays, flow.initial.arrays, strict=True), _cycled(), strict=False
    ):
        name = f"layer {decay.layer} {decay.array}"
        lowest = min(
            lowest, *(_draw_decay(ax, *one, color=colour) for one in ((decay, name, "-"), (before, "", ":")))
        )
    if any(before.grad_norm_by_lag[0] > 0 for before in flow.initial.arrays):
        ax.plot([], [], ":", color=INK, label="before training")
    return _finish_lags(ax, lowest)


def compared_lags(flows: Mapping[str, Flow], *, ax: Axes | None = None) -> Axes:
    """Draw the gradients of several networks in one picture, of each the array that reaches farthest.

    Args:
        flows: of each network, under its name.
        ax: where to draw; None makes a figure of one.
    """
    ax = new_axes("gradient flow") if ax is None else ax
    lowest = 1.0
    for (name, flow), colour in zip(flows.items(), _cycled(), strict=False):
        lowest = min(lowest, _draw_decay(ax, farthest(flow), name, "-", color=colour))
    return _finish_lags(ax, lowest)


def gains(jacobian: Sequence[StepJacobian], *, ax: Axes | None = None) -> Axes:
    """Draw the largest gain of k steps taken together, layer by layer: above 1 the state's past grows, below it fades."""
    ax = new_axes("Jacobians") if ax is None else ax
    for one, colour in zip(jacobian, _cycled(), strict=False):
        gain = np.exp(np.clip(one.log_gain_by_lag, math.log(FLOOR), 700 * math.log(2)))
        ax.plot(np.arange(1, len(gain) + 1), gain, color=colour, label=f"layer {one.layer}")
    ax.axhline(1.0, color=FAINT, linewidth=0.8)
    ax.set_yscale("log")
    _labels(ax, "steps taken together", "largest singular value of their Jacobian")
    return ax


def singular_values(jacobian: Sequence[StepJacobian], *, ax: Axes | None = None) -> Axes:
    """Draw the singular values of one step's Jacobian in their order: how many directions are kept, and how many lost."""
    ax = new_axes("Jacobians") if ax is None else ax
    for one, colour in zip(jacobian, _cycled(), strict=False):
        values = np.maximum(one.singular_values, FLOOR)
        ax.plot(np.arange(1, len(values) + 1), values, color=colour, label=f"layer {one.layer}")
    ax.axhline(1.0, color=FAINT, linewidth=0.8)
    ax.set_yscale("log")
    _labels(ax, "direction, from the largest", "singular value of one step's Jacobian")
    return ax


def context(curve: ContextCurve, *, ax: Axes | None = None) -> Axes:
    """Draw the loss against the characters of context given, and where more gain under 1 %."""
    ax = new_axes("context curve") if ax is None else ax
    bits = _bits(curve.loss_nats)
    ax.plot(np.arange(1, len(bits) + 1), bits, color=COLOURS[0])
    if curve.enough_chars is not None:
        ax.axvline(curve.enough_chars, color=FAINT, linestyle=(0, (3, 2)), linewidth=1)
        ax.annotate(
            f" more than {curve.enough_chars} gain under 1 %",
            (curve.enough_chars, float(bits.max())),
            va="top",
            color=FAINT,
        )
    ax.set_xscale("log")
    _labels(ax, "characters of context", "bits per character")
    return ax


def far_context(far: FarContext, *, ax: Axes | None = None) -> Axes:
    """Draw what the characters beyond the nearest k are good for: left out, shuffled, and as they stand."""
    ax = new_axes("context curve") if ax is None else ax
    kept = [str(k) for k in far.kept_chars]
    ax.plot(
        kept, _bits(far.truncated_nats), "o--", color=COLOURS[1], linewidth=0.8, label="the farther left out"
    )
    ax.plot(
        kept, _bits(far.shuffled_nats), "D--", color=COLOURS[2], linewidth=0.8, label="the farther shuffled"
    )
    ax.axhline(
        float(_bits(np.array(far.full_nats))), color=COLOURS[0], label=f"all {far.reach_chars} as they stand"
    )
    _labels(ax, "nearest characters kept", "bits per character")
    return ax


def saturation(gates: Gates, *, ax: Axes | None = None) -> Axes:
    """Draw every unit by how often its gate is shut and how often open; the farther from the corner, the more it decides."""
    ax = new_axes("gates") if ax is None else ax
    for one, colour in zip(gates.saturation, _cycled(), strict=False):
        ax.plot(
            one.low,
            one.high,
            "o",
            markersize=3,
            alpha=0.6,
            color=colour,
            label=f"layer {one.layer} {one.gate}",
        )
    ax.plot([0, 1], [1, 0], color=FAINT, linewidth=0.8)
    ax.set_aspect("equal")
    _labels(ax, "share of characters below 0.1", "share above 0.9")
    return ax


def timescales(gates: Gates, *, ax: Axes | None = None) -> Axes:
    """Draw how long the units of each layer keep what they hold, in their order."""
    ax = new_axes("gates") if ax is None else ax
    for one, colour in zip(gates.timescales, _cycled(), strict=False):
        chars = np.sort(np.clip(one.chars, 1e-2, 1e6))[::-1]
        ax.plot(np.arange(1, len(chars) + 1), chars, color=colour, label=f"layer {one.layer}")
    ax.set_yscale("log")
    _labels(ax, "unit, from the slowest", "characters until 1/e is left")
    return ax


def leaning(found: Connectivity, *, ax: Axes | None = None) -> Axes:
    """Draw how far predictions lean on the character k back, on the average of the passage."""
    ax = new_axes("connectivity") if ax is None else ax
    ax.plot(np.arange(len(found.mean_by_lag)), np.maximum(found.mean_by_lag, 1e-12), color=COLOURS[0])
    ax.set_yscale("log")
    _labels(ax, "characters back from the newest one read", "mean leaning (change of the logit)")
    return ax


def leaning_map(found: Connectivity, passage: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """Draw the leanings of every prediction: a row a character predicted, a column a character back, for a paper."""
    ax = new_axes("connectivity") if ax is None else ax
    shares = found.lean / np.maximum(found.lean.max(axis=1, keepdims=True), 1e-300)
    ax.imshow(np.sqrt(shares), cmap="viridis", aspect="auto", interpolation="nearest")
    predicted = [sign(char) for char in passage[found.first : found.first + len(found.lean)]]
    ax.set_yticks(range(len(predicted)), predicted, parse_math=False, fontsize=5)
    ax.set_xlabel("characters back from the newest one read")
    ax.set_ylabel("character predicted")
    return ax


def character_map(found: Embedding, *, ax: Axes | None = None) -> Axes:
    """Draw the learnt characters on their two directions of largest variance."""
    ax = new_axes("embedding") if ax is None else ax
    kinds = [_kind(char) for char in found.chars]
    for name, colour in _KINDS:
        here = [i for i, kind in enumerate(kinds) if kind == name]
        if here:
            ax.plot(*found.places[here].T, ".", markersize=2, color=colour, label=name)
        for i in here:
            x, y = found.places[i]
            ax.text(x, y, sign(found.chars[i]), color=colour, ha="center", va="center", parse_math=False)
    across, up = found.explained_fraction
    _labels(ax, f"{across:.0%} of the variance", f"{up:.0%} of the variance")
    return ax


def who_wins(groups: Sequence[Group], *, ax: Axes | None = None) -> Axes:
    """Draw what each group of characters costs the network, and the best n-gram beside it."""
    ax = new_axes("errors") if ax is None else ax
    rows = np.arange(len(groups))[::-1]
    if any(group.ngram_bits_per_char for group in groups):
        best = [min(group.ngram_bits_per_char, default=math.nan) for group in groups]
        ax.hlines(rows, best, [group.bits_per_char for group in groups], color=FAINT, linewidth=1)
        ax.plot(best, rows, "o", mfc="none", color=CUT, label="the best n-gram there")
    ax.plot([group.bits_per_char for group in groups], rows, "o", color=COLOURS[0], label="the network")
    ax.set_yticks(rows, [f"{group.name} ({group.num_chars:,})" for group in groups])
    _labels(ax, "bits per character", "")
    return ax


def _draw_decay(ax: Axes, decay: Decay, name: str, style: str, *, color: str) -> float:
    """One curve as a share of lag 0's; nothing where lag 0 has no gradient. Returns its lowest value drawn."""
    norms: Float[Array, "K"] = decay.grad_norm_by_lag
    if not norms[0] > 0:
        return 1.0
    shares = np.where(np.isfinite(norms), norms, np.nan) / norms[0]
    drawn = np.where(shares >= FLOOR, shares, np.nan)
    ax.plot(np.arange(len(norms)), drawn, style, color=color, label=name or None, linewidth=1.4)
    return float(np.nanmin(drawn))


def _finish_lags(ax: Axes, lowest: float) -> Axes:
    ax.axhline(HORIZON_SHARE, color=FAINT, linestyle=(0, (3, 2)), linewidth=1)
    ax.annotate(" 1 %: the memory horizon", (0, HORIZON_SHARE), va="bottom", color=FAINT)
    ax.set_yscale("log")
    ax.set_ylim(bottom=min(HORIZON_SHARE / 3, lowest))
    _labels(ax, "characters back", "gradient in the state, as a share of lag 0's")
    return ax


def _labels(ax: Axes, across: str, up: str) -> None:
    ax.set_xlabel(across)
    ax.set_ylabel(up)
    ax.grid(visible=True, alpha=0.3)
    legend(ax)


def _cycled() -> Sequence[str]:
    return COLOURS * 16


def _kind(char: str) -> str:
    kind = char_class(char)
    if kind in ("lowercase", "uppercase", "letter"):
        return "vowels" if is_vowel(char) else "other letters"
    return "digits" if kind == "digit" else "all else"


def _bits(nats: Float[Array, "..."]) -> Float[Array, "..."]:
    found: Array = np.asarray(nats) / math.log(2)
    return found
