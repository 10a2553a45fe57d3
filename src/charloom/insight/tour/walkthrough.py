"""The tour: how a text becomes a prediction, stage by stage, in numbers.

    corpus   number of characters and of distinct ones, the most frequent ones, the split
    ids      the first characters with their ids
    batch    the windows of two steps: lanes × time, each input x above the target y that follows it in the text
    stages   output shape and parameters of each layer, from ids to logits
    softmax  one prediction: −ln p of the actual character, the distribution at each temperature and after each filter

Everything is computed in float64 by the scratch engine, so no other library is needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import ModelConfig, TrainConfig, without_dropout
from charloom.engines import load_engine
from charloom.generation.filters import next_distribution
from charloom.generation.prefill import with_bos
from charloom.insight.tour.batch import BatchGrid, batch_of, symbol_names
from charloom.insight.tour.shapes import ShapeStage, stages
from charloom.insight.tour.softmax import TOP_K, TOP_P, Distribution, distributions
from charloom.parameters import count_parameters, initial_parameters
from charloom.summary import Summarised, Summary, short_fields
from charloom.text import Corpus, Vocabulary

if TYPE_CHECKING:
    from jaxtyping import Float64, Int, Int64
    from numpy import ndarray as Array

FIRST_IDS = 40
CONTEXT = 64
"""Maximum number of characters that the prediction reads."""
FREQUENT = 12
_BLOCK = 1 << 20  # ids counted at a time


@dataclass(frozen=True, slots=True)
class Frequent:
    """A character of the corpus, its count, and its share of all symbols."""

    char: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class CorpusFacts:
    """Statistics of a corpus.

    Attributes:
        encodings: of its files; empty for prepared or in-memory text.
        num_chars: characters of the normalised text.
        unit: char or byte.
        specials: symbols other than characters.
        most_frequent: in descending order.
    """

    name: str
    encodings: tuple[str, ...]
    num_chars: int
    num_distinct: int
    unit: str
    specials: tuple[str, ...]
    most_frequent: tuple[Frequent, ...]
    split: Mapping[str, int]

    __repr__ = short_fields


@dataclass(frozen=True, slots=True)
class Prediction:
    """One prediction.

    Attributes:
        context: the symbols read before it.
        context_text: the same as text.
        part: source of the context: validation, train, or prompt.
        actual: the actual next character; None if the text ends.
        loss_nats: −ln p of it; None if the text ends.
        uniform_nats: ln V, the loss of a uniform guess.
        distributions: at three temperatures, then after each filter.
    """

    context: tuple[str, ...]
    context_text: str
    part: str
    actual: str | None
    loss_nats: float | None
    uniform_nats: float
    distributions: tuple[Distribution, ...]

    __repr__ = short_fields


@dataclass(frozen=True, slots=True, repr=False)
class Tour(Summarised):
    """All stages of the tour.

    Attributes:
        trained: whether the parameters are those of a trained model or as initialised.
        settings_from: source of the settings.
        corpus: None if a model's corpus is not available; then `batch` is None too.
        first_text: beginning of the text.
        first_ids: its symbols with their ids.
        batch: two steps.
        num_params: of the whole network.
    """

    trained: bool
    settings_from: str
    cell: str
    corpus: CorpusFacts | None
    first_text: str
    first_ids: tuple[tuple[str, int], ...]
    batch: BatchGrid | None
    stages: tuple[ShapeStage, ...]
    num_params: int
    prediction: Prediction

    def summary(self) -> Summary:
        """The text, the network and the prediction."""
        text = (
            "no corpus"
            if self.corpus is None
            else f"{self.corpus.name}, {self.corpus.num_chars:,} characters"
        )
        state = "trained" if self.trained else "as initialised"
        network = f"{self.cell}, {self.num_params:,} parameters, {state}"
        return Summary(f"Tour: {text}; {network}", (("settings", self.settings_from),))


def take_tour(
    corpus: Corpus | None,
    vocab: Vocabulary,
    model_config: ModelConfig,
    train_config: TrainConfig,
    *,
    parameters: Mapping[str, Float64[Array, "..."]] | None = None,
    prompt: Int[Array, " T"] | None = None,
    settings_from: str = "",
    top_k: int = TOP_K,
    top_p: float = TOP_P,
) -> Tour:
    """Compute every stage of the tour.

    Args:
        corpus: the training text; None if not available.
        vocab: the model's.
        model_config: the network.
        train_config: its training; batch and window are reduced for a short text.
        parameters: of a trained model; None = as initialised for training.
        prompt: ids to predict from if there is no corpus, all of which are read; None = none.
        settings_from: source of the settings, in words.
        top_k: of the filter shown.
        top_p: of the filter shown.

    Raises:
        DataError: the training part has fewer than two symbols.
    """
    trained = parameters is not None
    network = without_dropout(model_config)
    if parameters is None:
        parameters = initial_parameters(network, len(vocab), train_config.seed)
    if corpus is None:
        part, ids = "prompt", with_bos(np.empty(0, np.int64) if prompt is None else prompt, vocab)
        batch, opening, length = None, ids[:FIRST_IDS], len(ids)
    else:
        part, ids = _held_out(corpus)
        batch, opening = batch_of(corpus, train_config), np.asarray(corpus.train[:FIRST_IDS])
        length = min(CONTEXT, len(ids) - 1)
    logits = _logits(parameters, network, ids[:length], vocab.boundary_id)
    target = int(ids[length]) if length < len(ids) else None
    names = symbol_names(vocab)
    sizes = batch or train_config
    last_only = train_config.objective == "last"
    return Tour(
        trained=trained,
        settings_from=settings_from,
        cell=model_config.cell,
        corpus=None if corpus is None else corpus_facts(corpus),
        first_text=vocab.decode(opening),
        first_ids=tuple((names[i], int(i)) for i in opening),
        batch=batch,
        stages=stages(network, len(vocab), sizes.batch_size, sizes.bptt_length, last_only=last_only),
        num_params=count_parameters(network, len(vocab)),
        prediction=Prediction(
            context=tuple(names[i] for i in ids[:length]),
            context_text=vocab.decode(ids[:length]),
            part=part,
            actual=None if target is None else names[target],
            loss_nats=None if target is None else float(-np.log(next_distribution(logits[None])[0, target])),
            uniform_nats=math.log(len(vocab)),
            distributions=distributions(logits, names, top_k=top_k, top_p=top_p),
        ),
    )


def corpus_facts(corpus: Corpus) -> CorpusFacts:
    """Count the characters of every part of the split."""
    names = symbol_names(corpus.vocab)
    split = {"train": corpus.train, "validation": corpus.validation, "test": corpus.test}
    parts = {name: part for name, part in split.items() if part is not None}
    counts = np.zeros(len(names), np.int64)
    for part in parts.values():
        for start in range(0, len(part), _BLOCK):
            counts += np.bincount(np.asarray(part[start : start + _BLOCK]), minlength=len(names))
    total = int(counts.sum())
    order = np.argsort(-counts, kind="stable")[:FREQUENT]
    return CorpusFacts(
        name=corpus.name,
        encodings=corpus.encodings,
        num_chars=corpus.num_chars,
        num_distinct=len(corpus.vocab.symbols),
        unit=corpus.vocab.unit,
        specials=corpus.vocab.specials,
        most_frequent=tuple(
            Frequent(names[i], int(counts[i]), float(counts[i] / total)) for i in order if counts[i]
        ),
        split={name: len(part) for name, part in parts.items()},
    )


def _held_out(corpus: Corpus) -> tuple[str, Int64[Array, " n"]]:
    """The text to predict: the validation part if it has at least two symbols, otherwise the training part."""
    if corpus.validation is not None and len(corpus.validation) > 1:
        return "validation", corpus.validation
    return "train", corpus.train


def _logits(
    parameters: Mapping[str, Float64[Array, "..."]],
    config: ModelConfig,
    ids: Int[Array, " T"],
    boundary_id: int | None,
) -> Float64[Array, " V"]:
    """The logits after a text, from the initial state."""
    model = load_engine("scratch").model(parameters, config, precision="float64")
    row = np.asarray(ids, np.int64)[None]
    resets = np.zeros(row.shape, bool) if boundary_id is None else row == boundary_id
    logits, _ = model.forward(row, model.initial_state(1), resets)
    return np.asarray(logits[0, -1], np.float64)
