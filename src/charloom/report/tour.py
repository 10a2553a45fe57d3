"""The tour as one HTML page: no script, nothing fetched, every text escaped.

Time runs from left to right in the grid of a batch, in every script: its columns are steps, and each cell isolates its character. A text that
is read stands in paragraphs that take their direction from their first letter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from charloom.generation import visible
from charloom.insight.tour import CorpusFacts, Tour
from charloom.insight.tour_batch import Batch, Lane
from charloom.insight.tour_layers import Stage
from charloom.insight.tour_softmax import Distribution
from charloom.insight.tour_words import (
    batch_sentences,
    corpus_sentences,
    distribution_words,
    prediction_sentences,
    shape_words,
    symbol,
    tail,
)
from charloom.pages import html_page, json_download
from charloom.report.parts import STYLE, section, table

SHOWN_STEPS = 24
SHOWN_LIKELY = 12

_STYLE = """
.grid td, .grid th { text-align: center; padding: 0.1rem 0.35rem; }
.grid tr.y td { border-bottom: 1px solid var(--rule); color: var(--prompt); }
.grid tr > th:first-child { text-align: start; white-space: nowrap; font-size: 0.8rem; line-height: 1.4; }
.ids { display: flex; flex-wrap: wrap; gap: 0.3rem 0.9rem; font-variant-numeric: tabular-nums; }
.ids div { min-width: 2rem; text-align: center; line-height: 1.4; }
.ids dd { margin: 0; color: var(--faint); font-size: 0.8rem; }
.side { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: 0 2rem; }
meter { width: 6rem; }
.text { border-inline-start: 3px solid var(--rule); padding-inline-start: 0.8rem; }
"""


def tour_page(tour: Tour, *, title: str, numbers: Mapping[str, Any]) -> str:
    """Draw every station.

    Args:
        tour: the numbers.
        title: heading of the page.
        numbers: what the page offers as JSON.
    """
    sections = [
        "" if tour.corpus is None else _corpus(tour.corpus),
        _ids(tour),
        "" if tour.batch is None else _batch(tour.batch),
        _stages(tour.stages, tour.num_params),
        _prediction(tour),
    ]
    head = f'<p class="remark">{escape(visible(tour.settings_from))}</p>\n' if tour.settings_from else ""
    body = head + json_download(numbers, name="tour.json") + "".join(sections)
    return html_page(title=visible(title), style=STYLE + _STYLE, body=body)


def _char(char: str) -> str:
    return f'<bdi lang="">{escape(visible(symbol(char)))}</bdi>'


def _corpus(facts: CorpusFacts) -> str:
    rows = [
        f'<tr><td>{_char(one.char)}</td><td class="number">{one.count:,}</td><td class="number">{one.share:.2%}</td></tr>\n'
        for one in facts.most_frequent
    ]
    frequent = table("The most frequent", ("character", "count", "share"), rows)
    return section("The corpus", corpus_sentences(facts), frequent)


def _ids(tour: Tour) -> str:
    pairs = "".join(
        f"<div><dt>{_char(char)}</dt><dd>{char_id}</dd></div>" for char, char_id in tour.first_ids
    )
    text = escape(visible(tour.first_text))
    grid = f'<dl class="ids" aria-label="The first characters with their ids">{pairs}</dl>\n'
    return section("First ids", (), f'<div class="text" lang="" dir="auto">{text}</div>\n{grid}')


def _batch(batch: Batch) -> str:
    grids = _grid(batch.first, "Step 0") + _grid(batch.second, "Step 1")
    remark = '<p class="remark">Time runs from left to right in every script; the text itself may not.</p>\n'
    return section("One batch: lanes × time, x above y", batch_sentences(batch), grids + remark)


def _grid(lanes: Sequence[Lane], name: str) -> str:
    if not lanes:
        return ""
    length = min(SHOWN_STEPS, len(lanes[0].x))
    rows = []
    for lane in lanes:
        reset = "<br>zero state" if lane.fresh else ""
        head = f'<th scope="row" rowspan="2">lane {lane.lane}<br>from {lane.offset:,}{reset}</th>'
        x = "".join(f"<td>{_char(char)}</td>" for char in lane.x[:length])
        y = "".join(f"<td>{_char(char)}</td>" for char in lane.y[:length])
        rows.append(
            f'<tr>{head}<th scope="row">x</th>{x}</tr>\n<tr class="y"><th scope="row">y</th>{y}</tr>\n'
        )
    caption = f"{name}: lanes 0 to {len(lanes) - 1}, {length} of {len(lanes[0].x):,} time steps"
    return table(caption, ("", "", *map(str, range(length))), rows, cls="grid")


def _stages(stages: Sequence[Stage], total: int) -> str:
    rows = [
        f"<tr><td>{escape(one.name)}</td><td>{escape(shape_words(one))}</td>"
        f'<td class="number">{one.num_params:,}</td><td>{escape(one.note)}</td></tr>\n'
        for one in stages
    ]
    rows.append(f'<tr><td>all</td><td></td><td class="number">{total:,}</td><td></td></tr>\n')
    layers = table("From ids to logits", ("layer", "shape behind it", "parameters", "what it is"), rows)
    letters = '<p class="remark">B lanes, T time steps, V vocabulary, E embedding, H cell, D stream, M inside the MLP.</p>\n'
    return section("Shapes and parameters", (), layers + letters)


def _prediction(tour: Tour) -> str:
    one = tour.prediction
    came = "" if one.actual is None else f"<p>The character that came: {_char(one.actual)}</p>\n"
    context = f'<div class="text" lang="" dir="auto">… {escape(visible(tail(one.context_text)))}</div>\n'
    vocab_size = len(one.distributions[0].chars)
    tables = "".join(_distribution(each, vocab_size) for each in one.distributions)
    content = f'{context}{came}<div class="side">\n{tables}</div>\n'
    return section("One prediction", prediction_sentences(tour), content)


def _distribution(one: Distribution, vocab_size: int) -> str:
    rows = [
        f'<tr><td>{_char(likely.char)}</td><td class="number">{likely.probability:.4f}</td>'
        f'<td><meter min="0" max="1" value="{likely.probability:.4f}">{likely.probability:.1%}</meter></td></tr>\n'
        for likely in one.chars[:SHOWN_LIKELY]
    ]
    left = len(one.chars) - len(rows)
    more = f'<p class="remark">and {left:,} more</p>\n' if left > 0 else ""
    caption = distribution_words(one, vocab_size)
    return f"<div>{table(caption, ('character', 'probability', ''), rows)}{more}</div>\n"
