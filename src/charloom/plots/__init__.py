"""Figures: every function takes ``ax=None`` (None makes a new figure) and returns the Axes it drew on.

matplotlib is imported inside the functions, and pyplot never: no window, no global state.
"""

from charloom.plots.curves import loss_curves, published_and_measured
from charloom.plots.figures import needs_matplotlib, new_axes, new_pair, save, themed_svg
from charloom.plots.insight import (
    character_map,
    compared_lags,
    context,
    far_context,
    gains,
    gradient_lags,
    leaning,
    leaning_map,
    saturation,
    singular_values,
    timescales,
    who_wins,
)
from charloom.plots.training_curve import training_curve

__all__ = [
    "character_map",
    "compared_lags",
    "context",
    "far_context",
    "gains",
    "gradient_lags",
    "leaning",
    "leaning_map",
    "loss_curves",
    "needs_matplotlib",
    "new_axes",
    "new_pair",
    "published_and_measured",
    "saturation",
    "save",
    "singular_values",
    "themed_svg",
    "timescales",
    "training_curve",
    "who_wins",
]
