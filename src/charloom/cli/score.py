"""``charloom score``: what each character of a text cost a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from charloom.cli.failures import UsageError
from charloom.cli.flags import option, verb
from charloom.cli.output import SCHEMA, Show

if TYPE_CHECKING:
    from charloom.evaluation import Oddity, Surprisals


def score(
    show: Show,
    model: Annotated[str, option("a run folder or a model file")],
    text: Annotated[str, option("the file to score; - is standard input")],
    /,
    *,
    top: Annotated[
        int, option("how many of the most surprising characters to list", metavar="N", show_default=True)
    ] = 10,
    encoding: Annotated[
        str | None, option("of the text, such as cp1256 [default: found out]", metavar="NAME")
    ] = None,
    html: Annotated[Path | None, option("write the text, coloured by surprisal, to this page")] = None,
    engine: Annotated[str, option("who computes: auto, torch, scratch or fused", show_default=True)] = "auto",
    device: Annotated[str, option("auto, cpu, cuda, cuda:N or mps", show_default=True)] = "cpu",
    precision: Annotated[Literal["float32", "float64"], option("arithmetic", show_default=True)] = "float32",
) -> None:
    """Score.

    Surprisal is −log2 of the probability that the model gave a character, in
    bits: 1 bit for one of two equally likely characters, 10 for one in a
    thousand. The text is read in one pass from the zero state, as by eval's
    stream protocol. Its first character is read and not charged (a model of
    documents charges it); nor are characters that the model has never seen,
    unless it has <unk>.

    The highest surprisals are listed first, with line and column: there stand
    typos and oddities.
    """
    from charloom import api
    from charloom.text import read_text

    if top < 0:
        raise UsageError(f"--top {top}", why="a list has no fewer than 0 entries", fix="give 0 or more")
    loaded = api.load(model, engine=engine, device=device, precision=precision)
    words, notes = read_text([text], loaded.reading(encoding))
    show.notes(notes)
    found = loaded.score(words)
    oddities = found.oddities(top)
    name = "standard input" if text == "-" else text
    if not show.as_json:
        _print(show, found, oddities, name)
    if html is not None:
        _write_page(html, found, oddities, model=model, name=name)
        show.note(f"wrote {html}")
    if show.as_json:
        show.object(_object(found, oddities))


def _write_page(path: Path, found: Surprisals, oddities: Sequence[Oddity], *, model: str, name: str) -> None:
    from charloom.evaluation.html import SHOWN_CHARS, surprisal_page
    from charloom.files import atomic_write

    numbers = {"schema": SCHEMA, **_object(found, oddities, most=SHOWN_CHARS)}
    title = f"What surprised {Path(model).name} in {Path(name).name}"
    page = surprisal_page(found, oddities, title=title, summary=_summary(found, name), numbers=numbers)
    atomic_write(path, page)


def _object(found: Surprisals, oddities: Sequence[Oddity], most: int | None = None) -> dict[str, Any]:
    bits = [None if math.isnan(one) else one for one in found.bits[:most].tolist()]
    rows = [{"char": char, "surprisal_bits": one} for char, one in zip(found.chars, bits)]
    renamed = [
        {("surprisal_bits" if key == "bits" else key): value for key, value in asdict(one).items()}
        for one in oddities
    ]
    return {
        "chars": rows,
        "bits_per_char": None if math.isnan(found.bits_per_char) else found.bits_per_char,
        "total_bits": found.total_bits,
        "predictions": found.num_predictions,
        "unknown_chars": found.num_unknown,
        "protocol": "stream",
        "unit": found.unit,
        "oddities": renamed,
    }


def _summary(found: Surprisals, name: str) -> list[str]:
    """What was measured, in sentences; unknown characters are told first."""
    said = []
    if found.num_unknown:
        share = found.num_unknown / sum(map(len, found.chars))
        charged = found.vocab.unk_id is not None
        treated = "charged as <unk> and a uniform choice" if charged else "left out of the figures below"
        said.append(f"{found.num_unknown:,} characters ({share:.2%}) are unknown to the model: {treated}")
    said.append(f"stream protocol from the zero state, on {name}: {found.num_predictions:,} predictions")
    if found.num_predictions == 0:
        return [*said, "nothing was charged: a prediction needs a known character before it"]
    if found.vocab.boundary_id is None:
        said.append("the first character is read and not charged")
    said.append(f"{found.bits_per_char:.4f} bits/{found.unit}, {found.total_bits:,.1f} bits in all")
    return said


def _print(show: Show, found: Surprisals, oddities: Sequence[Oddity], name: str) -> None:
    for sentence in _summary(found, name):
        show.line(sentence)
    if oddities:
        show.line("most surprising:")
    for one in oddities:
        show.line(_line(one))


def _line(one: Oddity) -> str:
    from charloom.generation import isolated, sign

    expected = (
        ""
        if one.expected is None
        else f"  expected {isolated(sign(one.expected))} ({one.expected_probability:.0%})"
    )
    around = (one.before + one.char + one.after).replace("\n", "↵")
    return f"  {one.bits:6.2f} bits  {f'{one.line}:{one.column}':<9} {isolated(sign(one.char))}{expected}  in  {isolated(around)}"


app = verb(
    usage="score MODEL TEXT [--html FILE] [--top N]",
    examples="""
        charloom score runs/tales more.txt
        charloom score runs/tales more.txt --html surprisal.html --top 20
        charloom score runs/tales more.txt --json
        printf 'a tset of it' | charloom score runs/tales -
    """,
)(score)
