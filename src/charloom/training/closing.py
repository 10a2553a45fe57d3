"""The end of a run: measure the kept model, put honest baselines beside it, judge, and write it down."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from charloom.config import TrainConfig, format_plan
from charloom.engines import Model, load_engine
from charloom.evaluation.compressors import xz_bits_per_char
from charloom.evaluation.ngram import ngram_baseline
from charloom.evaluation.protocols import Score, stream_loss
from charloom.modelfile import read_model, write_model
from charloom.runs import Run
from charloom.text.corpus import Corpus
from charloom.training.book import Book
from charloom.training.events import Finished
from charloom.training.verdict import Facts, judge

if TYPE_CHECKING:
    from jaxtyping import Int
    from numpy import ndarray as Array

BASELINE_TRAIN_CHARS = 4_000_000
"""The n-gram and xz are primed with the last this many characters of the training part."""

BASELINE_VALIDATION_CHARS = 1_000_000
TRAIN_LOSS_CHARS = 50_000


class Baselines(NamedTuple):
    """What needs no network, on the same held-out text."""

    ngram_bits_per_char: float | None
    ngram_order: int | None
    xz_bits_per_char: float | None


def close(corpus: Corpus, config: TrainConfig, run: Run, book: Book, *, reason: str, device: str) -> Finished:
    """Measure the kept model, judge the run and record both in ``config.json`` and the model's card."""
    kept = read_model(run.model_path)
    model = load_engine(config.engine).model(kept.parameters, kept.model_config, device=device)
    validation = _score(model, corpus.validation, corpus)
    train = _score(model, corpus.train[-TRAIN_LOSS_CHARS:], corpus)
    baselines = measure_baselines(corpus)
    finished = Finished(
        step=book.step,
        reason=reason,
        best_step=book.best_step,
        chars_seen=book.chars_seen,
        train_time_s=book.train_time_s,
        wall_time_s=book.elapsed_s,
        val_loss_nats=None if validation is None else validation.loss_nats,
        val_chars=0 if validation is None else validation.chars,
        train_loss_nats=math.inf if train is None else train.loss_nats,
        ngram_bits_per_char=baselines.ngram_bits_per_char,
        ngram_order=baselines.ngram_order,
        xz_bits_per_char=baselines.xz_bits_per_char,
        verdicts=judge(_facts(corpus, book, validation, train, baselines, reason)),
        steps_plan=format_plan(book.knots or ((0, 0.0), (max(1, book.step), 1.0))),
    )
    results = _results(finished)
    write_model(run.model_path, replace(kept, card=kept.card | {"results": results}))
    taken = {"steps": book.step, "plan": finished.steps_plan}
    run.write_config(run.config() | {"as_taken": taken, "results": results})
    return finished


def measure_baselines(corpus: Corpus) -> Baselines:
    """The n-gram of the best order and xz, primed with the training part, on the validation part."""
    if corpus.validation is None or len(corpus.validation) < 2:
        return Baselines(None, None, None)
    validation = corpus.validation[:BASELINE_VALIDATION_CHARS]
    train = corpus.train[-BASELINE_TRAIN_CHARS:]
    ngram = ngram_baseline(train, validation, len(corpus.vocab))
    xz = xz_bits_per_char(corpus.vocab.decode(train), corpus.vocab.decode(validation))
    return Baselines(ngram.bits_per_char, ngram.order, xz)


def _score(model: Model, ids: Int[Array, "N"] | None, corpus: Corpus) -> Score | None:
    if ids is None or len(ids) < 2:
        return None
    return stream_loss(model, ids, boundary_id=corpus.vocab.boundary_id)


def _facts(
    corpus: Corpus,
    book: Book,
    validation: Score | None,
    train: Score | None,
    baselines: Baselines,
    reason: str,
) -> Facts:
    ngram = baselines.ngram_bits_per_char
    return Facts(
        history=book.history,
        last_step=book.step,
        train_loss=math.inf if train is None else train.loss_nats,
        val_loss=None if validation is None else validation.loss_nats,
        ngram_loss=None if ngram is None else ngram * math.log(2),
        train_chars=len(corpus.train),
        stopped_early=reason == "patience",
        unit=corpus.vocab.unit,
    )


def _results(finished: Finished) -> dict[str, Any]:
    loss = finished.val_loss_nats
    return {
        "protocol": "stream",
        "steps": finished.step,
        "best_step": finished.best_step,
        "chars_seen": finished.chars_seen,
        "train_time_s": round(finished.train_time_s, 3),
        "wall_time_s": round(finished.wall_time_s, 3),
        "val_loss_nats": loss,
        "val_bits_per_char": None if loss is None else loss / math.log(2),
        "val_chars": finished.val_chars,
        "train_loss_nats": finished.train_loss_nats if math.isfinite(finished.train_loss_nats) else None,
        "ngram_bits_per_char": finished.ngram_bits_per_char,
        "ngram_order": finished.ngram_order,
        "xz_bits_per_char": finished.xz_bits_per_char,
        "verdicts": [{"kind": v.kind, "says": v.says, "advice": v.advice} for v in finished.verdicts],
    }
