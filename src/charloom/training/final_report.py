"""The final report of a run: measure the kept model, compare it with baselines, draw verdicts and record them."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from charloom.config import TrainConfig, format_plan
from charloom.engines import EngineModel, load_engine
from charloom.evaluation.protocols import Score, stream_steps
from charloom.modelfile import read_model, write_model
from charloom.runs import Run
from charloom.text.corpus import Corpus
from charloom.text.vocabulary import bytes_per_id
from charloom.training.baselines import BaselineMeasurement, Baselines
from charloom.training.events import Closing, Finished, announced
from charloom.training.facts import TRAIN_LOSS_CHARS, run_facts
from charloom.training.state import LoopState
from charloom.training.verdict import judge

if TYPE_CHECKING:
    from jaxtyping import Int
    from numpy import ndarray as Array


def final_report(
    corpus: Corpus,
    config: TrainConfig,
    run: Run,
    progress: LoopState,
    baselines: BaselineMeasurement | None,
    *,
    reason: str,
    device: str,
    overtime: Callable[[], float] = lambda: -math.inf,
) -> Generator[Closing, None, Finished]:
    """Measure the kept model, draw the verdicts, and record both in ``config.json`` and the model's card.

    The time this takes is bounded: `LoopState.report_chars` limits the text, and what is late by `Budget.overtime` ends
    with what it has measured. Yields what it is doing.
    """
    kept, step = read_model(run.model_path), progress.step
    engine = load_engine("auto", task="scoring" if device == "cpu" else "training")
    model = engine.model(kept.parameters, kept.model_config, device=device)
    held_out = reported_part(corpus, progress)
    late = (lambda: overtime() > 0.3), (lambda: overtime() > 0.4), (lambda: overtime() > 0.6)
    validation = yield from _score(model, held_out, corpus, step, "the loss on held-out text", stops=late[0])
    end = corpus.train[-min(TRAIN_LOSS_CHARS, progress.report_chars) :]
    train = yield from _score(model, end, corpus, step, "the loss on training text", stops=late[1])
    found = Baselines()
    if baselines is not None:
        what = "the baselines, n-gram and xz"
        found = yield from announced(what, baselines.finish(late[2]), partial(Closing, step))
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
        **found._asdict(),
        verdicts=(),
        steps_plan=format_plan(progress.knots or ((0, 0.0), (max(1, progress.step), 1.0))),
    )
    results = _results(finished, validation) | {
        "val_bits_per_byte": _bits_per_byte(corpus, held_out, validation)
    }
    held_out_file = run.config().get("corpus", {}).get("val") is not None
    how: dict[str, Any] = {"plan": finished.steps_plan, "reason": reason, "held_out_file": held_out_file}
    facts = run_facts(results, run.events(), corpus, kept.model_config, config, **how)
    finished = replace(finished, verdicts=judge(facts))
    results |= {"verdicts": [asdict(one) for one in finished.verdicts], "facts": facts.to_json()}
    write_model(run.model_path, replace(kept, card=kept.card | {"results": results}))
    taken = {"steps": progress.step, "plan": finished.steps_plan}
    run.write_config(run.config() | {"as_taken": taken, "results": results})
    return finished


def reported_part(corpus: Corpus, progress: LoopState) -> Int[Array, "M"] | None:
    """The held-out text that the final report measures: the validation part or its beginning."""
    validation = corpus.validation
    return None if validation is None or len(validation) < 2 else validation[: progress.report_chars]


def _score(
    model: EngineModel,
    ids: Int[Array, "N"] | None,
    corpus: Corpus,
    step: int,
    what: str,
    *,
    stops: Callable[[], bool],
) -> Generator[Closing, None, Score | None]:
    if ids is None or len(ids) < 2:
        return None
    steps = stream_steps(model, ids, boundary_id=corpus.vocab.boundary_id, stops=stops)
    score: Score = yield from announced(what, steps, partial(Closing, step))
    return score


def _bits_per_byte(corpus: Corpus, ids: Int[Array, "M"] | None, score: Score | None) -> float | None:
    return None if score is None or ids is None else score.bits_per_char / bytes_per_id(corpus.vocab, ids)


def _results(finished: Finished, validation: Score | None) -> dict[str, Any]:
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
        "val_standard_error_nats": None if validation is None else validation.standard_error,
        "val_chars": finished.val_chars,
        "train_loss_nats": finished.train_loss_nats if math.isfinite(finished.train_loss_nats) else None,
        "ngram_bits_per_char": finished.ngram_bits_per_char,
        "ngram_order": finished.ngram_order,
        "xz_bits_per_char": finished.xz_bits_per_char,
        "baseline_train_chars": finished.baseline_train_chars,
    }
