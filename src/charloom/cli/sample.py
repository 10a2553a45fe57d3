"""``charloom sample``: generate text."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from charloom.cli.failures import DONE, INTERRUPTED, UsageError
from charloom.cli.flags import Device, ModelPath, option, path_option, verb
from charloom.cli.interactive import Conversation, refuse_with_interactive
from charloom.cli.novelty import SamplesNovelty, judge_samples, listed, match_length_line, summary
from charloom.cli.output import Show, colours
from charloom.cli.prompt import read_prompt
from charloom.cli.sample_output import (
    Output,
    as_json,
    print_samples,
    with_novelty,
    write_files,
    write_samples_page,
)
from charloom.config import SampleConfig, unescaped, without_effect_on_samples

if TYPE_CHECKING:
    from charloom.api import Model
    from charloom.generation import DistinctSamples, Generation, Sample

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
Unique = Annotated[
    bool, option("no two samples are equal; others are drawn instead, as often as 20 times the count")
]
New = Annotated[
    bool, option("no sample stands in the training text; others are drawn instead, as with --unique")
]
Separator = Annotated[
    str | None,
    option(
        r"print this between samples; \n, \t, \0 and \\ are escapes, as in --stop", allow_leading_hyphen=True
    ),
]
OutDir = Annotated[Path | None, option("write each sample to a file of its own in this folder")]
Interactive = Annotated[
    bool, option("write in turns: read a line, continue it, and so on; /help lists the commands")
]
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
    unique: Unique = False,
    new: New = False,
    logprobs: LogProbs = False,
    stream: Stream = False,
    interactive: Interactive = False,
    separator: Separator = None,
    out_dir: OutDir = None,
    html: Html = None,
    novelty: Mark = False,
    novelty_from: MarkFrom = None,
    device: Device = "cpu",
    **settings: Any,
) -> int:
    """Generate text.

    The prompt is printed first, then the generated text. With --length 0, generation continues until a stop text, the
    end of a document or Ctrl-C. Stop texts are normalised as the training text was.

    Several samples are printed under headings, or one per line if they are documents without newlines. Programs read
    them with --separator, --out-dir or --json. --new compares whole documents with those trained on; of a model without
    documents, it refuses a text that occurs anywhere in the training text.

    With --interactive, a dialogue: each line is read after the text so far and continued. Ctrl-C stops a continuation.
    Lines may come from a file or a pipe; then standard output has the continuations only.

    With --novelty, copied passages are bold and underlined on a terminal, marked on the --html page, and otherwise
    listed. Only generated text is searched for copies, not the prompt.
    """
    from charloom import api

    if interactive:
        given: Any = {"separator": separator, "out_dir": out_dir, "html": html, "stop": stop, "new": new}
        given |= {"unique": unique, "novelty": novelty or novelty_from, "stream": stream}
        given["logprobs"] = logprobs
        refuse_with_interactive(show, given, prompt=prompt, count=settings.get("count", 1))
        return _converse(show, api.load(model, device=device), settings, prompt, prompt_file)
    output = Output(None if separator is None else unescaped(separator, also="r0"), out_dir, html)
    _check(show, prompt, prompt_file, stream=stream, count=settings.get("count", 1), logprobs=logprobs)
    _check_output(show, output, stream=stream, distinct=unique or new, novelty_from=novelty_from)
    loaded = api.load(model, device=device)
    config = loaded.sample_config(**settings)
    show.notes(*without_effect_on_samples(settings, config))
    _check_end(config, loaded, stop, distinct=unique or new)
    prompt = read_prompt(show, prompt, prompt_file)
    opening = loaded.default_prompt if prompt is None else prompt
    with _explained_delay(show):
        decoder = loaded.decoder(config)
    endless = config.length == 0 and config.count == 1 and not (unique or new or out_dir)
    live = not show.as_json and (stream or endless)
    stops = [unescaped(text, also="r") for text in stop or ()]
    how: Any = {"log_probs": logprobs, "unique": unique, "new": new}
    generation = loaded.generate(opening, config=config, stop=stops, on_note=show.notes, **how)
    done = _collect(show, generation, live=live, opening=opening, says_seed=settings.get("seed") is None)
    copies_from = novelty_from if novelty_from is not None else 0 if novelty else None
    written = _write(show, model, loaded, done, output, settings=settings, live=live, copies_from=copies_from)
    show.object(written | {"engine": type(decoder).__module__.split(".")[2]})
    return INTERRUPTED if done.interrupted else DONE


def _converse(
    show: Show, loaded: Model, settings: dict[str, Any], prompt: str | None, prompt_file: str | None
) -> int:
    """Continue texts that are typed or piped in, line by line."""
    _check(show, prompt, prompt_file, stream=False, count=1, logprobs=False)
    config = loaded.sample_config(**settings)
    show.notes(*without_effect_on_samples(settings, config))
    first = read_prompt(show, prompt, prompt_file)
    session = loaded.session(**settings)
    if config.seed is None:
        show.note(f"seed: {session.seed}")
    return Conversation(show, session, config).run(first)


class _Done(NamedTuple):
    """All samples in order, whether Ctrl-C ended the generation, and the elapsed seconds."""

    samples: list[Sample]
    interrupted: bool
    elapsed_s: float


def _write(
    show: Show,
    model: str,
    loaded: Model,
    done: _Done,
    output: Output,
    *,
    settings: dict[str, Any],
    live: bool,
    copies_from: int | None,
) -> dict[str, Any]:
    """Write or print the samples and what is known of them; return the JSON object. `copies_from` 0 = the default."""
    samples, wants_copies = done.samples, copies_from is not None
    copies, unseen = _compare(
        show, loaded, samples, wants_copies=wants_copies, from_chars=copies_from or None
    )
    paths = [] if output.out_dir is None else write_files(output.out_dir, samples)
    if paths:
        show.line(f"wrote {len(paths):,} file{'s' * (len(paths) > 1)} to {output.out_dir}")
    if output.html is not None:
        write_samples_page(output.html, model, samples, settings, copies)
        show.line(f"wrote {output.html}")
    elif not live and output.out_dir is None:
        documents = loaded.vocab.boundary_id is not None
        print_samples(show, samples, copies, separator=output.separator, are_documents=documents)
    if copies is not None:
        on_terminal = not live and output.out_dir is None and colours(sys.stdout)
        _print_novelty(show, samples, copies, marked=output.html is not None or on_terminal)
    result = as_json(samples, done.elapsed_s, unseen, paths)
    return with_novelty(result, copies) if wants_copies else result


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


def _check_output(
    show: Show, output: Output, *, stream: bool, distinct: bool, novelty_from: int | None
) -> None:
    if novelty_from is not None and novelty_from < 1:
        why = "the shortest copy has one character"
        raise UsageError(f"--novelty-from {novelty_from}", why=why, fix="give 1 or more")
    if stream and (distinct or output.out_dir is not None):
        other = "--unique or --new" if distinct else "--out-dir"
        why = "a sample is judged, or written to its file, when it has ended"
        raise UsageError(f"--stream with {other}", why=why, fix="leave out --stream")
    output.check(show)


def _check_end(config: SampleConfig, loaded: Model, stop: list[str] | None, *, distinct: bool) -> None:
    """Refuse samples of which the first would never end."""
    if config.length > 0 or stop or loaded.vocab.boundary_id is not None:
        return
    if config.count > 1 or distinct:
        other = f"--count {config.count}" if config.count > 1 else "--unique or --new"
        what, why = f"--length 0 with {other}", "the first sample would never end"
        raise UsageError(what, why=why, fix="set --length, or give --stop")


def _collect(
    show: Show, generation: Generation | DistinctSamples, *, live: bool, opening: str, says_seed: bool
) -> _Done:
    """Wait for all samples; text that was generated before Ctrl-C is kept. `says_seed` notes the seed that was drawn."""
    from charloom.generation import DistinctSamples, Piece, visible

    samples: list[Sample] = []
    interrupted, began = False, time.monotonic()
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
    if isinstance(generation, DistinctSamples) and not interrupted and generation.shortfall:
        show.notes(generation.shortfall)
    if says_seed and samples:
        show.note(f"seed: {samples[0].seed}")
    return _Done(sorted(samples, key=lambda one: one.index), interrupted, time.monotonic() - began)


def _compare(
    show: Show, loaded: Model, samples: list[Sample], *, wants_copies: bool, from_chars: int | None
) -> tuple[SamplesNovelty | None, float | None]:
    """Compare the samples with the run's corpus, if available: the copies, and the share that are new documents."""
    from charloom.evaluation import documents_of, unseen_share

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
        charloom sample runs/names --count 20 --temperature 0.8 --unique --new
        charloom sample runs/tales --count 3 --length 100 --out-dir samples
        charloom sample runs/tales --count 3 --length 100 --html samples.html
        charloom sample runs/tales --length 400 --temperature 0.5 --novelty
        printf 'Once\\n/undo\\nTwice\\n' | charloom sample runs/tales --interactive --length 100 --seed 7
    """,
)(sample)
