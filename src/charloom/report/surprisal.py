"""A text coloured by surprisal, as one HTML page.

Like every page of charloom it runs no scripts, fetches nothing, and reads no text as markup. The spans change only
colour and underline: anything that takes space (a border, padding, an element between two letters) would break the
joined letters of Arabic. The information in the colours is repeated as underlines, titles of surprising characters, a
table, and JSON.

A long text opens quickly because neighbours of one colour share a span, and because the text is divided into parts of
some lines, which a browser lays out when they come into view.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charloom.evaluation.line_surprisal import LineSurprisal
from charloom.evaluation.surprisal import Oddity, Surprisals
from charloom.generation import visible
from charloom.report.page import char_markup, html_page, json_download, paragraphs

if TYPE_CHECKING:
    from jaxtyping import Float64
    from numpy import ndarray as Array

LEVELS_BITS = (1, 2, 4, 6, 8, 12)
"""Boundaries between colours."""

TITLED_FROM = 4
"""The colour from which each character has its own span, with its bits as a title."""

TITLE_DECIMALS = 2
SHOWN_CHARS = 500_000
"""Maximum number of characters on a page."""

_PART_LINES, _PART_CHARS = 30, 3000

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
.part { content-visibility: auto; contain-intrinsic-block-size: auto 30lh; unicode-bidi: plaintext; }
@media print { .part { content-visibility: visible; } }
.newline::before { content: "↵"; color: var(--faint); }
.legend { color: var(--faint); font-size: 0.85rem; }
.legend span { color: var(--ink); }
section { border-top: 1px solid var(--rule); padding: 1rem 0; }
p { margin: 0.3rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; }
caption { text-align: start; color: var(--faint); }
th, td { text-align: start; padding: 0.2rem 1rem 0.2rem 0; vertical-align: top; white-space: nowrap; }
td:last-child { white-space: normal; overflow-wrap: anywhere; min-width: 14rem; }
.wide { overflow-x: auto; }
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
    lines: Sequence[LineSurprisal] | None = None,
) -> str:
    """Render a scored text.

    Args:
        found: the surprisal of each character.
        oddities: the characters to underline and list.
        title: heading of the page.
        summary: sentences below the heading.
        numbers: offered as a JSON download, compressed.
        lines: lines to list instead of the oddities; None = the oddities.
    """
    table = _table(oddities) if lines is None else _line_table(lines)
    more = ""
    if len(found.chars) > SHOWN_CHARS:
        more = f'<p class="legend">Only the first {SHOWN_CHARS:,} of {len(found.chars):,} characters are shown.</p>\n'
    text = "".join(_parts(found, {one.offset for one in oddities}))
    return html_page(
        title=visible(title),
        style=_STYLE,
        body=f"{paragraphs(summary)}{json_download(numbers, name='surprisal.json.gz', packed=True)}{table}{_legend(found)}{more}"
        '<section aria-label="The text, coloured by surprisal">\n'
        f'<div class="text" lang="" dir="auto">{text}</div>\n</section>\n',
    )


class _Mark(NamedTuple):
    """How a character is shown; neighbours with equal marks share a span, which must not be titled."""

    classes: str
    title: str


def _parts(found: Surprisals, odd_offsets: set[int]) -> Iterator[str]:
    """The text as markup, in blocks that end after some lines, or in the middle of a very long one."""
    chars = found.chars[:SHOWN_CHARS]
    offsets = np.cumsum([0, *map(len, chars)]).tolist()
    marks = [
        _mark(char, bits, level_, unknown=unknown, odd=offset in odd_offsets)
        for char, bits, level_, unknown, offset in zip(
            chars, found.bits.tolist(), _levels(found.bits), found.unknown.tolist(), offsets
        )
    ]
    start = lines = 0
    for stop, char in enumerate(chars, 1):
        lines += char.endswith("\n")
        at_line_end = char.endswith("\n") and (lines >= _PART_LINES or stop - start >= _PART_CHARS)
        if at_line_end or stop == len(chars) or (stop - start >= 10 * _PART_CHARS and char == " "):
            yield f'<div class="part">{"".join(_spans(chars[start:stop], marks[start:stop]))}</div>'
            start, lines = stop, 0


def _spans(chars: Sequence[str], marks: Sequence[_Mark]) -> Iterator[str]:
    """One span for each run of equal marks; a titled character has its own."""
    places = range(len(chars))
    for (mark, _), run in groupby(places, lambda i: (marks[i], i if marks[i].title else -1)):
        shown = escape(visible("".join(chars[i] for i in run)))
        attributes = f' class="{mark.classes}"' * bool(mark.classes) + f' title="{mark.title}"' * bool(
            mark.title
        )
        yield f"<span{attributes}>{shown}</span>" if attributes else shown


def _levels(bits: Float64[Array, " n"]) -> list[int]:
    """The colour of each character; 0 for one that is not charged."""
    return np.where(np.isnan(bits), 0, np.searchsorted(LEVELS_BITS, bits, side="right")).tolist()  # type: ignore[no-any-return]


def _mark(char: str, bits: float, level_: int, *, unknown: bool, odd: bool) -> _Mark:
    charged = not math.isnan(bits)
    classes = [f"s{level_}"] * (level_ > 0) + ["odd"] * odd + ["unknown"] * unknown
    classes += ["newline"] * (char == "\n" and charged)
    if unknown:
        return _Mark(" ".join(classes), f"unknown to the model: {bits:.{TITLE_DECIMALS}f} bits")
    return _Mark(" ".join(classes), f"{bits:.{TITLE_DECIMALS}f} bits" if odd or level_ >= TITLED_FROM else "")


def _legend(found: Surprisals) -> str:
    swatches = [f"<span>under {LEVELS_BITS[0]}</span>"]
    swatches += [
        f'<span class="s{i}">{low} to {high}</span>' for i, (low, high) in enumerate(pairwise(LEVELS_BITS), 1)
    ]
    swatches += [f'<span class="s{len(LEVELS_BITS)}">{LEVELS_BITS[-1]} or more</span>']
    others = '<span class="odd">double underline</span>: among the most surprising'
    if found.num_unknown:
        others += '; <span class="unknown">dotted underline</span>: unknown to the model'
    return f'<p class="legend">Surprisal in bits: {" · ".join(swatches)}; {others}.</p>\n'


def _table(oddities: Sequence[Oddity]) -> str:
    if not oddities:
        return ""
    names = ("bits", "line", "column", "character", "expected", "context")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    return (
        f'<div class="wide"><table>\n<caption>The most surprising characters</caption>\n<tr>{head}</tr>\n'
        f"{''.join(map(_row, oddities))}</table></div>\n"
    )


def _line_table(lines: Sequence[LineSurprisal]) -> str:
    if not lines:
        return ""
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("bits", "bits/char", "unknown", "line", "text")
    )
    rows = "".join(
        f'<tr><td class="number">{one.bits:,.2f}</td><td class="number">{one.bits_per_char:.3f}</td>'
        f'<td class="number">{one.num_unknown:,}</td><td class="number">{one.line:,}</td>'
        f'<td lang="" dir="auto">{_line(one.text)}</td></tr>\n'
        for one in lines
    )
    return (
        f'<div class="wide"><table>\n<caption>The most surprising lines</caption>\n<tr>{head}</tr>\n'
        f"{rows}</table></div>\n"
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
