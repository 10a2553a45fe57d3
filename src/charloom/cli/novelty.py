"""Find the copied passages in samples and describe them in words and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from charloom.evaluation import Novelty
    from charloom.generation import Sample
    from charloom.report.samples import Marks
    from charloom.text import Corpus

_SHOWN_CHARS = 60  # per passage in the list of copies


class SamplesNovelty(NamedTuple):
    """The copies in each sample and in all samples together."""

    each: list[Novelty]
    whole: dict[str, Any]


def judge_samples(samples: Sequence[Sample], corpus: Corpus, from_chars: int | None) -> SamplesNovelty:
    """Compare the generated texts, without their prompts, with the training text."""
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
    return SamplesNovelty(each, whole)


def to_json(novelty: Novelty) -> dict[str, Any]:
    """The object that ``sample --novelty --json`` prints for a sample."""
    return {
        "longest_copy_chars": novelty.longest_copy_chars,
        "copied_share": novelty.copied_share,
        "from_chars": novelty.from_chars,
        "stretches": [one._asdict() for one in novelty.stretches],
        "match_length_quantiles_chars": dict(novelty.match_length_quantiles_chars),
        "match_length_histogram": [one._asdict() for one in novelty.match_length_histogram],
    }


def marks(judged: SamplesNovelty) -> list[Marks]:
    """The marks that a page shows in each sample."""
    from charloom.report.samples import Marks

    return [
        Marks(one.spans, f"Of the characters generated, {_words(to_json(one))}.", one.match_length_histogram)
        for one in judged.each
    ]


def summary(judged: SamplesNovelty, num_chars: int) -> str:
    """Summarise all samples in one sentence."""
    median, ninth, last = (judged.whole["match_length_quantiles_chars"][share] for share in (0.5, 0.9, 0.99))
    return (
        f"novelty: of {_chars(num_chars)} generated, {_words(judged.whole)}; half of the characters end a match of at "
        f"most {median}, 90 % of at most {ninth}, 99 % of at most {last}"
    )


def match_length_line(judged: SamplesNovelty) -> str:
    """Describe in one line the share of characters by the length of the longest match that ends there."""
    bins = judged.whole["match_length_histogram"]
    total = max(1, sum(one["num_chars"] for one in bins))
    shares = []
    for one in bins:
        low, high = one["from_chars"], one["to_chars"]
        shares.append(f"{low if low == high else f'{low}–{high}'}: {one['num_chars'] / total:.1%}")
    return f"longest match ending at each character, by length: {', '.join(shares) or 'no characters'}"


def listed(samples: Sequence[Sample], judged: SamplesNovelty) -> Iterator[str]:
    """One line per copy: its offsets in the sample and in the training text, both from 0, and its beginning."""
    for sample, novelty in zip(samples, judged.each, strict=True):
        for start, length, text_offset in novelty.stretches:
            text = repr(sample.text[start : start + min(length, _SHOWN_CHARS)])
            more = " …" if length > _SHOWN_CHARS else ""
            yield (
                f"copied: {length:,} characters at offset {start:,} of sample {sample.index + 1}, "
                f"offset {text_offset:,} of the training text: {text}{more}"
            )


def _words(figures: dict[str, Any]) -> str:
    return (
        f"{figures['copied_share']:.1%} are in copies of at least {_chars(figures['from_chars'])} from the training "
        f"text; the longest copy has {_chars(figures['longest_copy_chars'])}"
    )


def _chars(number: int) -> str:
    return f"{number:,} character{'' if number == 1 else 's'}"
