"""``charloom sample``: generate text."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from charloom.cli.failures import DONE, INTERRUPTED, UsageError
from charloom.cli.flags import Device, ModelPath, option, path_option, verb
from charloom.cli.novelty import (
    SamplesNovelty,
    judge_samples,
    listed,
    marks,
    match_length_line,
    summary,
    to_json,
)
from charloom.cli.output import Show, colours
from charloom.cli.prompt import read_prompt
from charloom.config import SampleConfig

if TYPE_CHECKING:
    from charloom.api import Model
    from charloom.generation import Generation, Sample

PATIENCE_S = 3.0
"""Delay after which a note explains why nothing has been generated yet."""

Prompt = Annotated[
    str | None,
    option("text to continue; - reads standard input; none = the recipe's", allow_leading_hyphen=True),
]
PromptFile = Annotated[str | None, path_option("file that contains the prompt")]
Stop = Annotated[
    list[str] | None,
    option(
        r"end a sample before this text, in which \n, \t and \\ are newline, tab and backslash; may be repeated",
        allow_leading_hyphen=True,
    ),
]
LogProbs = Annotated[bool, option("with --json, add log-probabilities of characters (nats, before filters)")]
Stream = Annotated[bool, option("print each character as it is generated")]
Html = Annotated[Path | None, option("write the samples to this page, for scripts a terminal cannot display")]
Mark = Annotated[bool, option("mark what is copied from the training text, if the run's corpus is available")]
MarkFrom = Annotated[
    int | None, option("as --novelty, for copies of at least N characters [default: 30]", metavar="N")
]


def sample(
    show: Show,
    model: ModelPath,
    /,
    *,
    prompt: Prompt = None,
    prompt_file: PromptFile = None,
    stop: Stop = None,
    logprobs: LogProbs = False,
    stream: Stream = False,
    html: Html = None,
    novelty: Mark = False,
    novelty_from: MarkFrom = None,
    device: Device = "cpu",
    **settings: Any,
) -> int:
    """Generate text.

    The prompt is printed first, then the generated text. With --length 0, generation continues until a stop text, the
    end of a document or Ctrl-C.

    With --novelty, copied passages are bold and underlined on a terminal, marked on the --html page, and otherwise
    listed. Only generated text is searched for copies, not the prompt.
    """
    from charloom import api
    from charloom.text.escapes import unescape

    _check(show, prompt, prompt_file, stream=stream, count=settings.get("count", 1), logprobs=logprobs)
    if novelty_from is not None and novelty_from < 1:
        why = "the shortest copy has one character"
        raise UsageError(f"--novelty-from {novelty_from}", why=why, fix="give 1 or more")
    loaded = api.load(model, device=device)
    config = loaded.sample_config(**settings)
    if config.length == 0 and config.count > 1 and not stop and loaded.vocab.boundary_id is None:
        what, why = f"--length 0 with --count {config.count}", "the first sample would never end"
        raise UsageError(what, why=why, fix="set --length, or give --stop")
    given = read_prompt(show, prompt, prompt_file)
    opening = loaded.default_prompt if given is None else given
    with _explained_delay(show):
        decoder = loaded.decoder(config)
    live = not show.as_json and (stream or (config.length == 0 and config.count == 1))
    stops = [unescape(text) for text in stop or ()]
    generation = loaded.generate(opening, config=config, stop=stops, log_probs=logprobs, on_note=show.notes)
    samples, interrupted, elapsed_s = _collect(show, generation, live=live, opening=opening)
    if settings.get("seed") is None and samples:
        show.note(f"seed: {samples[0].seed}")
    wants_copies = novelty or novelty_from is not None
    copies, unseen = _compare(show, loaded, samples, wants_copies=wants_copies, from_chars=novelty_from)
    if html is not None:
        _write_page(html, model, samples, settings, copies)
        show.line(f"wrote {html}")
    elif not live:
        _print(show, samples, loaded, copies)
    if copies is not None:
        marked = html is not None or (not live and colours(sys.stdout))
        _print_novelty(show, samples, copies, marked=marked)
    result = _object(samples, elapsed_s, unseen) | {"engine": type(decoder).__module__.split(".")[2]}
    show.object(_with_novelty(result, copies) if wants_copies else result)
    return INTERRUPTED if interrupted else DONE


def _check(
    show: Show, prompt: str | None, prompt_file: str | None, *, stream: bool, count: int, logprobs: bool
) -> None:
    if prompt and prompt_file is not None:
        what, why = "--prompt and --prompt-file are both given", "a text has one beginning"
        raise UsageError(what, why=why, fix="keep one")
    if stream and show.as_json:
        what, why = "--stream and --json are both given", "--json prints one object at the end"
        raise UsageError(what, why=why, fix="keep one")
    if stream and count != 1:
        why = "samples generated in parallel would be mixed up"
        raise UsageError(f"--stream with --count {count}", why=why, fix="leave out --stream, or --count")
    if logprobs and not show.as_json:
        why = "only the JSON object contains them"
        raise UsageError("--logprobs without --json", why=why, fix="add --json")


def _collect(
    show: Show, generation: Generation, *, live: bool, opening: str
) -> tuple[list[Sample], bool, float]:
    """Return all samples in order, whether Ctrl-C ended the generation, and the elapsed seconds.

    Text that was generated before Ctrl-C is kept.
    """
    from charloom.generation import Piece, visible

    samples, interrupted, began = [], False, time.monotonic()
    if live:
        show.text(visible(opening), dim=True)
    try:
        for event in generation:
            if not isinstance(event, Piece):
                samples.append(event)
            elif live:
                show.text(visible(event.text))
    except KeyboardInterrupt:
        samples, interrupted = samples + generation.interrupt(), True
    if live:
        show.line()
    return sorted(samples, key=lambda sample: sample.index), interrupted, time.monotonic() - began


def _print(show: Show, samples: list[Sample], loaded: Model, copies: SamplesNovelty | None) -> None:
    """Print finished samples: documents without newlines one per line, several others under headings."""
    from charloom.generation import visible
    from charloom.report.samples import marked_parts

    if show.as_json:
        return
    one_line = not any("\n" in sample.prompt + sample.text for sample in samples)
    headings = len(samples) > 1 and not (loaded.vocab.boundary_id is not None and one_line)
    spans = [[] for _ in samples] if copies is None else [one.spans for one in copies.each]
    for sample, copied in zip(samples, spans, strict=True):
        if headings:
            blank = "" if sample.index == 0 else "\n"
            show.line(f"{blank}=== sample {sample.index + 1} of {len(samples)} ===")
        show.text(visible(sample.prompt), dim=True)
        for part, mark in marked_parts(sample.text, copied):
            show.text(visible(part), mark=mark)
        show.line()


def _compare(
    show: Show, loaded: Model, samples: list[Sample], *, wants_copies: bool, from_chars: int | None
) -> tuple[SamplesNovelty | None, float | None]:
    """Compare the samples with the run's corpus, if available: the copies, and the share that are new documents."""
    from charloom.evaluation import unseen_share

    several_documents = loaded.vocab.boundary_id is not None and len(samples) > 1
    if not (wants_copies or (several_documents and loaded.run is not None)):
        return None, None
    cannot = "find what was copied" if wants_copies else "count how many samples are new"
    corpus = loaded.corpus_or_note(show.notes, cannot=cannot)
    if corpus is None:
        return None, None
    copies, unseen = judge_samples(samples, corpus, from_chars) if wants_copies else None, None
    if several_documents:
        unseen = unseen_share([s.prompt + s.text for s in samples], documents_of(corpus))
        show.note(f"{unseen:.1%} of the {len(samples):,} samples are not among the training documents")
    return copies, unseen


def _print_novelty(show: Show, samples: list[Sample], copies: SamplesNovelty, *, marked: bool) -> None:
    """Report the copies on standard error, and list each of them unless it is already marked."""
    if not marked and not show.as_json:
        for line in listed(samples, copies):
            show.note(line)
    show.note(summary(copies, sum(len(sample.text) for sample in samples)))
    show.note(match_length_line(copies))


def _with_novelty(result: dict[str, Any], copies: SamplesNovelty | None) -> dict[str, Any]:
    """Add the copies to the JSON object; null if the corpus is not available."""
    each = [None] * len(result["samples"]) if copies is None else [to_json(one) for one in copies.each]
    samples = [sample | {"novelty": novelty} for sample, novelty in zip(result["samples"], each, strict=True)]
    return result | {"samples": samples, "novelty": None if copies is None else copies.whole}


def documents_of(corpus: Any) -> list[str]:
    """Decode the training documents of a corpus."""
    import numpy as np

    ids, boundary = np.asarray(corpus.train), corpus.vocab.boundary_id
    parts = np.split(ids, np.flatnonzero(ids == boundary))
    return [corpus.vocab.decode(part[1:] if part[:1] == boundary else part) for part in parts if len(part)]


def _write_page(
    path: Path, model: str, samples: list[Sample], settings: dict[str, Any], copies: SamplesNovelty | None
) -> None:
    from charloom.files import atomic_write
    from charloom.report.samples import samples_page

    shown = {"model": model, **{name: value for name, value in settings.items() if value is not None}}
    title, copied = f"Written by {Path(model).name}", None if copies is None else marks(copies)
    atomic_write(path, samples_page(samples, title=title, settings=shown, marks=copied))


def _object(samples: list[Sample], elapsed_s: float, unseen: float | None) -> dict[str, Any]:
    chars = sum(len(sample.text) for sample in samples)
    return {
        "samples": [
            {"prompt": s.prompt, "text": s.text, "finish_reason": s.finish_reason, "seed": s.seed}
            | ({} if s.log_probs is None else {"logprobs_nats": list(s.log_probs)})
            for s in samples
        ],
        "chars_per_s": chars / elapsed_s if elapsed_s > 0 else math.nan,
        **({} if unseen is None else {"unseen_share": unseen}),
    }


@contextlib.contextmanager
def _explained_delay(show: Show) -> Iterator[None]:
    """Print a note if the loops are being compiled: a minute at most, once per machine."""
    timer = threading.Timer(
        PATIENCE_S, lambda: show.note("compiling the generation loops: half a minute, once per machine")
    )
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


app = verb(
    SampleConfig,
    usage="sample MODEL [--prompt TEXT] [settings]",
    examples="""
        charloom sample runs/tales --prompt 'Once upon' --length 200
        charloom sample runs/tales --temperature 0.5 --top-p 0.9 --seed 7 --stream
        printf 'Once' | charloom sample runs/tales --prompt - --json
        charloom sample runs/names --count 20 --temperature 0.8
        charloom sample runs/tales --count 3 --length 100 --html samples.html
        charloom sample runs/tales --length 400 --temperature 0.5 --novelty
    """,
)(sample)
