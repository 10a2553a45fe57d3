"""``charloom demo``: from nothing to generated text in about two minutes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from charloom.cli.flags import option, verb
from charloom.cli.output import Show

if TYPE_CHECKING:
    from charloom.api import Model

PROMPT = "The "
LENGTH = 400
TEMPERATURE = 0.5
NUM_CANDIDATES = 4
KNOWN_WORDS = 0.8
COPY_CHARS = 60


class Judged(NamedTuple):
    """A sample with what is new in it."""

    text: str
    seed: int
    number: int
    known_word_share: float
    copy_chars: int

    @property
    def good(self) -> bool:
        """Whether most words are real and no long stretch was copied."""
        return self.known_word_share >= KNOWN_WORDS and self.copy_chars <= COPY_CHARS


def demo(
    show: Show,
    *,
    minutes: Annotated[float, option("how long to train", show_default=True)] = 2.0,
    out: Annotated[Path | None, option("the run folder [default: a new one under runs/]")] = None,
    seed: Annotated[int, option("every random draw is a function of this number", show_default=True)] = 0,
) -> None:
    """Show.

    The text is Python's own language reference, which differs between versions of Python; so its figures are for
    wondering at, not for quoting.
    """
    from charloom import api, launch
    from charloom.cli.report import figures
    from charloom.cli.signals import quoted
    from charloom.cli.train import run_job

    show.note(f"training for {minutes:g} min on the language reference that this Python carries")
    job = launch.begin(out=out, minutes=minutes, seed=seed)
    run_job(show, job)
    results = launch.results_json(job.run)
    best = choose(candidates(api.load(job.run.path), job.corpus.vocab.decode(job.corpus.train), seed=seed))
    _print(show, best)
    for line in figures(results):
        show.line(line)
    show.line(f"run: {job.run.path}")
    show.line("next:")
    show.line(f"  charloom sample {quoted(job.run.path)} --prompt 'The ' --temperature {TEMPERATURE}")
    show.line("  charloom train YOUR-TEXT.txt --minutes 2")
    show.object({**results, "sample": _object(best)})


def candidates(model: Model, training_text: str, *, seed: int) -> list[Judged]:
    """Write a few samples and measure what is new in each."""
    from charloom.errors import DataError
    from charloom.evaluation import known_word_share, longest_copy

    judged = []
    for sample in model.sample(
        PROMPT, count=NUM_CANDIDATES, length=LENGTH, temperature=TEMPERATURE, seed=seed
    ):
        try:
            share = known_word_share(sample.text, training_text)
        except DataError:  # a model of a few steps writes no words
            share = 0.0
        copy = longest_copy(sample.text, training_text)
        judged.append(Judged(sample.text, sample.seed, sample.index + 1, share, copy.length))
    return judged


def choose(judged: list[Judged]) -> Judged:
    """The first sample that is good; where none is, the one with most real words."""
    return next((one for one in judged if one.good), max(judged, key=lambda one: one.known_word_share))


def _print(show: Show, best: Judged) -> None:
    from charloom.generation import visible

    show.line(visible(PROMPT + best.text).rstrip())
    show.line()
    show.line(
        f"sample {best.number} of {NUM_CANDIDATES}, temperature {TEMPERATURE}: {best.known_word_share:.0%} of its words "
        f"occur in the training text, the longest verbatim copy has {best.copy_chars} characters"
    )


def _object(best: Judged) -> dict[str, Any]:
    return {
        "prompt": PROMPT,
        "text": best.text,
        "seed": best.seed,
        "temperature": TEMPERATURE,
        "known_word_share": best.known_word_share,
        "longest_copy_chars": best.copy_chars,
        "candidate": best.number,
        "num_candidates": NUM_CANDIDATES,
    }


app = verb(
    usage="demo [--minutes X] [--out DIR]",
    examples="""
        charloom demo --minutes 0.05
        charloom demo --minutes 0.05 --out runs/first --json
    """,
)(demo)
