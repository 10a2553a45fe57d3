"""The final report of a run: measure the kept model, compare it with baselines, draw verdicts and record them."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from charloom.config import TrainConfig, format_plan
from charloom.engines import EngineModel, load_engine
from charloom.evaluation.compressors import xz_bits_per_char
from charloom.evaluation.ngram import ngram_baseline
from charloom.evaluation.protocols import Score, stream_loss
from charloom.modelfile import read_model, write_model
from charloom.runs import Run
from charloom.text.corpus import Corpus
from charloom.training.events import Finished
from charloom.training.facts import TRAIN_LOSS_CHARS, run_facts
from charloom.training.state import LoopState
from charloom.training.verdict import judge

if TYPE_CHECKING:
    from jaxtyping import Int
    from numpy import ndarray as Array

BASELINE_TRAIN_CHARS = 4_000_000
"""The n-gram and xz are primed with at most this many characters, from the end of the training part."""

BASELINE_VALIDATION_CHARS = 1_000_000


class Baselines(NamedTuple):
    """Results of the baselines on the held-out text; None without one."""

    ngram_bits_per_char: float | None
    ngram_order: int | None
    xz_bits_per_char: float | None


def final_report(
    corpus: Corpus, config: TrainConfig, run: Run, progress: LoopState, *, reason: str, device: str
) -> Finished:
    """Measure the kept model, draw the verdicts, and record both in ``config.json`` and the model's card."""
    kept = read_model(run.model_path)
    model = load_engine(config.engine).model(kept.parameters, kept.model_config, device=device)
    validation = _score(model, corpus.validation, corpus)
    train = _score(model, corpus.train[-TRAIN_LOSS_CHARS:], corpus)
    finished = Finished(
        step=progress.step,
        reason=reason,
        best_step=progress.best_step,
        chars_seen=progress.chars_seen,
        train_time_s=progress.train_time_s,
        wall_time_s=progress.elapsed_s,
        val_loss_nats=None if validation is None else validation.loss_nats,
        val_chars=0 if validation is None else validation.chars,
        train_loss_nats=math.inf if train is None else train.loss_nats,
        **measure_baselines(corpus)._asdict(),
        verdicts=(),
        steps_plan=format_plan(progress.knots or ((0, 0.0), (max(1, progress.step), 1.0))),
    )
    results = _results(finished, None if validation is None else validation.standard_error)
    facts = run_facts(
        results,
        run.events(),
        corpus,
        kept.model_config,
        config,
        plan=finished.steps_plan,
        reason=reason,
        held_out_file=run.config().get("corpus", {}).get("val") is not None,
    )
    finished = replace(finished, verdicts=judge(facts))
    results |= {"verdicts": [asdict(one) for one in finished.verdicts], "facts": facts.to_json()}
    write_model(run.model_path, replace(kept, card=kept.card | {"results": results}))
    taken = {"steps": progress.step, "plan": finished.steps_plan}
    run.write_config(run.config() | {"as_taken": taken, "results": results})
    return finished


def measure_baselines(corpus: Corpus) -> Baselines:
    """Score the validation part with the n-gram of the best order and with xz, primed with the training part."""
    if corpus.validation is None or len(corpus.validation) < 2:
        return Baselines(None, None, None)
    validation = corpus.validation[:BASELINE_VALIDATION_CHARS]
    train = corpus.train[-BASELINE_TRAIN_CHARS:]
    ngram = ngram_baseline(train, validation, len(corpus.vocab))
    xz = xz_bits_per_char(corpus.vocab.decode(train), corpus.vocab.decode(validation))
    return Baselines(ngram.bits_per_char, ngram.order, xz)


def _score(model: EngineModel, ids: Int[Array, "N"] | None, corpus: Corpus) -> Score | None:
    if ids is None or len(ids) < 2:
        return None
    return stream_loss(model, ids, boundary_id=corpus.vocab.boundary_id)


def _results(finished: Finished, standard_error: float | None) -> dict[str, Any]:
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
        "val_standard_error_nats": standard_error,
        "val_chars": finished.val_chars,
        "train_loss_nats": finished.train_loss_nats if math.isfinite(finished.train_loss_nats) else None,
        "ngram_bits_per_char": finished.ngram_bits_per_char,
        "ngram_order": finished.ngram_order,
        "xz_bits_per_char": finished.xz_bits_per_char,
    }
