"""The tour as one HTML page: no scripts, nothing fetched, every text escaped.

In the grid of a batch time runs from left to right whatever the writing system: its columns are steps, and each cell
isolates its character. Running text is in paragraphs that take their direction from their first letter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from charloom.generation import visible
from charloom.insight.tour.batch import BatchGrid, Lane
from charloom.insight.tour.sentences import (
    batch_sentences,
    corpus_sentences,
    distribution_words,
    prediction_sentences,
    shape_words,
    symbol,
    tail,
)
from charloom.insight.tour.shapes import ShapeStage
from charloom.insight.tour.softmax import Distribution
from charloom.insight.tour.walkthrough import CorpusFacts, Tour
from charloom.report.elements import STYLE, section, table
from charloom.report.page import html_page, json_download

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
    """Render every stage of the tour; `numbers` are offered as a JSON download."""
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
    grid = f'<dl class="ids" aria-label="The first characters with their ids">{pairs}</dl>\n'
    return section("First ids", (), _text(tour.first_text) + grid)


def _text(text: str) -> str:
    return f'<div class="text" lang="" dir="auto">{escape(visible(text))}</div>\n'


def _batch(batch: BatchGrid) -> str:
    grids = _grid(batch.first, "Step 0") + _grid(batch.second, "Step 1")
    remark = '<p class="remark">Time always runs from left to right, even for right-to-left text.</p>\n'
    return section("One batch: lanes × time, x above y", batch_sentences(batch), grids + remark)


def _grid(lanes: Sequence[Lane], name: str) -> str:
    if not lanes:
        return ""
    length = min(SHOWN_STEPS, len(lanes[0].x))
    rows = []
    for lane in lanes:
        reset = "<br>zero state" if lane.fresh else ""
        head = f'<th scope="row" rowspan="2">lane {lane.lane}<br>from {lane.offset:,}{reset}</th>'
        x, y = ("".join(f"<td>{_char(char)}</td>" for char in chars[:length]) for chars in (lane.x, lane.y))
        rows.append(
            f'<tr>{head}<th scope="row">x</th>{x}</tr>\n<tr class="y"><th scope="row">y</th>{y}</tr>\n'
        )
    caption = f"{name}: lanes 0 to {len(lanes) - 1}, {length} of {len(lanes[0].x):,} time steps"
    return table(caption, ("", "", *map(str, range(length))), rows, cls="grid")


def _stages(stages: Sequence[ShapeStage], total: int) -> str:
    rows = [
        f"<tr><td>{escape(one.name)}</td><td>{escape(shape_words(one))}</td>"
        f'<td class="number">{one.num_params:,}</td><td>{escape(one.note)}</td></tr>\n'
        for one in stages
    ]
    rows.append(f'<tr><td>all</td><td></td><td class="number">{total:,}</td><td></td></tr>\n')
    layers = table("From ids to logits", ("layer", "output shape", "parameters", "what it does"), rows)
    letters = '<p class="remark">B lanes, T time steps, V vocabulary, E embedding, H cell, D stream, M inside the MLP.</p>\n'
    return section("Shapes and parameters", (), layers + letters)


def _prediction(tour: Tour) -> str:
    one = tour.prediction
    actual = "" if one.actual is None else f"<p>The actual next character: {_char(one.actual)}</p>\n"
    vocab_size = len(one.distributions[0].chars)
    tables = "".join(_distribution(each, vocab_size) for each in one.distributions)
    content = f'{_text(f"… {tail(one.context_text)}")}{actual}<div class="side">\n{tables}</div>\n'
    return section("One prediction", prediction_sentences(tour), content)


def _distribution(one: Distribution, vocab_size: int) -> str:
    rows = [
        f'<tr><td>{_char(likely.char)}</td><td class="number">{likely.probability:.4f}</td>'
        f'<td><meter min="0" max="1" value="{likely.probability:.4f}">{likely.probability:.1%}</meter></td></tr>\n'
        for likely in one.chars[:SHOWN_LIKELY]
    ]
    left = len(one.chars) - len(rows)
    more = f'<p class="remark">and {left:,} more</p>\n' if left > 0 else ""
    shown = table(distribution_words(one, vocab_size), ("character", "probability", ""), rows)
    return f"<div>{shown}{more}</div>\n"
