"""``charloom explain``: a tour from a text to a prediction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from charloom.cli.flags import option, path_option, verb
from charloom.cli.output import SCHEMA, Show
from charloom.cli.prompt import read_prompt
from charloom.config import ModelConfig, TextConfig, TrainConfig

if TYPE_CHECKING:
    from charloom.insight.tour.batch import BatchGrid, Lane
    from charloom.insight.tour.shapes import ShapeStage
    from charloom.insight.tour.softmax import Distribution
    from charloom.insight.tour.walkthrough import CorpusFacts, Tour

_STEPS = 16  # columns of the grid
_LIKELY = 8  # characters shown of a distribution
_IDS_PER_LINE = 10
_SHORT = {"<boundary>": "▪", "<unk>": "▫"}  # in the narrow cells of a grid


Prompt = Annotated[
    str | None,
    option(
        "for a model: show the distribution of the character after all of this; - reads standard input",
        allow_leading_hyphen=True,
    ),
]
Unknown = Annotated[
    Literal["error", "skip", "similar", "replace"],
    option("what to do with prompt characters outside the vocabulary", show_default=True),
]


def explain(
    show: Show,
    source: Annotated[str, path_option("a text (- reads standard input), a run folder or a model file")],
    /,
    *,
    recipe: Annotated[
        str | None, path_option("for a text: a recipe's name, a TOML file or an earlier run")
    ] = None,
    text: Annotated[
        str | None, path_option("for a model: file with text to show it on [default: its corpus]")
    ] = None,
    prompt: Prompt = None,
    unknown: Unknown = "error",
    top_k: Annotated[int, option("characters kept in the top-k example", metavar="N", show_default=True)] = 5,
    top_p: Annotated[
        float, option("probability kept in the top-p example", metavar="X", show_default=True)
    ] = 0.9,
    html: Annotated[Path | None, option("write the tour to this page")] = None,
    **settings: Any,
) -> None:
    """Explain a text or a model.

    The tour shows the contents of the corpus; its first characters as ids; two training steps as a grid of lanes × time,
    each input x above its target y; the shape and the parameters of each layer; and one prediction, with its softmax
    at three temperatures and after top-k and top-p.

    For a text, it shows what `charloom train` would do with the same settings and initial parameters. For a model, it
    shows the model's own settings and parameters; with --prompt, it reads the whole prompt and shows what may follow
    its last character. Right-to-left text is printed in logical order; the page
    of --html shows it in reading order.
    """
    from charloom import api

    tour = api.explain(
        source,
        text=text,
        prompt=read_prompt(show, prompt),
        unknown=unknown,
        recipe=recipe,
        top_k=top_k,
        top_p=top_p,
        on_note=show.notes,
        **settings,
    )
    first_ids = [{"char": char, "id": char_id} for char, char_id in tour.first_ids]
    numbers = asdict(tour) | {"first_ids": first_ids}
    if not show.as_json:
        show.line("\n".join(_lines(tour)))
    if html is not None:
        from charloom.files import atomic_write
        from charloom.report import tour_page

        name = "standard input" if source == "-" else Path(source).name
        page = tour_page(tour, title=f"From {name} to a prediction", numbers={"schema": SCHEMA, **numbers})
        atomic_write(html, page)
        show.note(f"wrote {html}")
    show.object(numbers)


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


def _corpus(facts: CorpusFacts) -> Iterator[str]:
    from charloom.generation import visible
    from charloom.insight.tour.sentences import corpus_sentences

    yield "\n=== the corpus ==="
    yield from map(visible, corpus_sentences(facts))
    yield "most frequent: " + "  ".join(f"{_cell(one.char)} {one.share:.1%}" for one in facts.most_frequent)


def _ids(text: str, first_ids: Sequence[tuple[str, int]]) -> Iterator[str]:
    from charloom.generation import isolated

    yield "\n=== first ids ==="
    yield "text: " + isolated(text.replace("\n", "↵"))
    width = max((len(str(char_id)) for _, char_id in first_ids), default=1)
    for start in range(0, len(first_ids), _IDS_PER_LINE):
        row = first_ids[start : start + _IDS_PER_LINE]
        yield "  ".join(f"{_cell(char)} {char_id:>{width}}" for char, char_id in row)


def _batch(batch: BatchGrid) -> Iterator[str]:
    from charloom.insight.tour.sentences import batch_sentences

    yield "\n=== one batch: lanes × time, x above y ==="
    yield from batch_sentences(batch)
    shown_chars = {char for lane in (*batch.first, *batch.second) for char in (*lane.x, *lane.y)}
    if short := [f"{sign} is {name}" for name, sign in _SHORT.items() if name in shown_chars]:
        yield "below, " + ", ".join(short)
    for step, lanes in enumerate((batch.first, batch.second)):
        if lanes:
            shown = min(_STEPS, len(lanes[0].x))
            yield f"step {step}, lanes 0 to {len(lanes) - 1}, {shown} of {len(lanes[0].x):,} time steps:"
            yield from _grid(lanes)
    if batch.second and set(batch.gaps) == {0}:
        yield "where the two steps meet (the bar):"
        half = _STEPS // 2
        for before, after in zip(batch.first, batch.second):
            left = " ".join(_cell(_short(char)) for char in before.x[-half:])
            right = " ".join(_cell(_short(char)) for char in after.x[:half])
            yield f"  {f'lane {before.lane}':>7}  x  {left} | {right}"


def _grid(lanes: Sequence[Lane]) -> Iterator[str]:
    from rich.cells import cell_len

    from charloom.generation import isolated

    rows = [
        (head, [_short(char) for char in chars[:_STEPS]])
        for lane in lanes
        for head, chars in ((f"lane {lane.lane} from {lane.offset:,}  x", lane.x), ("y", lane.y))
    ]
    head_width = max(len(head) for head, _ in rows)
    width = max(cell_len(cell) for _, cells in rows for cell in cells)

    def padded(cell: str) -> str:
        return isolated(cell) + " " * (width - cell_len(cell))

    for head, cells in rows:
        yield f"  {head:>{head_width}}  " + " ".join(padded(cell) for cell in cells).rstrip()


def _stages(stages: Sequence[ShapeStage], num_params: int) -> Iterator[str]:
    from charloom.insight.tour.sentences import shape_words

    yield "\n=== shapes and parameters ==="
    name_width = max(len(one.name) for one in stages)
    shape_width = max(len(shape_words(one)) for one in stages)
    for one in stages:
        yield f"  {one.name:<{name_width}}  {shape_words(one):<{shape_width}}  {one.num_params:>12,}  {one.note}"
    yield f"  {'all parameters':<{name_width}}  {'':<{shape_width}}  {num_params:>12,}"


def _prediction(tour: Tour) -> Iterator[str]:
    from charloom.generation import isolated
    from charloom.insight.tour.sentences import prediction_sentences, tail

    one = tour.prediction
    yield "\n=== one prediction ==="
    yield from prediction_sentences(tour)
    actual = "" if one.actual is None else f"  actual: {_cell(one.actual)}"
    yield f"context: …{isolated(tail(one.context_text))}{actual}"
    for each in one.distributions:
        yield from _distribution(each, len(one.distributions[0].chars))


def _distribution(one: Distribution, vocab_size: int) -> Iterator[str]:
    from charloom.insight.tour.sentences import distribution_words

    yield distribution_words(one, vocab_size)
    likeliest = "  ".join(f"{_cell(each.char)} {each.probability:.3f}" for each in one.chars[:_LIKELY])
    more = f"  and {len(one.chars) - _LIKELY:,} more" if len(one.chars) > _LIKELY else ""
    yield f"  {likeliest}{more}"


def _short(char: str) -> str:
    return _SHORT.get(char) or _sign(char)


def _sign(char: str) -> str:
    from charloom.insight.tour.sentences import symbol

    return symbol(char)


def _cell(char: str) -> str:
    """A visible character, isolated if it would change the direction of the text around it."""
    from charloom.generation import isolated

    return isolated(_sign(char))


app = verb(
    TextConfig,
    ModelConfig,
    TrainConfig,
    usage="explain TEXT|MODEL [--recipe R] [--html FILE] [settings]",
    examples="""
        charloom explain tales.txt
        charloom explain runs/tales
        charloom explain runs/tales --prompt 'the ca'
        charloom explain tales.txt --recipe arabic-rnn-small --html tour.html
        charloom explain tales.txt --cell lstm --batch-size 8 --bptt-length 32 --json
        charloom explain runs/tales/model.safetensors --text more.txt --top-k 3
        cat tales.txt | charloom explain - --documents line
    """,
)(explain)
