"""Samples as one HTML page, for writing systems that a terminal cannot show.

The page is self-contained, without scripts, fonts or links, and its policy forbids the browser to fetch anything.
Control characters are made visible and every text is escaped, so the output of a hostile model can only look
strange. Each paragraph takes its direction from its own first letter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from charloom.generation.escape import visible
from charloom.report.page import html_page

if TYPE_CHECKING:
    from charloom.generation.generate import Sample

_LEGEND = '<p class="legend"><span class="prompt">Underlined text</span> is the prompt; the model generated the rest.</p>\n'

_MARKS_LEGEND = (
    '<p class="legend"><mark>Double-underlined text</mark> occurs verbatim in the training text.</p>\n'
)

_STYLE = """
@media print { article { break-inside: avoid-page; } }
dl { display: flex; flex-wrap: wrap; gap: 0 1.5rem; color: var(--faint); font-size: 0.9rem; }
dl div { display: flex; gap: 0.4rem; }
dd { margin: 0; color: var(--ink); unicode-bidi: isolate; overflow-wrap: anywhere; }
article { border-top: 1px solid var(--rule); padding: 1rem 0; }
h2 { margin: 0 0 0.5rem; color: var(--faint); font-size: 0.85rem; font-weight: normal; }
.prompt { color: var(--prompt); text-decoration: underline dotted; text-underline-offset: 0.25em; }
figure { margin: 1rem 0 0; }
svg { max-width: 100%; font-size: 10px; }
svg rect { fill: var(--prompt); }
svg text { fill: var(--ink); text-anchor: middle; }
.legend, .remark { color: var(--faint); font-size: 0.85rem; }
mark { color: inherit; background: var(--copied); text-decoration: underline double; text-underline-offset: 0.2em; }
mark::before, mark::after { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
mark::before { content: " [copy begins] "; }
mark::after { content: " [copy ends] "; }
:root { --copied: #fbe8b8; }
@media (prefers-color-scheme: dark) { :root { --copied: #4d3d12; } }
@media print { :root { --copied: transparent; } }
"""

_ENDINGS = {
    "length": "requested length reached",
    "stop": "ended at a stop string",
    "boundary": "ended by the model",
    "interrupted": "interrupted",
}


class Marks(NamedTuple):
    """The parts of a sample to mark as copied.

    Args:
        spans: (start, stop) in the generated text, in characters, ascending and disjoint.
        remark: a sentence above the text.
        lengths: (from, to, number): how many characters end a longest match of that length, in ascending order; drawn
            as a histogram below the text.
    """

    spans: Sequence[tuple[int, int]] = ()
    remark: str = ""
    lengths: Sequence[tuple[int, int, int]] = ()


def marked_parts(text: str, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[str, bool]]:
    """Split a text into the parts outside and inside ascending, disjoint spans, without empty parts.

    Example:
        >>> list(marked_parts("abcdef", [(0, 2), (3, 6)]))
        [('ab', True), ('c', False), ('def', True)]
    """
    position = 0
    for start, stop in spans:
        if position < start:
            yield text[position:start], False
        yield text[start:stop], True
        position = stop
    if position < len(text):
        yield text[position:], False


def samples_page(
    samples: Sequence[Sample],
    *,
    title: str,
    settings: Mapping[str, object],
    marks: Sequence[Marks] | None = None,
) -> str:
    """Render samples as one self-contained HTML page, to be written as UTF-8.

    Args:
        samples: in the order to show.
        title: heading of the page.
        settings: names and values shown below the heading, such as model, temperature and top_p.
        marks: the copied parts of each sample. Marked text has a double underline and a different background, and a
            screen reader announces where it begins and ends.

    Example:
        >>> page = samples_page([], title="R & D", settings={"temperature": 0.7})
        >>> "<title>R &amp; D</title>" in page, "<dt>temperature</dt><dd>0.7</dd>" in page
        (True, True)
    """
    rows = "".join(
        f"<div><dt>{_shown(str(name))}</dt><dd>{_shown(str(value))}</dd></div>\n"
        for name, value in settings.items()
    )
    legend = _LEGEND if any(sample.prompt for sample in samples) else ""
    if marks is None:
        marks = [Marks()] * len(samples)
    elif any(one.spans for one in marks):
        legend += _MARKS_LEGEND
    articles = "".join(_article(*pair) for pair in zip(samples, marks, strict=True))
    return html_page(title=visible(title), style=_STYLE, body=f"<dl>\n{rows}</dl>\n{legend}{articles}")


def _article(sample: Sample, marks: Marks) -> str:
    prompt = f'<span class="prompt">{_shown(sample.prompt)}</span>' if sample.prompt else ""
    remark = f'<p class="remark">{_shown(marks.remark)}</p>\n' if marks.remark else ""
    parts = marked_parts(sample.text, marks.spans)
    text = "".join(f"<mark>{_shown(part)}</mark>" if marked else _shown(part) for part, marked in parts)
    return (
        f"<article>\n<h2>sample {sample.index} · seed {sample.seed} · {_ENDINGS[sample.finish_reason]}</h2>\n"
        f'{remark}<div class="text" lang="" dir="auto">{prompt}{text}</div>\n{_histogram(marks.lengths)}</article>\n'
    )


_BAR, _GAP, _TALL, _LINE = 34, 8, 60, 14


def _histogram(lengths: Sequence[tuple[int, int, int]]) -> str:
    """Bars of the share of characters by the length of their longest match, spelled out for screen readers."""
    total = sum(num for _, _, num in lengths)
    if total == 0:
        return ""
    bars, words = "", []
    for place, (low, high, num) in enumerate(lengths):
        label, share = f"{low}" if low == high else f"{low}–{high}", num / total
        x, tall = place * (_BAR + _GAP), round(_TALL * share, 1)
        middle = x + _BAR / 2
        bars += (
            f'<rect x="{x}" y="{_LINE + _TALL - tall:g}" width="{_BAR}" height="{tall:g}"/>'
            f'<text x="{middle:g}" y="{_LINE + _TALL - tall - 3:g}">{share:.0%}</text>'
            f'<text x="{middle:g}" y="{2 * _LINE + _TALL - 2}">{label}</text>\n'
        )
        words.append(f"{label}: {share:.1%}")
    width = len(lengths) * (_BAR + _GAP)
    title = "Share of the characters by the length of the longest match that ends there, in characters"
    return (
        f'<figure><figcaption class="remark">{title}</figcaption>\n'
        f'<svg role="img" aria-label="{title}: {", ".join(words)}" width="{width}" height="{_TALL + 2 * _LINE}" '
        f'viewBox="0 0 {width} {_TALL + 2 * _LINE}">\n{bars}</svg></figure>\n'
    )


def _shown(text: str) -> str:
    """Text as HTML: control characters visible, markup escaped, quotes included."""
    return escape(visible(text))
