"""Creating figures, and saving them as files or as parts of a page.

The colours are those of Okabe & Ito (2008), distinguishable with any colour vision.
"""

from __future__ import annotations

import io
import re
import warnings
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charloom.errors import missing_extra
from charloom.files import atomic_write
from charloom.plots.fonts import use_installed_fonts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT, CUT, BLUE = "#3b3b3b", "#8a8a8a", "#d55e00", "#0072b2"
COLOURS = (BLUE, CUT, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")

_THEMED = {"#000000": "ink", "#ffffff": "page", INK: "ink", FAINT: "faint", "#b0b0b0": "rule"} | {
    colour: f"c{i}" for i, colour in enumerate(COLOURS, 1)
}
_LIGHT = f":root {{ {' '.join(f'--c{i}: {colour};' for i, colour in enumerate(COLOURS, 1))} }}"
THEME_STYLE = (
    f"{_LIGHT}\n"
    "@media (prefers-color-scheme: dark) { :root { --c1: #6db6e8; --c2: #ff9a56; --c3: #4fd0a5; --c4: #e6a6c8; "
    "--c5: #ffc24d; --c6: #9ad7f7; } }\n"
    f"@media print {{ {_LIGHT} }}\n"
    "figure svg { width: 100%; max-width: 34rem; height: auto; } svg text { fill: var(--ink); } "
    "svg * { stroke-linejoin: round; stroke-linecap: butt; }\n"
)
"""Rules for the colours that `themed_svg` refers to, in light mode, dark mode and print."""


WIDTH_IN, HEIGHT_IN = 4.8, 3.7
"""Size of a figure: as wide as a page on a telephone, so that its letters are as large there as they are here."""

_DPI = 200
_LEGEND_BELOW_POINTS = 36  # tick labels and the label of the x axis


def needs_matplotlib(needed_for: str) -> None:
    """Fail early, before any long computation.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise missing_extra("matplotlib", "plot", needed_for)


def new_axes(needed_for: str) -> Axes:
    """One Axes in a new figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    needs_matplotlib(needed_for)
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH_IN, HEIGHT_IN), layout="constrained").subplots()


def new_pair(needed_for: str) -> tuple[Axes, Axes]:
    """Two Axes side by side in one figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    needs_matplotlib(needed_for)
    from matplotlib.figure import Figure

    left, right = Figure(figsize=(2 * WIDTH_IN, HEIGHT_IN), layout="constrained").subplots(1, 2)
    return left, right


def legend(ax: Axes) -> None:
    """Add a legend below the axes, where it covers no curve, if there are labels.

    Dollar signs in labels are not parsed as math.
    """
    from matplotlib.transforms import ScaledTranslation

    if not ax.get_legend_handles_labels()[0]:
        return
    below = ScaledTranslation(0, -_LEGEND_BELOW_POINTS / 72, ax.figure.dpi_scale_trans)
    place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "borderaxespad": 0}
    drawn = ax.legend(frameon=False, fontsize="small", ncols=2, bbox_transform=ax.transAxes + below, **place)
    for text in drawn.get_texts():
        text.set_parse_math(False)


def labelled(ax: Axes, across: str, up: str) -> Axes:
    """Add axis labels, a faint grid and a legend below."""
    ax.set_xlabel(across)
    ax.set_ylabel(up)
    ax.grid(visible=True, alpha=0.3)
    legend(ax)
    return ax


def save(ax: Axes, path: Path) -> tuple[str, ...]:
    """Write the figure of an Axes atomically; the file name's extension selects the format.

    Returns:
        A note on characters that no installed font has, if there are any.

    Raises:
        RunError: the file cannot be written.
    """
    figure = ax.get_figure(root=True)
    assert figure is not None
    notes = use_installed_fonts(figure)
    picture = io.BytesIO()
    figure.savefig(picture, format=Path(path).suffix.removeprefix(".").lower(), dpi=_DPI)
    atomic_write(path, picture.getvalue())
    return notes


def themed_svg(ax: Axes, *, name: str, label: str) -> str:
    """The figure of an Axes as inline SVG, with the page's colours and selectable text.

    Nothing in it is fetched, and no identifier occurs in two figures of a page.

    Args:
        ax: any Axes of the figure.
        name: unique on the page.
        label: for screen readers.
    """
    from matplotlib import rc_context

    drawn = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the reader's fonts draw it, not ours
        ax.figure.savefig(drawn, format="svg", metadata={"Date": None})  # type: ignore[union-attr]
    svg = drawn.getvalue()
    svg = svg[svg.index("<svg") :]
    for tag in ("metadata", "style"):  # its rules would apply to the whole page
        svg = re.sub(rf"<{tag}.*?</{tag}>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # nothing refers to a group
    svg = re.sub(r'style="[^"]*"', lambda found: _themed(found[0]), svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)


def _themed(style: str) -> str:
    return re.sub(
        r"#[0-9a-f]{6}",
        lambda found: f"var(--{_THEMED[found[0]]})" if found[0] in _THEMED else found[0],
        style,
    )
