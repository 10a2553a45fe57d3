"""The results of ``reproduce`` as one HTML page: both curves in one plot, figures, mistakes and samples.

Like all of charloom's pages it loads nothing, runs no script and never treats a model's text as markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from charloom.generation import visible
from charloom.plots import published_and_measured, themed_svg
from charloom.plots.figures import THEME_STYLE
from charloom.report.page import html_page
from charloom.reproduce.measure import Figure, Repetition

_STYLE = """
section { border-top: 1px solid var(--rule); padding: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: start; padding: 0.2rem 1rem 0.2rem 0; vertical-align: top; }
td.number { text-align: end; }
.text { border-inline-start: 3px solid var(--rule); padding-inline-start: 0.8rem; }
:root { --yes: #0b6b3a; --no: #a12a1e; }
@media (prefers-color-scheme: dark) { :root { --yes: #6fd19c; --no: #ff9d92; } }
.yes { color: var(--yes); }
.no { color: var(--no); }
"""


def page(repetitions: Sequence[Repetition]) -> str:
    """Render repetitions as one self-contained page."""
    return html_page(
        title="The five systems, repeated",
        style=THEME_STYLE + _STYLE,
        body="".join(_section(one) for one in repetitions),
    )


def _section(one: Repetition) -> str:
    figures = "".join(_row(figure) for figure in one.figures)
    honest = "".join(
        f'<tr><td>{escape(what)}</td><td class="number">{value:.4f}</td></tr>\n'
        for what, value in one.honest.items()
    )
    mistakes = "".join(
        f"<li><code>{escape(name)}</code>: {escape(was)}</li>\n" for name, was in one.mistakes.items()
    )
    samples = "".join(
        f'<h3>{escape(how)}</h3>\n<div class="text" lang="" dir="auto">{escape(visible(text))}</div>\n'
        for how, text in one.samples.items()
    )
    return (
        f"<section>\n<h2>{one.system.letter}. {escape(one.system.title)}</h2>\n{_picture(one)}\n"
        "<table>\n<tr><th>figure</th><th>published</th><th>measured</th><th>tolerance</th><th>other seeds</th></tr>\n"
        f"{figures}</table>\n<h3>Further measurements</h3>\n<table>\n{honest}</table>\n"
        f"<h3>Mistakes of the published form, corrected here</h3>\n<ul>\n{mistakes}</ul>\n{samples}</section>\n"
    )


def _row(figure: Figure) -> str:
    verdict = {
        True: '<span class="yes">within</span>',
        False: '<span class="no">not within</span>',
        None: "–",
    }
    tolerance = "–" if figure.target.tolerance is None else f"{figure.target.tolerance:g}"
    spread = ", ".join(f"{value:.3f}" for value in figure.by_seed[1:])
    earlier = ", ".join(f"{value:.3f}" for value in figure.earlier)
    seeds = "; ".join(filter(None, (spread, earlier and f"measured earlier: {earlier}"))) or "–"
    return (
        f'<tr><td>{escape(figure.target.what)}</td><td class="number">{figure.target.published:.4f}</td>'
        f'<td class="number">{figure.measured:.4f}</td><td>{tolerance} {verdict[figure.within]}</td><td>{seeds}</td></tr>\n'
    )


def _picture(one: Repetition) -> str:
    ax = published_and_measured(one.system.curve, one.curve, one.system.curve_unit)
    label = f"{one.system.title}: the published curve and the one measured here"
    return themed_svg(ax, name=one.system.name, label=label)
