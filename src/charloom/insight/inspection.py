"""All measurements of one model in one call: its memory, its parts, its errors, and verdicts.

Sizes are numbers of characters, lags and passages, never times, so the same model and text give the same numbers.
With the default sizes a model of two layers of 256 units takes under a minute on two cores
(docs/explanation/insight.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import ModelConfig
from charloom.engines import EngineModel, load_engine
from charloom.errors import DataError
from charloom.evaluation.protocols import stream_loss
from charloom.insight.bptt import Unrolled, unroll
from charloom.insight.connectivity import connectivity
from charloom.insight.context import context_curve, enough, far_context
from charloom.insight.embedding import Embedding, embedding
from charloom.insight.error_analysis import ErrorAnalysis, error_analysis
from charloom.insight.features import chars_of
from charloom.insight.gates import gates
from charloom.insight.gradient_flow import GradientFlow, gradient_flow
from charloom.insight.jacobian import StepJacobian, jacobians
from charloom.insight.need import inspecting_need
from charloom.insight.passages import resets_before, spaced
from charloom.insight.results import ContextCurve, Inspection, Sizes
from charloom.insight.training_curve import TrainingCurve
from charloom.insight.units import units
from charloom.insight.verdicts import Evidence, memory_finding
from charloom.modelfile import ModelFile
from charloom.text import encode_for_scoring
from charloom.training.facts import TRAIN_LOSS_CHARS, Facts, bare_facts
from charloom.training.verdict import judge

if TYPE_CHECKING:
    from jaxtyping import Int
    from numpy import ndarray as Array

FEWEST_CHARS = 64
"""Below this length means are not meaningful."""

KEPT = (1, 4, 16, 48)
"""Nearest characters kept while the farther ones are shuffled: a letter, a word, a few words, a line."""


@np.errstate(over="ignore", invalid="ignore")  # exploding values are a finding
def inspect(
    model_file: ModelFile,
    held_out: str | Int[Array, "N"],
    *,
    train: str | Int[Array, "M"] | None = None,
    bptt_length: int | None = None,
    course: TrainingCurve | None = None,
    facts: Facts | None = None,
    score: tuple[float, float | None] | None = None,
    seed: int = 0,
    sizes: Sizes | None = None,
) -> Inspection:
    """Run every measurement of a model on text it was not trained on.

    Args:
        model_file: parameters, configuration, text rules and vocabulary, from a file or in memory.
        held_out: a text or its ids; characters unknown to the model are skipped, or read as ``<unk>`` if it has one.
        train: its training text, for the n-grams and to detect memorisation; None omits both.
        bptt_length: time steps of its training windows, quoted in verdicts; None if unknown.
        course: the curve of its training, to include in the result.
        facts: the record of its training, to be judged; None without one.
        score: its loss in nats on `held_out` and on training text (or None), if already measured; None measures both.
        seed: of the initial parameters and of everything shuffled.
        sizes: of the measurements; None = the defaults.

    Raises:
        DataError: the text has fewer than 64 known characters.
        OutOfMemoryError: the network needs more memory than is free.
    """
    measured = _measurements(model_file, held_out, train, seed, sizes)
    flow, context, errors, read = measured.flow(), measured.context(), measured.errors(), measured.monitored()
    held_out_nats, train_nats = score if score is not None else measured.losses()
    evidence = Evidence(
        trained=flow.trained,
        num_lags=flow.num_lags,
        model=measured.file.model_config,
        enough_chars=context.enough_chars,
        bptt_length=bptt_length,
        last_step=0 if facts is None else facts.last_step,
    )
    memory = memory_finding(evidence)
    if facts is None and train_nats is not None:
        facts = bare_facts(held_out_nats, train_nats, measured.file.model_config)
    passage = measured.passage()
    return Inspection(
        gradient_flow=flow,
        memory_horizon_chars=flow.trained.memory_horizon_chars,
        jacobian=measured.jacobian(),
        context_curve=context,
        gates=gates(read),
        connectivity=connectivity(
            *measured.network, passage, measured.sizes.lean_lags, boundary_id=measured.boundary_id
        ),
        passage=tuple(measured.chars[i] for i in passage),
        units=units(read, measured.chars),
        embedding=measured.embedding(),
        errors=errors,
        held_out_nats=held_out_nats,
        train_nats=train_nats,
        verdicts=judge(facts, memory),
        num_chars=len(measured.ids),
        memory=memory,
        course=course,
    )


@np.errstate(over="ignore", invalid="ignore")
def flow_of(
    model_file: ModelFile, held_out: str | Int[Array, "N"], *, seed: int = 0, sizes: Sizes | None = None
) -> GradientFlow:
    """Measure only the `gradient_flow` of `inspect`, with the same arguments and identical numbers.

    Raises:
        DataError: the text has fewer than 64 known characters.
    """
    return _measurements(model_file, held_out, None, seed, sizes).flow()


def _measurements(
    model_file: ModelFile,
    held_out: str | Int[Array, "N"],
    train: str | Int[Array, "M"] | None,
    seed: int,
    sizes: Sizes | None,
) -> _Measurements:
    ids = _encode(model_file, held_out)
    if len(ids) < FEWEST_CHARS:
        raise DataError(
            f"the text has only {len(ids)} known characters",
            why=f"an inspection needs at least {FEWEST_CHARS}",
            fix="give a longer text of the kind it was trained on",
        )
    train_ids = None if train is None else _encode(model_file, train)
    counted = 0 if train_ids is None else len(train_ids)
    inspecting_need(model_file.model_config, len(model_file.vocab), counted, sizes).check()
    return _Measurements(model_file, ids, train_ids, seed, (sizes or Sizes()).fitted(len(ids)))


@dataclass(frozen=True)
class _Measurements:
    """One model, its texts, and each measurement at the given sizes."""

    file: ModelFile
    ids: Int[Array, "N"]
    train: Int[Array, "M"] | None
    seed: int
    sizes: Sizes

    @property
    def network(self) -> tuple[ModelConfig, Mapping[str, Array]]:
        return self.file.model_config, self.file.parameters

    @property
    def boundary_id(self) -> int | None:
        return self.file.vocab.boundary_id

    @cached_property
    def chars(self) -> tuple[str, ...]:
        return chars_of(self.file.vocab)

    @cached_property
    def model(self) -> EngineModel:
        """The model for losses, in float32: their differences are a hundred thousand times its rounding error."""
        return load_engine("auto", task="scoring").model(self.file.parameters, self.file.model_config)

    def flow(self) -> GradientFlow:
        sizes = self.sizes
        passages = spaced(self.ids, sizes.num_lags + sizes.num_losses + 1, sizes.num_passages)
        return gradient_flow(
            *self.network, passages, sizes.num_lags, seed=self.seed, boundary_id=self.boundary_id
        )

    def jacobian(self) -> tuple[StepJacobian, ...]:
        """Measured on one passage without resets: the behaviour of the layers within a document."""
        num_steps, num_lags = self.sizes.jacobian_steps, self.sizes.jacobian_lags
        (ids,) = spaced(self.ids, 2 * num_lags, 1)
        return jacobians(unroll(*self.network, ids[:, None]), num_steps=num_steps, num_lags=num_lags)

    def context(self) -> ContextCurve:
        model, ids, reach, targets = self.model, self.ids, self.sizes.reach, self.sizes.targets
        stretches, boundary_id = self.sizes.stretches, self.boundary_id
        curve = context_curve(
            model, ids, reach=reach, targets=targets, stretches=stretches, boundary_id=boundary_id
        )
        if boundary_id is not None:
            return ContextCurve(curve, enough(curve), None, ())
        kept = tuple(k for k in KEPT if k <= reach // 2)
        far = far_context(model, ids, kept=kept, reach=reach, targets=targets, seed=self.seed)
        return ContextCurve(curve, enough(curve, far), far, far.order_share)

    def monitored(self) -> Unrolled:
        """The passages for gates and units, one per column."""
        ids = spaced(self.ids, self.sizes.unit_chars, self.sizes.unit_passages).T
        return unroll(*self.network, ids, resets_before(ids, self.boundary_id))

    def passage(self) -> Int[Array, "N"]:
        """The beginning of the text, for the heat map."""
        ids: Array = self.ids[: self.sizes.lean_lags + self.sizes.lean_rows + 1].astype(np.int64)
        return ids

    def embedding(self) -> Embedding | None:
        text = self.ids if self.train is None else self.train
        counts = np.bincount(text, minlength=len(self.file.vocab))
        counts[len(self.file.vocab.symbols) :] = 0
        return embedding(*self.network, self.chars, counts, seed=self.seed)

    def errors(self) -> ErrorAnalysis:
        counted = None if self.train is None else self.train[-self.sizes.ngram_chars :].astype(np.int64)
        ids = self.ids[: self.sizes.error_chars].astype(np.int64)
        return error_analysis(self.model, ids, self.chars, counted, boundary_id=self.boundary_id)

    def losses(self) -> tuple[float, float | None]:
        """The loss on the whole held-out text, and on as much of the end of the training text as training scores."""
        model = load_engine("auto", task="writing").model(self.file.parameters, self.file.model_config)
        held_out = stream_loss(model, self.ids, boundary_id=self.boundary_id).loss_nats
        if self.train is None or len(self.train) < 2:
            return held_out, None
        end = self.train[-TRAIN_LOSS_CHARS:]
        return held_out, stream_loss(model, end, boundary_id=self.boundary_id).loss_nats


def _encode(model_file: ModelFile, text: str | Int[Array, "N"]) -> Int[Array, "N"]:
    if isinstance(text, str):
        return encode_for_scoring(model_file.vocab, text, model_file.text_config).ids
    return text
