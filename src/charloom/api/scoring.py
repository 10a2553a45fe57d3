"""Score a text with a model: read it, measure its loss by a protocol, and charge its unknown characters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from charloom.api.bound_model import BoundModel
from charloom.config import nearest_name
from charloom.ensemblefile import members_of
from charloom.errors import ConfigError, DataError
from charloom.evaluation.dynamic import dynamic_score
from charloom.evaluation.protocols import Protocol, Score, stream_loss, windows_loss
from charloom.evaluation.unknown import charged, num_unpredicted
from charloom.run_corpus import Source
from charloom.text import Scoring, encode_for_scoring, read_texts


def scoring_of(
    model: BoundModel,
    text: Source | Sequence[Source] | None,
    split: str,
    on_note: Callable[[str], None] | None,
) -> Scoring:
    """Read the files to score, or a part of the run's own corpus, as `Model.evaluate` does."""
    if text is None:
        return _own_part(model, split)
    texts, notes = read_texts([text] if isinstance(text, (str, Path)) else list(text), model.reading())
    if on_note is not None:
        for note in notes:
            on_note(note)
    return encode_for_scoring(model.vocab, texts, model.file.text_config)


def _own_part(model: BoundModel, split: str) -> Scoring:
    """A part of the run's corpus; of its unknown characters only the number is left, and nothing is charged for them."""
    parts, vocab = ("train", "validation", "test"), model.vocab
    if split not in parts:
        fix = f"use {nearest_name(split, parts) or 'validation'}"
        raise ConfigError(f"split is {split!r}", why="a run's corpus has three parts", fix=fix)
    ids = getattr(model.corpus(), split)
    if ids is None or len(ids) < 2:
        what, why = f"the run has no {split} part", "none was set aside when it was trained"
        fix = "name a text to score, or train with --val-fraction 0.1 or --test FILE"
        raise DataError(what, why=why, fix=fix)
    num_unknown = 0 if vocab.unk_id is None else int((ids == vocab.unk_id).sum())
    num_boundaries = 0 if vocab.boundary_id is None else int((ids == vocab.boundary_id).sum())
    counts = {"\N{REPLACEMENT CHARACTER}": num_unknown} if num_unknown else {}
    return Scoring(ids, counts, num_chars=len(ids) - num_boundaries, unseen_nats=0.0)


def measured_score(
    model: BoundModel,
    scoring: Scoring,
    protocol: Protocol,
    *,
    sizes: Mapping[str, int],
    settings: Mapping[str, Any],
    on_progress: Callable[[float], None] | None,
) -> Score:
    """Measure the loss of a text by a protocol, its unknown characters charged.

    Args:
        model: the model.
        scoring: the text.
        protocol: stream, windows or dynamic.
        sizes: of windows: window, num_windows and seed.
        settings: how to learn while scoring (dynamic).
        on_progress: called with the share of the text that is read.
    """
    ids, boundary = scoring.ids, model.vocab.boundary_id
    if protocol != "windows" and len(ids) < 2 and num_unpredicted(scoring, model.vocab):
        score = Score(protocol, 0, 0.0)  # nothing to read, and something to charge
    elif protocol == "dynamic":
        score = dynamic_score(
            members_of(model.file),
            ids,
            settings=settings,
            engine=model.engine,
            device=model.device,
            precision=model.precision,
            boundary_id=boundary,
            on_progress=on_progress,
        )
    elif protocol == "windows":
        each: Any = sizes
        score = windows_loss(model.bound, ids, boundary_id=boundary, on_progress=on_progress, **each)
    else:
        score = stream_loss(model.bound, ids, boundary_id=boundary, on_progress=on_progress)
    return charged(score, scoring, model.vocab)
