"""Everything about one model in one call: what it remembers, what its parts do, where it errs, and what to make of it.

All sizes are numbers of characters, lags and passages, and no clock is read: the same model and text give the same numbers.
With the usual sizes a model of two layers of 256 units takes under a minute of two cores (docs/explanation/insight.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import ModelConfig
from charloom.engines import Model, load_engine
from charloom.errors import DataError
from charloom.insight.connectivity import connectivity
from charloom.insight.context import context_curve, enough, far_context
from charloom.insight.course import Course, memorised_in
from charloom.insight.embedding import Embedding, embedding
from charloom.insight.errors import Errors, errors, position_losses
from charloom.insight.features import chars_of
from charloom.insight.gates import gates
from charloom.insight.gradient_flow import GradientFlow, gradient_flow
from charloom.insight.jacobian import StepJacobian, jacobians
from charloom.insight.passages import resets_before, spaced
from charloom.insight.results import ContextCurve, Inspection, Sizes
from charloom.insight.units import units
from charloom.insight.unrolled import Unrolled, unroll
from charloom.insight.verdicts import Facts, judge
from charloom.modelfile import ModelFile
from charloom.text import encode_for_scoring

if TYPE_CHECKING:
    from jaxtyping import Int
    from numpy import ndarray as Array

FEWEST_CHARS = 64
"""Under it no mean means anything."""

KEPT = (1, 4, 16, 48)
"""Nearest characters that stay as they are while the farther ones are shuffled: a letter, a word, a few words, a line."""


def inspect(
    model_file: ModelFile,
    held_out: str | Int[Array, "N"],
    *,
    train: str | Int[Array, "M"] | None = None,
    bptt_length: int | None = None,
    course: Course | None = None,
    seed: int = 0,
    sizes: Sizes | None = None,
) -> Inspection:
    """Look at a model from every side, on text that it has not learnt.

    Args:
        model_file: parameters, configuration, text rules and vocabulary: read from a file or put together.
        held_out: a text, or its ids; characters that the model has never seen are left out, or are its ``<unk>``.
        train: what it learnt from, for the n-grams and to judge memorising; None leaves both out.
        bptt_length: time steps of the windows it learnt from, for the sentences; None if unknown.
        course: of its training, to stand beside the rest.
        seed: of the initial parameters and of everything dealt out or shuffled.
        sizes: how much to look at; None = the usual.

    Raises:
        DataError: the text holds fewer than 64 known characters.
    """
    look = _look(model_file, held_out, train, seed, sizes)
    with np.errstate(over="ignore", invalid="ignore"):  # what explodes is what we are here to see
        return _inspect(look, bptt_length, course)


def flow_of(
    model_file: ModelFile, held_out: str | Int[Array, "N"], *, seed: int = 0, sizes: Sizes | None = None
) -> GradientFlow:
    """How far a model's gradients reach back, and nothing else: the `gradient_flow` of `inspect`, to the last digit.

    Args:
        model_file: as for `inspect`.
        held_out: as for `inspect`.
        seed: of the initial parameters.
        sizes: how much to look at; None = the usual.

    Raises:
        DataError: the text holds fewer than 64 known characters.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return _look(model_file, held_out, None, seed, sizes).flow()


def _look(
    model_file: ModelFile,
    held_out: str | Int[Array, "N"],
    train: str | Int[Array, "M"] | None,
    seed: int,
    sizes: Sizes | None,
) -> _Look:
    ids = _encode(model_file, held_out)
    if len(ids) < FEWEST_CHARS:
        raise DataError(
            f"the text to look at holds {len(ids)} known characters",
            why=f"a look at a model needs at least {FEWEST_CHARS}",
            fix="give a longer text of the kind it was trained on",
        )
    learnt = None if train is None else _encode(model_file, train)
    return _Look(model_file, ids, learnt, seed, (sizes or Sizes()).fitted(len(ids)))


def _inspect(look: _Look, bptt_length: int | None, course: Course | None) -> Inspection:
    flow, context, found, read = look.flow(), look.context(), look.errors(), look.watched()
    held_out_nats, train_nats = found.overall.bits_per_char * math.log(2), look.train_nats()
    facts = Facts(
        trained=flow.trained,
        num_lags=flow.num_lags,
        cell=look.file.model_config.cell,
        held_out_nats=held_out_nats,
        train_nats=train_nats,
        enough_chars=context.enough_chars,
        bptt_length=bptt_length,
        run_memorised=None if course is None else memorised_in(course),
    )
    leaning = look.passage()
    return Inspection(
        gradient_flow=flow,
        memory_horizon_chars=flow.trained.memory_horizon_chars,
        jacobian=look.jacobian(),
        context_curve=context,
        gates=gates(read),
        connectivity=connectivity(*look.network, leaning, look.sizes.lean_lags, boundary_id=look.boundary_id),
        passage=tuple(look.chars[i] for i in leaning),
        units=units(read, look.chars),
        embedding=look.embedding(),
        errors=found,
        held_out_nats=held_out_nats,
        train_nats=train_nats,
        verdicts=judge(facts),
        num_chars=len(look.ids),
        course=course,
    )


@dataclass(frozen=True)
class _Look:
    """One model and its text, and each measurement with the sizes asked for."""

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
    def model(self) -> Model:
        """What losses are measured with, in float32: their differences are a hundred thousand times its rounding."""
        return load_engine("scratch").model(self.file.parameters, self.file.model_config)

    def flow(self) -> GradientFlow:
        sizes = self.sizes
        passages = spaced(self.ids, sizes.num_lags + sizes.num_losses + 1, sizes.num_passages)
        return gradient_flow(
            *self.network, passages, sizes.num_lags, seed=self.seed, boundary_id=self.boundary_id
        )

    def jacobian(self) -> tuple[StepJacobian, ...]:
        """On one passage, read without resets: how the layers act while a document lasts."""
        (ids,) = spaced(self.ids, 2 * self.sizes.jacobian_lags, 1)
        return jacobians(
            unroll(*self.network, ids[:, None]),
            num_steps=self.sizes.jacobian_steps,
            num_lags=self.sizes.jacobian_lags,
        )

    def context(self) -> ContextCurve:
        sizes, kept = self.sizes, tuple(k for k in KEPT if k <= self.sizes.reach // 2)
        curve = context_curve(
            self.model,
            self.ids,
            reach=sizes.reach,
            targets=sizes.targets,
            stretches=sizes.stretches,
            boundary_id=self.boundary_id,
        )
        far = None
        if self.boundary_id is None:
            far = far_context(
                self.model, self.ids, kept=kept, reach=sizes.reach, targets=sizes.targets, seed=self.seed
            )
        return ContextCurve(curve, enough(curve), far, () if far is None else far.order_share)

    def watched(self) -> Unrolled:
        """The passages that gates and units are watched on, one column each."""
        ids = spaced(self.ids, self.sizes.unit_chars, self.sizes.unit_passages).T
        return unroll(*self.network, ids, resets_before(ids, self.boundary_id))

    def passage(self) -> Int[Array, "N"]:
        """The beginning of the text, for the heat-map."""
        ids: Array = self.ids[: self.sizes.lean_lags + self.sizes.lean_rows + 1].astype(np.int64)
        return ids

    def embedding(self) -> Embedding | None:
        text = self.ids if self.train is None else self.train
        counts = np.bincount(text, minlength=len(self.file.vocab))
        counts[len(self.file.vocab.symbols) :] = 0
        return embedding(*self.network, self.chars, counts, seed=self.seed)

    def errors(self) -> Errors:
        counted = None if self.train is None else self.train[-self.sizes.ngram_chars :].astype(np.int64)
        ids = self.ids[: self.sizes.error_chars].astype(np.int64)
        return errors(self.model, ids, self.chars, counted, boundary_id=self.boundary_id)

    def train_nats(self) -> float | None:
        """The loss on the end of the training text, which stands next to the held-out one and is of its kind."""
        if self.train is None or len(self.train) < 2:
            return None
        end = self.train[-self.sizes.error_chars :]
        return float(position_losses(self.model, end, boundary_id=self.boundary_id).mean())


def _encode(model_file: ModelFile, text: str | Int[Array, "N"]) -> Int[Array, "N"]:
    if isinstance(text, str):
        return encode_for_scoring(model_file.vocab, text, model_file.text_config).ids
    return text
