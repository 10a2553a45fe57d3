"""``charloom sample``: write text."""

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
from charloom.cli.flags import option, verb
from charloom.cli.novelty import Judged, corpus_at_hand, distribution, judge, listed, marks, summary, to_json
from charloom.cli.output import Show, colours
from charloom.config import SampleConfig

if TYPE_CHECKING:
    from charloom.api import Model
    from charloom.generation import Sample, Writing
    from charloom.text import Corpus

PATIENCE_S = 3.0
"""How long a reader waits before being told why."""


def sample(
    show: Show,
    model: Annotated[str, option("a run folder or a model file")],
    /,
    *,
    prompt: Annotated[
        str | None,
        option("text to continue; - is standard input; none = the recipe's", allow_leading_hyphen=True),
    ] = None,
    prompt_file: Annotated[str | None, option("a file that holds the prompt")] = None,
    stop: Annotated[
        list[str] | None, option("end a sample before this text; may be repeated", allow_leading_hyphen=True)
    ] = None,
    logprobs: Annotated[
        bool, option("with --json, the model's log-probability of each character in nats, before all filters")
    ] = False,
    stream: Annotated[bool, option("print each character as it comes")] = False,
    html: Annotated[
        Path | None, option("write the samples to this page, for scripts a terminal cannot show")
    ] = None,
    novelty: Annotated[
        bool, option("mark what stands verbatim in the training text, where the run's corpus is at hand")
    ] = False,
    novelty_from: Annotated[
        int | None, option("the same, from stretches of N characters on; else 30", metavar="N")
    ] = None,
    device: Annotated[str, option("auto, cpu, cuda, cuda:N or mps", show_default=True)] = "cpu",
    **settings: Any,
) -> int:
    """Write.

    The prompt is followed by what the model adds to it, character by character. With --length 0 it goes on until a
    stop text, the end of a document, or Ctrl-C.

    With --novelty, copied stretches are bold and underlined on a terminal, marked on the page of --html, and listed
    where neither shows them. Copies are sought in what the model wrote, not in the prompt.
    """
    from charloom import api

    endless, count = settings.get("length") == 0, settings.get("count", 1)
    _check(show, prompt, prompt_file, stream=stream, count=count)
    if novelty_from is not None and novelty_from < 1:
        raise UsageError(
            f"--novelty-from {novelty_from}", why="the shortest copy has one character", fix="give 1 or more"
        )
    if logprobs and not show.as_json:
        raise UsageError(
            "--logprobs without --json", why="a number a character is read by programs", fix="add --json"
        )
    loaded = api.load(model, device=device)
    if endless and count > 1 and not stop and loaded.vocab.boundary_id is None:
        raise _never_ends(count)
    live = not show.as_json and (stream or (endless and count == 1))
    given = prompt is not None or prompt_file is not None
    opening = _prompt(show, prompt or "", prompt_file) if given else loaded.default_prompt
    config = loaded.sample_config(**settings)
    with _patience(show):
        loaded.writer(config)
    writing = loaded.write(
        opening,
        stop=stop or (),
        log_probs=logprobs,
        on_note=lambda note: show.note(f"note: {note}"),
        **settings,
    )
    began = time.monotonic()
    samples, interrupted = _collect(show, writing, live=live, opening=opening)
    elapsed_s = time.monotonic() - began
    if settings.get("seed") is None and samples:
        show.note(f"seed: {samples[0].seed}")
    asked = novelty or novelty_from is not None
    corpus = _corpus(show, loaded, samples, novelty=asked)
    unseen = _unseen_share(show, samples, corpus)
    judged = judge(samples, corpus, novelty_from) if asked and corpus is not None else None
    if html is not None:
        _write_page(show, html, model, samples, settings, judged)
    elif not live:
        _print(show, samples, loaded, judged)
    if judged is not None:
        _tell(show, samples, judged, marked=html is not None or (not live and colours(sys.stdout)))
    result = _object(samples, elapsed_s, unseen) | {"engine": engine_name(loaded, config)}
    show.object(_with_novelty(result, judged) if asked else result)
    return INTERRUPTED if interrupted else DONE


def _check(show: Show, prompt: str | None, prompt_file: str | None, *, stream: bool, count: int) -> None:
    if prompt and prompt_file is not None:
        raise UsageError(
            "--prompt and --prompt-file are both given", why="a text has one beginning", fix="keep one"
        )
    if stream and show.as_json:
        raise UsageError(
            "--stream and --json are both given", why="--json prints one object at the end", fix="keep one"
        )
    if stream and count != 1:
        raise UsageError(
            f"--stream with --count {count}",
            why="samples written side by side would run into one another",
            fix="leave out --stream, or --count",
        )


def _never_ends(count: int) -> UsageError:
    return UsageError(
        f"--length 0 with --count {count}",
        why="the first sample would never end",
        fix="set --length, or give --stop",
    )


def _prompt(show: Show, prompt: str, prompt_file: str | None) -> str:
    """The text to continue: given, from a file, or from standard input; one newline at its end is the shell's."""
    from charloom.text import decode_bytes

    if prompt_file is None and prompt != "-":
        return prompt
    if prompt_file is None:
        name, data = "standard input", sys.stdin.buffer.read()
    else:
        name, data = prompt_file, _bytes_of(Path(prompt_file))
    if not data:
        return ""
    decoded = decode_bytes(data, encoding=None, source=name)
    show.notes(decoded.notes)
    return decoded.text.removesuffix("\n").removesuffix("\r")


def _bytes_of(path: Path) -> bytes:
    from charloom.errors import DataError

    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot read {path}", why=error.strerror or str(error), fix="name a file that holds the prompt"
        ) from error


def _collect(show: Show, writing: Writing, *, live: bool, opening: str) -> tuple[list[Sample], bool]:
    """Every sample in order; Ctrl-C ends the writing and keeps what was written."""
    from charloom.generation import Piece, visible

    samples, interrupted = [], False
    if live:
        show.text(visible(opening), dim=True)
    try:
        for event in writing:
            if not isinstance(event, Piece):
                samples.append(event)
            elif live:
                show.text(visible(event.text))
    except KeyboardInterrupt:
        samples, interrupted = samples + writing.interrupt(), True
    if live:
        show.line()
    return sorted(samples, key=lambda sample: sample.index), interrupted


def _print(show: Show, samples: list[Sample], loaded: Model, judged: Judged | None) -> None:
    """Print finished samples: documents without newlines one a line, others under a heading where there are several."""
    from charloom.generation import marked_parts, visible

    if show.as_json:
        return
    whole = [sample.prompt + sample.text for sample in samples]
    as_lines = loaded.vocab.boundary_id is not None and not any("\n" in text for text in whole)
    spans = [[] for _ in samples] if judged is None else [one.spans for one in judged.each]
    for sample, copied in zip(samples, spans, strict=True):
        if len(samples) > 1 and not as_lines:
            show.line(
                f"{'' if sample.index == 0 else chr(10)}=== sample {sample.index + 1} of {len(samples)} ==="
            )
        show.text(visible(sample.prompt), dim=True)
        for part, mark in marked_parts(sample.text, copied):
            show.text(visible(part), mark=mark)
        show.line()


def _corpus(show: Show, loaded: Model, samples: list[Sample], *, novelty: bool) -> Corpus | None:
    """The run's corpus, where it is at hand and something is to be told from it."""
    several_documents = loaded.vocab.boundary_id is not None and len(samples) > 1
    if novelty:
        return corpus_at_hand(show, loaded, cannot="what was copied")
    if several_documents and loaded.run is not None:
        return corpus_at_hand(show, loaded, cannot="how many samples are new")
    return None


def _unseen_share(show: Show, samples: list[Sample], corpus: Corpus | None) -> float | None:
    """Share of several samples that are none of the training documents."""
    from charloom.evaluation import unseen_share

    if corpus is None or corpus.vocab.boundary_id is None or len(samples) < 2:
        return None
    share = unseen_share([s.prompt + s.text for s in samples], documents_of(corpus))
    show.note(f"{share:.1%} of the {len(samples):,} samples do not stand among the training documents")
    return share


def _tell(show: Show, samples: list[Sample], judged: Judged, *, marked: bool) -> None:
    """Say on standard error what was copied; where it is not marked, each stretch has a line."""
    if not marked and not show.as_json:
        for line in listed(samples, judged):
            show.note(line)
    show.note(summary(judged, sum(len(sample.text) for sample in samples)))
    show.note(distribution(judged))


def _with_novelty(result: dict[str, Any], judged: Judged | None) -> dict[str, Any]:
    """The JSON object with what was copied; null where the corpus is not at hand."""
    each = [None] * len(result["samples"]) if judged is None else [to_json(one) for one in judged.each]
    samples = [sample | {"novelty": novelty} for sample, novelty in zip(result["samples"], each, strict=True)]
    return result | {"samples": samples, "novelty": None if judged is None else judged.whole}


def documents_of(corpus: Any) -> list[str]:
    """The training documents of a corpus, as text."""
    import numpy as np

    ids, boundary = np.asarray(corpus.train), corpus.vocab.boundary_id
    parts = np.split(ids, np.flatnonzero(ids == boundary))
    return [corpus.vocab.decode(part[1:] if part[:1] == boundary else part) for part in parts if len(part)]


def _write_page(
    show: Show,
    path: Path,
    model: str,
    samples: list[Sample],
    settings: dict[str, Any],
    judged: Judged | None,
) -> None:
    from charloom.files import atomic_write
    from charloom.generation import samples_page

    shown = {"model": model, **{name: value for name, value in settings.items() if value is not None}}
    copied = None if judged is None else marks(judged)
    page = samples_page(samples, title=f"Written by {Path(model).name}", settings=shown, marks=copied)
    atomic_write(path, page)
    show.line(f"wrote {path}")


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


def engine_name(loaded: Model, config: SampleConfig) -> str:
    """The engine that writes for a model."""
    return type(loaded.writer(config)).__module__.split(".")[2]


@contextlib.contextmanager
def _patience(show: Show) -> Iterator[None]:
    """Say what is going on where the loops are compiled: a minute at most, once on each machine."""
    timer = threading.Timer(
        PATIENCE_S, lambda: show.note("compiling the writing loops: half a minute, once on this machine")
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
