"""``charloom score``: the surprisal of each character of a text."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from charloom.cli.failures import UsageError
from charloom.cli.flags import Device, Engine, ModelPath, Precision, option, path_option, verb
from charloom.cli.output import SCHEMA, Show
from charloom.cli.score_lines import line_table, lines_as_json

TRAINING_TEXT_FROM = 0.1
"""Share of copied characters from which a text is called training text."""

if TYPE_CHECKING:
    from charloom.api import Model
    from charloom.evaluation import LineSurprisal, Oddity, Surprisals
    from charloom.text import Vocabulary

_TOP = 10
_MOST_CORPUS_CHARS = 10_000_000
"""A longer corpus is not read again to find out whether the scored text is part of it."""


By = Annotated[Literal["char", "line"], option("rank characters, or whole lines", show_default=True)]
Top = Annotated[
    int | None,
    option("number of most surprising ones to list [default: 10; all lines with --json]", metavar="N"),
]


def score(
    show: Show,
    model: ModelPath,
    text: Annotated[str, path_option("file to score; - reads standard input")],
    /,
    *,
    by: By = "char",
    top: Top = None,
    encoding: Annotated[
        str | None, option("encoding of the text, such as cp1256 [default: detected]", metavar="NAME")
    ] = None,
    html: Annotated[Path | None, option("write the text, coloured by surprisal, to this page")] = None,
    engine: Engine = "auto",
    device: Device = "cpu",
    precision: Precision = "float32",
) -> None:
    """Score a text.

    The surprisal of a character is −log2 of its predicted probability, in bits: 1 bit for one of two equally likely
    characters, 10 bits for one in a thousand. The text is read in one pass from the zero state, as in the stream
    protocol of eval. The first character is read but not charged, except by a model of documents.

    A character unknown to the model costs 20.1 bits, a uniform choice among the code points that the model does not
    know, and an escape from those that it does: −log2 p(<unk>) if it has <unk>, otherwise 20 bits. eval charges the
    same.

    The highest surprisals are listed first, with line and column. They often point to typos and oddities. --by line
    ranks lines by their bits per character, and shows the bits and the unknown characters of each. A line's end counts
    as a character of it; its beginning is predicted from the lines before it, unless the model's documents are lines.
    """
    from charloom import api
    from charloom.text import read_text

    if top is not None and top < 0:
        raise UsageError(f"--top {top}", why="a list cannot have fewer than 0 entries", fix="give 0 or more")
    loaded = api.load(model, engine=engine, device=device, precision=precision)
    words, notes = read_text([text], loaded.reading(encoding))
    show.notes(*notes)
    found = loaded.score(words, on_progress=show.progress("scoring"))
    oddities = found.oddities(_TOP if top is None else top)
    lines = found.lines(_TOP if top is None and not show.as_json else top) if by == "line" else None
    name = "standard input" if text == "-" else text
    share = _training_share(loaded, words)
    totals = {**_totals(found, oddities), "training_share": share}
    summary = [*_training_sentence(share), *_summary(found, name)]
    if lines is None:
        _print(show, summary, oddities)
    else:
        show.line("\n".join([*summary, *(line_table(lines) if lines else ())]))
        totals["lines"] = lines_as_json(lines)
    if html is not None:
        _write_page(
            html,
            found,
            oddities,
            title=f"What surprised {Path(model).name} in {Path(name).name}",
            summary=summary,
            totals=totals,
            lines=lines,
        )
        show.note(f"wrote {html}")
    if show.as_json:
        show.object(({"chars": _chars(found)} if lines is None else {}) | totals)


def _training_share(model: Model, text: str) -> float | None:
    """How much of a text is training text of the model; None if its corpus cannot be read, or only slowly."""
    from charloom.errors import CharloomError
    from charloom.evaluation.overlap import copied_share
    from charloom.run_corpus import corpus_of
    from charloom.text import clean, encode_for_scoring
    from charloom.text.part import hashed_bytes

    corpus, config = model.card.get("corpus", {}), model.file.text_config
    if model.run is not None and corpus.get("num_chars", 0) <= _MOST_CORPUS_CHARS:
        try:
            train = corpus_of(model.run).train
        except CharloomError:
            return None
        ids = encode_for_scoring(model.vocab, text, config).ids
        return copied_share(train, ids, boundary_id=model.vocab.boundary_id, whole_documents=True)
    digest = hashlib.sha256(hashed_bytes(clean(text, config), config)).hexdigest()
    return 1.0 if digest == corpus.get("sha256") else None


def _training_sentence(share: float | None) -> list[str]:
    if share is None or share < TRAINING_TEXT_FROM:
        return []
    what = "this is training text" if share > 0.995 else f"{share:.0%} of this is training text"
    return [f"{what} of the model: the figures say how well it was learnt, not how new text is predicted"]


def _write_page(
    path: Path,
    found: Surprisals,
    oddities: Sequence[Oddity],
    *,
    title: str,
    summary: Sequence[str],
    totals: dict[str, Any],
    lines: Sequence[LineSurprisal] | None,
) -> None:
    from charloom.files import atomic_write
    from charloom.report.surprisal import surprisal_page

    numbers = {"schema": SCHEMA, **_columns(found), **totals}
    page = surprisal_page(found, oddities, title=title, summary=summary, numbers=numbers, lines=lines)
    atomic_write(path, page)


def _chars(found: Surprisals) -> list[dict[str, Any]]:
    return [
        {"char": char, "surprisal_bits": None if math.isnan(bits) else bits}
        for char, bits in zip(found.chars, found.bits.tolist())
    ]


def _columns(found: Surprisals) -> dict[str, list[Any]]:
    """What a page says of its characters, as columns: a tenth of the size of an object for each."""
    from charloom.report.surprisal import SHOWN_CHARS, TITLE_DECIMALS

    bits = found.bits[:SHOWN_CHARS].round(TITLE_DECIMALS).tolist()
    return {
        "characters": list(found.chars[:SHOWN_CHARS]),
        "surprisal_bits": [None if math.isnan(one) else one for one in bits],
    }


def _totals(found: Surprisals, oddities: Sequence[Oddity]) -> dict[str, Any]:
    renamed = [
        {("surprisal_bits" if key == "bits" else key): value for key, value in asdict(one).items()}
        for one in oddities
    ]
    return {
        "bits_per_char": None if math.isnan(found.bits_per_char) else found.bits_per_char,
        "total_bits": found.total_bits,
        "predictions": found.num_predictions,
        "unknown_chars": found.num_unknown,
        "unknown_bits": found.unknown_bits,
        "protocol": "stream",
        "unit": found.unit,
        "oddities": renamed,
    }


def unknown_sentence(num_unknown: int, share: float, vocab: Vocabulary) -> str:
    """Say how many characters of a text the model does not know, and what they are charged."""
    from charloom.text import unseen_nats

    bits = f"{unseen_nats(vocab) / math.log(2):.1f} bits each"
    charge = bits if vocab.unk_id is None else f"as <unk> and {bits} for which character it is"
    return f"{counted(num_unknown, share)} unknown to the model: charged {charge}"


def counted(num_chars: int, share: float) -> str:
    """A number of characters with its share and its verb.

    Example:
        >>> counted(1, 0.5), counted(2, 1.0)
        ('1 character (50.00%) is', '2 characters (100.00%) are')
    """
    return f"{num_chars:,} {'character' if num_chars == 1 else 'characters'} ({share:.2%}) {'is' if num_chars == 1 else 'are'}"


def _summary(found: Surprisals, name: str) -> list[str]:
    """Summarise the results in sentences, unknown characters first."""
    sentences = []
    if found.num_unknown:
        share = found.num_unknown / sum(map(len, found.chars))
        sentences.append(unknown_sentence(found.num_unknown, share, found.vocab))
    sentences.append(f"stream protocol from the zero state, on {name}: {found.num_predictions:,} predictions")
    if found.num_predictions == 0:
        return [*sentences, "nothing was charged: a prediction needs a known character before it"]
    if found.vocab.boundary_id is None:
        sentences.append("the first character is read but not charged")
    sentences.append(f"{found.bits_per_char:.4f} bits/{found.unit}, {found.total_bits:,.1f} bits in total")
    return sentences


def _print(show: Show, summary: Sequence[str], oddities: Sequence[Oddity]) -> None:
    show.line("\n".join(summary))
    if oddities:
        show.line("\n".join(["most surprising:", *map(_line, oddities)]))


def _line(one: Oddity) -> str:
    from charloom.generation import isolated, sign

    place, expected = f"{one.line}:{one.column}", "  unknown" if one.unknown else ""
    if one.expected is not None:
        expected += f"  expected {isolated(sign(one.expected))} ({one.expected_probability:.0%})"
    around = isolated((one.before + one.char + one.after).replace("\n", "↵"))
    return f"  {one.bits:6.2f} bits  {place:<9} {isolated(sign(one.char))}{expected}  in  {around}"


app = verb(
    computes=True,
    usage="score MODEL TEXT [--by line] [--html FILE] [--top N]",
    examples="""
        charloom score runs/tales more.txt
        charloom score runs/tales more.txt --html surprisal.html --top 20
        charloom score runs/tales more.txt --json
        charloom score runs/names more.txt --by line --top 5
        printf 'a tset of it' | charloom score runs/tales -
    """,
)(score)
