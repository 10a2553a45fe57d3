"""Numbers → pictures: every function takes ``ax=None`` and returns the Axes it drew on.

matplotlib is imported inside, and pyplot never: no window, no global state.
"""

from charloom.plots.course import training_course
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
from charloom.plots.window import gradient_river, gradient_triangle

__all__ = [
    "character_map",
    "compared_lags",
    "context",
    "far_context",
    "gains",
    "gradient_lags",
    "gradient_river",
    "gradient_triangle",
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
    "training_course",
    "who_wins",
]
