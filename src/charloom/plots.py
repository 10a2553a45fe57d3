"""Numbers → pictures: every function takes ``ax=None`` and returns the Axes it drew on.

matplotlib is imported inside, and pyplot never: no window, no global state.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from charloom.errors import missing_extra
from charloom.files import atomic_write
from charloom.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def loss_curves(runs: Sequence[Run], *, ax: Axes | None = None) -> Axes:
    """Draw the course of each run: held-out loss as a line, training loss thin and dotted in the same colour.

    Args:
        runs: run folders with at least one validation each; one without is left out.
        ax: where to draw; None makes a figure of one.

    Returns:
        The Axes; steps across, bits per character up.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    ax = new_axes("loss curves") if ax is None else ax
    for run in runs:
        points = [event for event in run.events() if event.get("event") == "validation"]
        if not points:
            continue
        steps = [point["step"] for point in points]
        (line,) = ax.plot(steps, [_bits(p["loss"]) for p in points], marker=".", label=run.path.name)
        ax.plot(steps, [_bits(p["train_loss"]) for p in points], ":", linewidth=1, color=line.get_color())
    ax.set_xlabel("steps")
    ax.set_ylabel("bits per character (line: held out, dotted: training)")
    ax.grid(visible=True, alpha=0.3)
    if ax.get_lines():
        ax.legend()
    return ax


def new_axes(needed_for: str) -> Axes:
    """One Axes in a figure of its own.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise missing_extra("matplotlib", "plot", needed_for)
    from matplotlib.figure import Figure

    return Figure(figsize=(8, 5), layout="constrained").subplots()


def save(ax: Axes, path: Path) -> None:
    """Write the figure of an Axes; the ending of the name chooses the format, and no half picture is ever left.

    Raises:
        RunError: the file cannot be written.
    """
    figure = ax.figure
    picture = io.BytesIO()
    figure.savefig(picture, format=Path(path).suffix.removeprefix(".").lower(), dpi=144)  # type: ignore[union-attr]
    atomic_write(path, picture.getvalue())


def _bits(nats: float) -> float:
    return nats / math.log(2)
