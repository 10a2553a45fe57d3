"""The text of a run: kept in its folder, or read again and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from charloom.config import stored_text_config
from charloom.errors import CharloomError, DataError, RunError
from charloom.files import copy_file
from charloom.modelfile import read_model
from charloom.runs import Run
from charloom.text import Corpus, Vocabulary, can_be_read_once, open_prepared, read_corpus, write_prepared
from charloom.text.widen import with_vocabulary
from charloom.training.distillation import Teacher

Source = str | Path

KEPT_BYTES = 16 << 20
"""The largest text that a run keeps without being asked, if it cannot be read again."""


def new_run(
    place: Path, corpus: Corpus, record: Mapping[str, Any], *, keep: bool, teacher: Teacher | None = None
) -> Run:
    """Create the run folder, with the text in it if it is kept, and with the teacher, which a resume needs."""
    run = Run.create(place, record)
    with run.removed_if_unused():
        if keep:
            write_prepared(corpus, run.corpus_path)
        if teacher is not None:
            copy_file(teacher.path, run.teacher_path)
    return run


def keeps_text(
    corpus: Corpus, asked: bool | None, sources: Sequence[Source | None], *, in_memory: bool
) -> tuple[bool, tuple[str, ...]]:
    """Whether a run keeps its text, and what the user should know about it.

    A text that cannot be read again, from a pipe or from memory, is kept by default if it is small.
    """
    is_gone = in_memory or any(source is not None and can_be_read_once(source) for source in sources)
    if asked is not None or not is_gone:
        return bool(asked), ()
    parts = (corpus.train, corpus.validation, corpus.test)
    size = sum(ids.nbytes for ids in parts if ids is not None)
    if size <= KEPT_BYTES:
        return True, ()
    note = (
        f"the text is not kept in the run, because it has more than {KEPT_BYTES >> 20} MB, and it cannot be read again: "
        "name it with --text to resume, and as an argument of eval and inspect; --keep-text keeps it"
    )
    return False, (note,)


def corpus_of(run: Run, text: Sequence[Source] | None = None) -> Corpus:
    """Read the corpus of a run again and check that it has not changed.

    Args:
        run: the run.
        text: where the corpus is now, if it moved.

    Raises:
        RunError: the corpus has changed, cannot be read, or was given in memory.
    """
    return corpus_of_record(run, run.complete_config(), text)


def corpus_of_record(run: Run, config: Mapping[str, Any], text: Sequence[Source] | None = None) -> Corpus:
    """As `corpus_of`, with the contents of the run's ``config.json``: its folder may be on another machine."""
    source = str(run.config_path)
    facts, text_settings = config["corpus"], stored_text_config(config["text"], source=source)
    try:
        if text is None and run.corpus_path.exists():
            corpus = replace(open_prepared(run.corpus_path), notes=())
        else:
            sources = _sources_of(run, facts) if text is None else [str(source) for source in text]
            corpus = read_corpus(sources, text_settings, val=facts["val"], test=facts["test"])
    except DataError as error:
        what = f"the corpus of {run.path} cannot be read: {error.what}"
        raise RunError(what, why=error.why, fix="say where it is now with --text PATH") from error
    if corpus.sha256 != facts["sha256"]:
        raise RunError(
            f"{', '.join(corpus.sources) or corpus.name} is not the text that {run.path} was trained on",
            why=f"its SHA-256 is {corpus.sha256[:12]}…, the run's is {facts['sha256'][:12]}…",
            fix="name the same text with --text PATH; to go on with another text, start a run from this model: "
            f"charloom train TEXT --init-from {run.path}",
        )
    return _as_trained(corpus, run, facts)


def _as_trained(corpus: Corpus, run: Run, facts: Mapping[str, Any]) -> Corpus:
    """The corpus with the vocabulary of the run, which is larger than its own if the run began with another model's weights."""
    if len(corpus.vocab) == facts["vocab_size"]:
        return corpus
    try:
        if "vocab" in facts:
            return with_vocabulary(corpus, Vocabulary.from_json(facts["vocab"]))
        return with_vocabulary(corpus, read_model(run.model_path).vocab)  # a run from before it was recorded
    except (CharloomError, ValueError) as error:
        raise RunError(
            f"the vocabulary of {run.path} is lost",
            why=f"the run has {facts['vocab_size']} symbols and its text has {len(corpus.vocab)} ({error})",
            fix="start it again in another folder with the same command",
        ) from error


def _sources_of(run: Run, facts: Mapping[str, Any]) -> list[str]:
    """Where the corpus of a run can be read again.

    Raises:
        RunError: nowhere, as it came from memory or through a pipe and is not kept.
    """
    sources: list[str] = facts["sources"]
    named = [source for source in (*sources, facts["val"], facts["test"]) if source is not None]
    origin = "was given in memory" if facts["in_memory"] else "came through a pipe"
    if facts["in_memory"] or any(can_be_read_once(source) for source in named):
        raise RunError(
            f"the corpus of {run.path} {origin} and is not kept",
            why="it cannot be read again",
            fix="write the text to a file and name that: as an argument, to resume with --text FILE (text=[FILE])",
        )
    return sources
