"""``charloom demo``: from nothing to generated text in about two minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from charloom.cli.flags import RunFolder, option, verb
from charloom.cli.output import Show

if TYPE_CHECKING:
    from charloom.api import Model

PROMPT = "The "
LENGTH = 400
TEMPERATURE = 0.5
NUM_CANDIDATES = 4
KNOWN_WORDS = 0.8
COPY_CHARS = 60


class Candidate(NamedTuple):
    """A sample with measurements of how much of it is new."""

    text: str
    seed: int
    number: int
    known_word_share: float
    copy_chars: int

    @property
    def good(self) -> bool:
        """Whether most words occur in the training text and no long passage is copied."""
        return self.known_word_share >= KNOWN_WORDS and self.copy_chars <= COPY_CHARS


def demo(
    show: Show,
    *,
    minutes: Annotated[float, option("training time in minutes", show_default=True)] = 2.0,
    out: RunFolder = None,
    seed: Annotated[int, option("seed of every random draw", show_default=True)] = 0,
) -> None:
    """Train a demonstration model.

    The text is Python's own language reference, which differs between versions of Python, so do not quote the results.
    """
    from charloom import api, jobs
    from charloom.cli.output import quoted
    from charloom.cli.train import run_job
    from charloom.cli.train_summary import figures, verdict_lines
    from charloom.run_results import results_json

    show.note(f"training for {minutes:g} min on the language reference included with this Python")
    job = jobs.new_job(out=out, minutes=minutes, seed=seed)
    run_job(show, job)
    results = results_json(job.run)
    best = best_candidate(
        candidates(api.load(job.run.path), job.corpus.vocab.decode(job.corpus.train), seed=seed)
    )
    _print(show, best)
    show.line("\n".join([*figures(results), *verdict_lines(results)]))
    show.line(f"run: {job.run.path}")
    show.line("next:")
    show.line(f"  charloom sample {quoted(job.run.path)} --prompt 'The ' --temperature {TEMPERATURE}")
    show.line("  charloom train YOUR-TEXT.txt --minutes 2")
    show.object({**results, "sample": _object(best)})


def candidates(model: Model, training_text: str, *, seed: int) -> list[Candidate]:
    """Generate a few samples and measure how much of each is new."""
    from charloom.errors import DataError
    from charloom.evaluation import known_word_share, longest_copy

    judged = []
    for sample in model.sample(
        PROMPT, count=NUM_CANDIDATES, length=LENGTH, temperature=TEMPERATURE, seed=seed
    ):
        try:
            share = known_word_share(sample.text, training_text)
        except DataError:  # a model of a few steps generates no words
            share = 0.0
        copy = longest_copy(sample.text, training_text)
        judged.append(Candidate(sample.text, sample.seed, sample.index + 1, share, copy.length))
    return judged


def best_candidate(judged: list[Candidate]) -> Candidate:
    """Return the first good sample or, if there is none, the one with the largest share of known words."""
    return next((one for one in judged if one.good), max(judged, key=lambda one: one.known_word_share))


def _print(show: Show, best: Candidate) -> None:
    from charloom.generation import visible

    show.line(visible(PROMPT + best.text).rstrip())
    show.line()
    show.line(
        f"sample {best.number} of {NUM_CANDIDATES}, temperature {TEMPERATURE}: {best.known_word_share:.0%} of its "
        f"words occur in the training text; the longest verbatim copy has {best.copy_chars} characters"
    )


def _object(best: Candidate) -> dict[str, Any]:
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
    computes=True,
    usage="demo [--minutes X] [--out DIR]",
    examples="""
        charloom demo --minutes 0.05
        charloom demo --minutes 0.05 --out runs/first --json
    """,
)(demo)
