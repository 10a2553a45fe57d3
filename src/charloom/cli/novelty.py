"""What of a verb's samples is copied: judged against the run's corpus, said in words, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from charloom.cli.output import Show

if TYPE_CHECKING:
    from charloom.api import Model
    from charloom.evaluation import Novelty
    from charloom.generation import Marks, Sample
    from charloom.text import Corpus

_SHOWN_CHARS = 60  # of a stretch in the list of copies


class Judged(NamedTuple):
    """What is copied in each sample, and in all of them together."""

    each: list[Novelty]
    whole: dict[str, Any]


def corpus_at_hand(show: Show, loaded: Model, *, cannot: str) -> Corpus | None:
    """The corpus of the run; where it is not at hand, a note says what `cannot` be told."""
    from charloom.errors import CharloomError

    try:
        return loaded.corpus()
    except CharloomError as error:
        show.note(f"note: {cannot} cannot be told: {error.what}")
        return None


def judge(samples: Sequence[Sample], corpus: Corpus, from_chars: int | None) -> Judged:
    """Judge what the model wrote, without its prompts, against what it was trained on."""
    from charloom.evaluation import (
        COPY_FROM_CHARS,
        TrainingText,
        judged,
        length_histogram,
        length_quantiles,
        match_lengths,
    )

    from_chars = COPY_FROM_CHARS if from_chars is None else from_chars
    matches = match_lengths([s.text for s in samples], TrainingText(corpus.train, corpus.vocab))
    each = [judged(one, from_chars) for one in matches]
    num_chars = sum(len(sample.text) for sample in samples)
    num_copied = sum(stop - start for one in each for start, stop in one.spans)
    whole = {
        "longest_copy_chars": max((one.longest_copy_chars for one in each), default=0),
        "copied_share": num_copied / max(1, num_chars),
        "from_chars": from_chars,
        "match_length_quantiles_chars": length_quantiles(*matches),
        "match_length_histogram": [one._asdict() for one in length_histogram(*matches)],
    }
    return Judged(each, whole)


def to_json(novelty: Novelty) -> dict[str, Any]:
    """The object that ``sample --novelty --json`` gives for a sample."""
    return {
        "longest_copy_chars": novelty.longest_copy_chars,
        "copied_share": novelty.copied_share,
        "from_chars": novelty.from_chars,
        "stretches": [stretch._asdict() for stretch in novelty.stretches],
        "match_length_quantiles_chars": dict(novelty.match_length_quantiles_chars),
        "match_length_histogram": [one._asdict() for one in novelty.match_length_histogram],
    }


def marks(judged: Judged) -> list[Marks]:
    """What a page marks, sample by sample."""
    from charloom.generation import Marks

    return [
        Marks(one.spans, f"Of the characters written, {_words(to_json(one))}.", one.match_length_histogram)
        for one in judged.each
    ]


def summary(judged: Judged, num_chars: int) -> str:
    """One sentence on all samples."""
    median, ninth, last = (judged.whole["match_length_quantiles_chars"][share] for share in (0.5, 0.9, 0.99))
    return (
        f"novelty: of {_chars(num_chars)} written, {_words(judged.whole)}; half of the characters end a match of at most "
        f"{median}, 90 % of at most {ninth}, 99 % of at most {last}"
    )


def distribution(judged: Judged) -> str:
    """One line: which share of the characters end a longest match of which length."""
    bins = judged.whole["match_length_histogram"]
    total = max(1, sum(one["num_chars"] for one in bins))
    shares = ", ".join(f"{_span(one)}: {one['num_chars'] / total:.1%}" for one in bins)
    return f"longest match ending at each character, by its length: {shares or 'no characters'}"


def _span(one: dict[str, int]) -> str:
    low, high = one["from_chars"], one["to_chars"]
    return f"{low}" if low == high else f"{low}–{high}"


def listed(samples: Sequence[Sample], judged: Judged) -> Iterator[str]:
    """One line a stretch: where it stands in the sample and in the training text, both counted from 0, and its beginning."""
    for sample, novelty in zip(samples, judged.each, strict=True):
        for start, length, text_offset in novelty.stretches:
            text = repr(sample.text[start : start + min(length, _SHOWN_CHARS)])
            more = " …" if length > _SHOWN_CHARS else ""
            yield (
                f"copied: {length:,} characters of sample {sample.index + 1} from offset {start:,}, "
                f"in the training text from {text_offset:,}: {text}{more}"
            )


def _words(figures: dict[str, Any]) -> str:
    return (
        f"{figures['copied_share']:.1%} stand in copies of at least {figures['from_chars']} from the training text; the "
        f"longest copy has {_chars(figures['longest_copy_chars'])}"
    )


def _chars(number: int) -> str:
    return f"{number:,} character{'' if number == 1 else 's'}"
