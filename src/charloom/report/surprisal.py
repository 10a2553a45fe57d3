"""A text coloured by surprisal, as one HTML page.

Like every page of charloom it runs no scripts, fetches nothing, and reads no text as markup. The spans change only
colour and underline: anything that takes space (a border, padding, an element between two letters) would break the
joined letters of Arabic. The information in the colours is repeated as underlines, character titles, a table, and
JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np

from charloom.evaluation.surprisal import Oddity, Surprisals
from charloom.generation import visible
from charloom.report.page import char_markup, html_page, json_download, paragraphs

LEVELS_BITS = (1, 2, 4, 6, 8, 12)
"""Boundaries between colours."""

SHOWN_CHARS = 100_000
"""Maximum number of characters on a page."""

_STYLE = """
:root { --s1: #fff7d6; --s2: #ffe9ad; --s3: #fdd285; --s4: #fab268; --s5: #f58f5f; --s6: #f0716c; }
@media (prefers-color-scheme: dark) {
  :root { --s1: #2b2718; --s2: #40351a; --s3: #5a431a; --s4: #744a1a; --s5: #8c4420; --s6: #a3362e; }
}
@media print {
  :root { --s1: #fff7d6; --s2: #ffe9ad; --s3: #fdd285; --s4: #fab268; --s5: #f58f5f; --s6: #f0716c; }
  .text, .legend { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .download { display: none; }
}
.s1 { background: var(--s1); } .s2 { background: var(--s2); } .s3 { background: var(--s3); }
.s4 { background: var(--s4); } .s5 { background: var(--s5); } .s6 { background: var(--s6); }
.odd { text-decoration: underline double; text-underline-offset: 0.2em; }
.unknown { color: var(--faint); text-decoration: underline dotted; text-underline-offset: 0.2em; }
.newline::before { content: "↵"; color: var(--faint); }
.legend { color: var(--faint); font-size: 0.85rem; }
.legend span { color: var(--ink); }
section { border-top: 1px solid var(--rule); padding: 1rem 0; }
p { margin: 0.3rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; }
caption { text-align: start; color: var(--faint); }
th, td { text-align: start; padding: 0.2rem 1rem 0.2rem 0; vertical-align: top; white-space: nowrap; }
td:last-child { white-space: normal; overflow-wrap: anywhere; }
td.number { text-align: end; white-space: nowrap; }
"""


def level(bits: float) -> int:
    """The colour of a surprisal, from 0 (none) to 6.

    Example:
        >>> [level(bits) for bits in (0.0, 0.99, 1.0, 5.0, 12.0, 40.0)]
        [0, 0, 1, 3, 6, 6]
    """
    return int(np.searchsorted(LEVELS_BITS, bits, side="right"))


def surprisal_page(
    found: Surprisals,
    oddities: Sequence[Oddity],
    *,
    title: str,
    summary: Sequence[str],
    numbers: Mapping[str, Any],
) -> str:
    """Render a scored text.

    Args:
        found: the surprisal of each character.
        oddities: the characters to underline and list.
        title: heading of the page.
        summary: sentences below the heading.
        numbers: offered as a JSON download.
    """
    more = ""
    if len(found.chars) > SHOWN_CHARS:
        more = f'<p class="legend">Only the first {SHOWN_CHARS:,} of {len(found.chars):,} characters are shown.</p>\n'
    text = "".join(_spans(found, {one.offset for one in oddities}))
    return html_page(
        title=visible(title),
        style=_STYLE,
        body=f"{paragraphs(summary)}{json_download(numbers, name='surprisal.json')}{_table(oddities)}{_legend(found)}{more}"
        '<section aria-label="The text, coloured by surprisal">\n'
        f'<div class="text" lang="" dir="auto">{text}</div>\n</section>\n',
    )


def _spans(found: Surprisals, odd_offsets: set[int]) -> Iterator[str]:
    offset = 0
    for char, bits, unknown in zip(found.chars[:SHOWN_CHARS], found.bits, found.unknown):
        yield _span(char, float(bits), unknown=bool(unknown), odd=offset in odd_offsets)
        offset += len(char)


def _span(char: str, bits: float, *, unknown: bool, odd: bool) -> str:
    shown = escape(visible(char))
    charged = not np.isnan(bits)
    if not charged and not unknown:
        return shown
    classes = [f"s{level(bits)}"] if charged and level(bits) else []
    classes += ["odd"] * odd + ["unknown"] * unknown + ["newline"] * (char == "\n" and charged)
    title = f"{bits:.2f} bits" if charged else "unknown to the model: not charged"
    marked = f' class="{" ".join(classes)}"' if classes else ""
    return f'<span{marked} title="{title}">{shown}</span>'


def _legend(found: Surprisals) -> str:
    swatches = [f"<span>under {LEVELS_BITS[0]}</span>"]
    swatches += [
        f'<span class="s{i}">{low} to {high}</span>' for i, (low, high) in enumerate(pairwise(LEVELS_BITS), 1)
    ]
    swatches += [f'<span class="s{len(LEVELS_BITS)}">{LEVELS_BITS[-1]} or more</span>']
    others = '<span class="odd">double underline</span>: listed in the table above'
    if found.num_unknown:
        others += '; <span class="unknown">dotted underline</span>: unknown to the model'
    return f'<p class="legend">Surprisal in bits: {" · ".join(swatches)}; {others}.</p>\n'


def _table(oddities: Sequence[Oddity]) -> str:
    if not oddities:
        return ""
    names = ("bits", "line", "column", "character", "expected", "context")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    return (
        f"<table>\n<caption>The most surprising characters</caption>\n<tr>{head}</tr>\n"
        f"{''.join(map(_row, oddities))}</table>\n"
    )


def _row(one: Oddity) -> str:
    expected = (
        "–" if one.expected is None else f"{char_markup(one.expected)} ({one.expected_probability:.0%})"
    )
    around = f'{_line(one.before)}<span class="odd">{_line(one.char)}</span>{_line(one.after)}'
    return (
        f'<tr><td class="number">{one.bits:.2f}</td><td class="number">{one.line:,}</td>'
        f'<td class="number">{one.column:,}</td><td>{char_markup(one.char)}</td><td>{expected}</td>'
        f'<td lang="" dir="auto">{around}</td></tr>\n'
    )


def _line(text: str) -> str:
    return escape(visible(text.replace("\n", "↵")))
