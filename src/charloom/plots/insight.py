"""Figures of an inspection, one per question; the numbers are those of `charloom.insight`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from charloom.generation import sign
from charloom.insight.connectivity import Connectivity
from charloom.insight.context import FarContext
from charloom.insight.embedding import Embedding
from charloom.insight.error_analysis import Group
from charloom.insight.features import char_class, is_vowel
from charloom.insight.gates import Gates
from charloom.insight.gradient_flow import HORIZON_SHARE, Decay, Flow, GradientFlow, farthest
from charloom.insight.jacobian import StepJacobian
from charloom.insight.results import ContextCurve
from charloom.plots.figures import COLOURS, CUT, FAINT, INK, labelled, new_axes

if TYPE_CHECKING:
    from jaxtyping import Float
    from matplotlib.axes import Axes
    from numpy import ndarray as Array

FLOOR = 1e-8
"""Gradients are drawn down to this share of lag 0's; smaller values are negligible."""

_CYCLE = COLOURS * 16
_KINDS = {"vowels": COLOURS[1], "other letters": COLOURS[0], "digits": COLOURS[2], "other": COLOURS[3]}


def gradient_lags(flow: GradientFlow, *, ax: Axes | None = None) -> Axes:
    """Draw the gradient by lag as a share of lag 0's, one line per state array; dotted before training.

    The share that defines the memory horizon is marked.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    ax = new_axes("gradient flow") if ax is None else ax
    lowest = 1.0
    for after, before, colour in zip(flow.trained.arrays, flow.initial.arrays, _CYCLE, strict=False):
        name = f"layer {after.layer} {after.array}"
        lowest = min(lowest, _draw_decay(ax, after, name, "-", color=colour))
        lowest = min(lowest, _draw_decay(ax, before, "", ":", color=colour))
    if any(before.grad_norm_by_lag[0] > 0 for before in flow.initial.arrays):
        ax.plot([], [], ":", color=INK, label="before training")
    return _finish_lags(ax, lowest)


def compared_lags(flows: Mapping[str, Flow], *, ax: Axes | None = None) -> Axes:
    """Compare the gradients of several networks by name, each represented by the array that reaches farthest."""
    ax = new_axes("gradient flow") if ax is None else ax
    lowest = 1.0
    for (name, flow), colour in zip(flows.items(), _CYCLE, strict=False):
        lowest = min(lowest, _draw_decay(ax, farthest(flow), name, "-", color=colour))
    return _finish_lags(ax, lowest)


def gains(jacobian: Sequence[StepJacobian], *, ax: Axes | None = None) -> Axes:
    """Draw the largest gain over k steps per layer: above 1 past state is amplified, below 1 it decays."""
    ax = new_axes("Jacobians") if ax is None else ax
    bounds = (math.log(FLOOR), 700 * math.log(2))
    _draw_layers(ax, [np.exp(np.clip(one.log_gain_by_lag, *bounds)) for one in jacobian])
    ax.axhline(1.0, color=FAINT, linewidth=0.8)
    return labelled(ax, "number of steps", "largest singular value of their Jacobian")


def singular_values(jacobian: Sequence[StepJacobian], *, ax: Axes | None = None) -> Axes:
    """Draw the singular values of one step's Jacobian in order: how many directions are retained, and how many lost."""
    ax = new_axes("Jacobians") if ax is None else ax
    _draw_layers(ax, [np.maximum(one.singular_values, FLOOR) for one in jacobian])
    ax.axhline(1.0, color=FAINT, linewidth=0.8)
    return labelled(ax, "direction, largest first", "singular value of one step's Jacobian")


def context(curve: ContextCurve, *, ax: Axes | None = None) -> Axes:
    """Draw the loss by characters of context, and mark the number beyond which more gain under 1 %."""
    ax = new_axes("context curve") if ax is None else ax
    bits = _bits(curve.loss_nats)
    ax.plot(np.arange(1, len(bits) + 1), bits, color=COLOURS[0])
    if curve.enough_chars is not None:
        says = f"more than {curve.enough_chars} gain under 1 %"
        ax.axvline(curve.enough_chars, color=FAINT, linestyle=(0, (3, 2)), linewidth=1, label=says)
    ax.set_xscale("log")
    return labelled(ax, "characters of context", "bits per character")


def far_context(far: FarContext, *, ax: Axes | None = None) -> Axes:
    """Draw the loss with the characters beyond the nearest k removed, shuffled and unchanged."""
    ax = new_axes("context curve") if ax is None else ax
    kept = [str(k) for k in far.kept_chars]
    for nats, style, colour, name in (
        (far.truncated_nats, "o--", COLOURS[1], "farther characters removed"),
        (far.shuffled_nats, "D--", COLOURS[2], "farther characters shuffled"),
    ):
        ax.plot(kept, _bits(nats), style, color=colour, linewidth=0.8, label=name)
    ax.axhline(far.full_nats / math.log(2), color=COLOURS[0], label=f"all {far.reach_chars} unchanged")
    return labelled(ax, "nearest characters kept", "bits per character")


def saturation(gates: Gates, *, ax: Axes | None = None) -> Axes:
    """Draw each unit by how often its gate is closed and open; the farther from the origin, the more binary it is."""
    ax = new_axes("gates") if ax is None else ax
    for one, colour in zip(gates.saturation, _CYCLE, strict=False):
        name = f"layer {one.layer} {one.gate}"
        ax.plot(one.low, one.high, "o", markersize=3, alpha=0.6, color=colour, label=name)
    ax.plot([0, 1], [1, 0], color=FAINT, linewidth=0.8)
    ax.set_aspect("equal")
    return labelled(ax, "share of characters below 0.1", "share above 0.9")


def timescales(gates: Gates, *, ax: Axes | None = None) -> Axes:
    """Draw how long the units of each layer retain their state, slowest first."""
    ax = new_axes("gates") if ax is None else ax
    _draw_layers(ax, [np.sort(np.clip(one.chars, 1e-2, 1e6))[::-1] for one in gates.timescales])
    return labelled(ax, "unit, slowest first", "characters until 1/e is left")


def leaning(found: Connectivity, *, ax: Axes | None = None) -> Axes:
    """Draw how much predictions depend on the character k back, averaged over the passage."""
    ax = new_axes("connectivity") if ax is None else ax
    ax.plot(np.arange(len(found.mean_by_lag)), np.maximum(found.mean_by_lag, 1e-12), color=COLOURS[0])
    ax.set_yscale("log")
    return labelled(ax, "characters back from the newest one read", "mean sensitivity of the logit")


def leaning_map(found: Connectivity, passage: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """Draw the sensitivities of every prediction, a row per predicted character and a column per lag, for a paper."""
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
    for name, colour in _KINDS.items():
        here = [i for i, kind in enumerate(kinds) if kind == name]
        if here:
            ax.plot(*found.places[here].T, ".", markersize=2, color=colour, label=name)
        for i in here:
            x, y = found.places[i]
            ax.text(x, y, sign(found.chars[i]), color=colour, ha="center", va="center", parse_math=False)
    across, up = found.explained_fraction
    return labelled(ax, f"{across:.0%} of the variance", f"{up:.0%} of the variance")


def who_wins(groups: Sequence[Group], *, ax: Axes | None = None) -> Axes:
    """Draw the cost of each group of characters for the network and for the best n-gram."""
    ax = new_axes("errors") if ax is None else ax
    rows = np.arange(len(groups))[::-1]
    own = [group.bits_per_char for group in groups]
    if any(group.ngram_bits_per_char for group in groups):
        best = [min(group.ngram_bits_per_char, default=math.nan) for group in groups]
        ax.hlines(rows, best, own, color=FAINT, linewidth=1)
        ax.plot(best, rows, "o", mfc="none", color=CUT, label="best n-gram for the group")
    ax.plot(own, rows, "o", color=COLOURS[0], label="network")
    ax.set_yticks(rows, [f"{group.name} ({group.num_chars:,})" for group in groups])
    return labelled(ax, "bits per character", "")


def _draw_layers(ax: Axes, curves: Sequence[Float[Array, "N"]]) -> None:
    """One curve per layer, from 1, on a logarithmic scale."""
    for layer, (values, colour) in enumerate(zip(curves, _CYCLE, strict=False)):
        ax.plot(np.arange(1, len(values) + 1), values, color=colour, label=f"layer {layer}")
    ax.set_yscale("log")


def _draw_decay(ax: Axes, decay: Decay, name: str, style: str, *, color: str) -> float:
    """Draw one curve as a share of lag 0's unless lag 0 has no gradient; return the lowest value drawn."""
    norms: Float[Array, "K"] = decay.grad_norm_by_lag
    if not norms[0] > 0:
        return 1.0
    shares = np.where(np.isfinite(norms), norms, np.nan) / norms[0]
    drawn = np.where(shares >= FLOOR, shares, np.nan)
    ax.plot(np.arange(len(norms)), drawn, style, color=color, label=name or None, linewidth=1.4)
    return float(np.nanmin(drawn))


def _finish_lags(ax: Axes, lowest: float) -> Axes:
    ax.axhline(HORIZON_SHARE, color=FAINT, linestyle=(0, (3, 2)), linewidth=1, label="1 %: memory horizon")
    ax.set_yscale("log")
    ax.set_ylim(bottom=min(HORIZON_SHARE / 3, lowest))
    return labelled(ax, "characters back", "gradient, as a share of lag 0")


def _kind(char: str) -> str:
    kind = char_class(char)
    if kind in ("lowercase", "uppercase", "letter"):
        return "vowels" if is_vowel(char) else "other letters"
    return "digits" if kind == "digit" else "other"


def _bits(nats: Float[Array, "..."]) -> Float[Array, "..."]:
    return np.asarray(nats) / math.log(2)
