"""Building blocks of report pages: sections, tables, figures, coloured texts and choices.

No page runs a script. A choice is a group of radio buttons; a CSS rule shows the panel of the checked one, so it
works with a keyboard, with a screen reader and offline.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

from charloom import plots
from charloom.generation import visible
from charloom.report.page import paragraphs

if TYPE_CHECKING:
    from jaxtyping import Int
    from matplotlib.axes import Axes
    from numpy import ndarray as Array

STYLE = """
section { border-top: 1px solid var(--rule); padding: 1rem 0; }
h2 { font-size: 1.1rem; }
h3 { font-size: 0.95rem; margin: 1rem 0 0.3rem; }
p { margin: 0.4rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; }
caption { text-align: start; color: var(--faint); padding: 0.3rem 0; }
th, td { text-align: start; padding: 0.15rem 0.7rem 0.15rem 0; vertical-align: top; }
th { font-weight: normal; color: var(--faint); }
td.number { text-align: end; white-space: nowrap; }
figure { margin: 0.8rem 0; }
figcaption, .remark { color: var(--faint); font-size: 0.85rem; }
@media print { .download { display: none; } section, figure { break-inside: avoid-page; } }
"""

_CHOICE_STYLE = """
.choice { border: 0; margin: 0.5rem 0; padding: 0; min-width: 0; }
.choice legend { color: var(--faint); font-size: 0.85rem; padding: 0; }
.choice > input { position: absolute; opacity: 0; width: 1px; height: 1px; }
.labels { unicode-bidi: plaintext; text-align: start; overflow-wrap: anywhere; }
.labels > label { cursor: pointer; }
.choice.list label { display: inline-block; margin-inline-end: 1rem; font-size: 0.9rem; }
.panel { display: none; margin-top: 0.6rem; }
.text { border-inline-start: 3px solid var(--rule); padding-inline-start: 0.8rem; }
:root { --n1: #e4f0f8; --n2: #c3dff0; --n3: #94c6e4; --n4: #5aa5d1; --p1: #fdeee0; --p2: #fbd9bb; --p3: #f7b988; --p4: #ec9150; }
@media (prefers-color-scheme: dark) {
  :root { --n1: #1c2a33; --n2: #1d3a4c; --n3: #1c4d69; --n4: #1b658c; --p1: #33261b; --p2: #4c341e; --p3: #6b441e; --p4: #8f571d; }
}
@media print {
  :root { --n1: #e4f0f8; --n2: #c3dff0; --n3: #94c6e4; --n4: #5aa5d1; --p1: #fdeee0; --p2: #fbd9bb; --p3: #f7b988; --p4: #ec9150; }
  .text { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
.n1 { background: var(--n1); } .n2 { background: var(--n2); } .n3 { background: var(--n3); } .n4 { background: var(--n4); }
.p1 { background: var(--p1); } .p2 { background: var(--p2); } .p3 { background: var(--p3); } .p4 { background: var(--p4); }
.target { text-decoration: underline double; text-underline-offset: 0.2em; }
"""

LEVELS = 4
"""Shades per colour."""


def section(title: str, sentences: Sequence[str], content: str) -> str:
    """A section of the page; the title and sentences are plain text, the content is markup."""
    return f"<section>\n<h2>{escape(title)}</h2>\n{paragraphs(sentences)}{content}</section>\n"


def table(caption: str, head: Sequence[str], rows: Iterable[str], *, cls: str = "") -> str:
    """A table with a caption; rows are markup."""
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    return (
        f'<div class="wide"><table{f" class={cls!r}" if cls else ""}>\n<caption>{escape(caption)}</caption>\n'
        f"<tr>{heads}</tr>\n{''.join(rows)}</table></div>\n"
    )


def row(*cells: str | float | None) -> str:
    """A row of plain texts and numbers; a missing number is shown as a dash.

    Example:
        >>> row("layer 0", 2.5, None)
        '<tr><td>layer 0</td><td class="number">2.5</td><td class="number">–</td></tr>\\n'
    """
    made = (
        f"<td>{escape(visible(cell))}</td>"
        if isinstance(cell, str)
        else f'<td class="number">{"–" if cell is None else f"{cell:.4g}"}</td>'
        for cell in cells
    )
    return f"<tr>{''.join(made)}</tr>\n"


def picture(name: str, ax: Axes, caption: str) -> str:
    """A matplotlib figure with a caption; `name` is unique on the page."""
    svg = plots.themed_svg(ax, name=name, label=caption)
    return f"<figure>\n{svg}\n<figcaption>{escape(visible(caption))}</figcaption>\n</figure>\n"


def coloured(text: Sequence[str], levels: Int[Array, "N"], *, target: int | None = None) -> str:
    """A text shaded by a level per character: from −4 (first colour, darkest) through 0 (none) to 4 (second colour).

    Neighbours of the same shade share a span, and spans change only colour, so joined letters stay joined. The
    character at index `target` is underlined.
    """
    marks = [(int(level), i == target) for i, level in enumerate(levels)]
    parts = []
    for (level, aimed), run in groupby(range(len(text)), key=marks.__getitem__):
        shown = escape(visible("".join(text[i] for i in run)))
        classes = [f"{'n' if level < 0 else 'p'}{abs(level)}"] * (level != 0) + ["target"] * aimed
        parts.append(f'<span class="{" ".join(classes)}">{shown}</span>' if classes else shown)
    return f'<div class="text" lang="" dir="auto">{"".join(parts)}</div>\n'


def choice_style(most: int) -> str:
    """CSS rules for `choice` with up to `most` options."""

    def rule(state: str, group: str) -> str:
        return ", ".join(
            f".choice > input:nth-of-type({i}):{state} ~ .{group} > :nth-child({i})"
            for i in range(1, most + 1)
        )

    chosen, focused, shown = (
        rule("checked", "labels"),
        rule("focus-visible", "labels"),
        rule("checked", "panels"),
    )
    return (
        f"{_CHOICE_STYLE}{chosen} {{ color: var(--prompt); text-decoration: underline; text-underline-offset: 0.2em; }}\n"
        f"{focused} {{ outline: 2px solid var(--prompt); }}\n{shown} {{ display: block; }}\n"
    )


def choice(
    name: str,
    legend: str,
    options: Sequence[tuple[str, str, str]],
    *,
    as_list: bool = True,
    checked: int = 0,
) -> str:
    """Radio buttons and panels, of which only the checked one's is visible.

    No buttons come between the labels, so that their letters join as in any text.

    Args:
        name: of the group, unique on the page.
        legend: plain text.
        options: (label as markup, text for screen readers, panel as markup).
        as_list: whether the labels are separated; otherwise they run together like the characters of a text.
        checked: index of the option shown first.
    """
    buttons = "".join(
        f'<input type="radio" name="{name}" id="{name}-{i}" aria-label="{escape(visible(said))}"{" checked" * (i == checked)}>'
        for i, (_, said, _) in enumerate(options)
    )
    labels = "".join(f'<label for="{name}-{i}">{label}</label>' for i, (label, _, _) in enumerate(options))
    panels = "".join(f'<div class="panel">{panel}</div>\n' for _, _, panel in options)
    return (
        f'<fieldset class="choice{" list" if as_list else ""}"><legend>{escape(legend)}</legend>\n{buttons}\n'
        f'<div class="labels" lang="" dir="auto">{labels}</div>\n<div class="panels">\n{panels}</div></fieldset>\n'
    )
