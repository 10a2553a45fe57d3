"""``charloom explain``: the tour from a text to a prediction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from charloom.cli.flags import option, verb
from charloom.cli.output import SCHEMA, Show
from charloom.config import ModelConfig, TextConfig, TrainConfig

if TYPE_CHECKING:
    from charloom.insight.tour import CorpusFacts, Tour
    from charloom.insight.tour_batch import Batch, Lane
    from charloom.insight.tour_layers import Stage
    from charloom.insight.tour_softmax import Distribution

_STEPS = 16  # columns of the grid
_LIKELY = 8  # characters shown of a distribution
_IDS_A_LINE = 10
_SHORT = {"<boundary>": "▪", "<unk>": "▫"}  # in the narrow cells of a grid


def explain(
    show: Show,
    source: Annotated[str, option("a text (- is standard input), or a model: a run folder or a model file")],
    /,
    *,
    recipe: Annotated[
        str | None, option("of a text: a recipe's name, a TOML file, or an earlier run")
    ] = None,
    text: Annotated[
        str | None, option("of a model: the text to show it on, instead of its run's corpus")
    ] = None,
    top_k: Annotated[
        int, option("how many characters the top-k shown leaves", metavar="N", show_default=True)
    ] = 5,
    top_p: Annotated[
        float, option("the probability that the top-p shown keeps", metavar="X", show_default=True)
    ] = 0.9,
    html: Annotated[Path | None, option("write the tour to this page")] = None,
    **settings: Any,
) -> None:
    """Explain.

    The stations: what the corpus holds; its first characters as ids; two steps
    of training as a grid of lanes × time, each input x above the target y; the
    shape behind each layer and its parameters; one prediction, its softmax at
    three temperatures and after top-k and top-p.

    Of a text, it is what `charloom train` would do with the same settings, with
    parameters as initialised. Of a model, it is the model's own. Right-to-left
    text is printed in logical order; the page of --html shows it as it is read.
    """
    from charloom import api

    tour = api.explain(
        source,
        text=text,
        recipe=recipe,
        top_k=top_k,
        top_p=top_p,
        on_note=lambda note: show.note(f"note: {note}"),
        **settings,
    )
    numbers = _object(tour)
    if not show.as_json:
        for line in _lines(tour):
            show.line(line)
    if html is not None:
        from charloom.files import atomic_write
        from charloom.report import tour_page

        name = "standard input" if source == "-" else Path(source).name
        page = tour_page(tour, title=f"From {name} to a prediction", numbers={"schema": SCHEMA, **numbers})
        atomic_write(html, page)
        show.note(f"wrote {html}")
    show.object(numbers)


def _object(tour: Tour) -> dict[str, Any]:
    result = asdict(tour)
    result["first_ids"] = [{"char": char, "id": char_id} for char, char_id in tour.first_ids]
    return result


def _lines(tour: Tour) -> Iterator[str]:
    from charloom.generation import visible

    if tour.settings_from:
        yield visible(tour.settings_from)
    if tour.corpus is not None:
        yield from _corpus(tour.corpus)
    yield from _ids(tour.first_text, tour.first_ids)
    if tour.batch is not None:
        yield from _batch(tour.batch)
    yield from _stages(tour.stages, tour.num_params)
    yield from _prediction(tour)


def _heading(title: str) -> list[str]:
    return ["", f"=== {title} ==="]


def _corpus(facts: CorpusFacts) -> Iterator[str]:
    from charloom.generation import visible
    from charloom.insight.tour_words import corpus_sentences

    yield from _heading("the corpus")
    yield from map(visible, corpus_sentences(facts))
    yield "most frequent: " + "  ".join(f"{_cell(one.char)} {one.share:.1%}" for one in facts.most_frequent)


def _ids(text: str, first_ids: Sequence[tuple[str, int]]) -> Iterator[str]:
    from charloom.generation import isolated

    yield from _heading("first ids")
    yield "text: " + isolated(text.replace("\n", "↵"))
    width = max((len(str(char_id)) for _, char_id in first_ids), default=1)
    for start in range(0, len(first_ids), _IDS_A_LINE):
        row = first_ids[start : start + _IDS_A_LINE]
        yield "  ".join(f"{_cell(char)} {char_id:>{width}}" for char, char_id in row)


def _batch(batch: Batch) -> Iterator[str]:
    from charloom.insight.tour_words import batch_sentences

    yield from _heading("one batch: lanes × time, x above y")
    yield from batch_sentences(batch)
    shown_chars = {char for lane in (*batch.first, *batch.second) for char in (*lane.x, *lane.y)}
    short = [f"{sign} is {name}" for name, sign in _SHORT.items() if name in shown_chars]
    if short:
        yield "below, " + ", ".join(short)
    for step, lanes in enumerate((batch.first, batch.second)):
        if lanes:
            shown = min(_STEPS, len(lanes[0].x))
            yield f"step {step}, lanes 0 to {len(lanes) - 1}, {shown} of {len(lanes[0].x):,} time steps:"
            yield from _grid(lanes)
    if batch.second and set(batch.gaps) == {0}:
        yield "where the two steps meet (the bar):"
        yield from _meetings(batch)


def _grid(lanes: Sequence[Lane]) -> Iterator[str]:
    rows = [
        (head, [_short(char) for char in chars[:_STEPS]])
        for lane in lanes
        for head, chars in ((f"lane {lane.lane} from {lane.offset:,}  x", lane.x), ("y", lane.y))
    ]
    heads = max(len(head) for head, _ in rows)
    width = max(_columns(cell) for _, cells in rows for cell in cells)
    for head, cells in rows:
        yield f"  {head:>{heads}}  " + " ".join(_padded(cell, width) for cell in cells).rstrip()


def _meetings(batch: Batch) -> Iterator[str]:
    half = _STEPS // 2
    for before, after in zip(batch.first, batch.second):
        left = " ".join(_cell(_short(char)) for char in before.x[-half:])
        right = " ".join(_cell(_short(char)) for char in after.x[:half])
        yield f"  {f'lane {before.lane}':>7}  x  {left} | {right}"


def _stages(stages: Sequence[Stage], num_params: int) -> Iterator[str]:
    from charloom.insight.tour_words import shape_words

    yield from _heading("shapes and parameters")
    names = max(len(one.name) for one in stages)
    shapes = max(len(shape_words(one)) for one in stages)
    for one in stages:
        yield f"  {one.name:<{names}}  {shape_words(one):<{shapes}}  {one.num_params:>12,}  {one.note}"
    yield f"  {'all parameters':<{names}}  {'':<{shapes}}  {num_params:>12,}"


def _prediction(tour: Tour) -> Iterator[str]:
    from charloom.generation import isolated
    from charloom.insight.tour_words import prediction_sentences, tail

    one = tour.prediction
    yield from _heading("one prediction")
    yield from prediction_sentences(tour)
    came = "" if one.actual is None else f"  came: {_cell(one.actual)}"
    yield f"context: …{isolated(tail(one.context_text))}{came}"
    for each in one.distributions:
        yield from _distribution(each, len(one.distributions[0].chars))


def _distribution(one: Distribution, vocab_size: int) -> Iterator[str]:
    from charloom.insight.tour_words import distribution_words

    yield distribution_words(one, vocab_size)
    more = f"  and {len(one.chars) - _LIKELY:,} more" if len(one.chars) > _LIKELY else ""
    yield (
        "  " + "  ".join(f"{_cell(each.char)} {each.probability:.3f}" for each in one.chars[:_LIKELY]) + more
    )


def _short(char: str) -> str:
    return _SHORT[char] if char in _SHORT else _sign(char)


def _sign(char: str) -> str:
    from charloom.insight.tour_words import symbol

    return symbol(char)


def _cell(char: str) -> str:
    """A character by itself, isolated where it would turn what stands around it."""
    from charloom.generation import isolated

    return isolated(_sign(char))


def _columns(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _padded(sign: str, width: int) -> str:
    from charloom.generation import isolated

    return isolated(sign) + " " * (width - _columns(sign))


app = verb(
    TextConfig,
    ModelConfig,
    TrainConfig,
    usage="explain TEXT|MODEL [--recipe R] [--html FILE] [settings]",
    examples="""
        charloom explain tales.txt
        charloom explain runs/tales
        charloom explain tales.txt --recipe arabic-rnn-small --html tour.html
        charloom explain tales.txt --cell lstm --batch-size 8 --bptt-length 32 --json
        charloom explain runs/tales/model.safetensors --text more.txt --top-k 3
        cat tales.txt | charloom explain - --documents line
    """,
)(explain)
