"""The tour: what becomes of a text on its way to a prediction, station by station, in numbers.

    corpus   characters, how many are distinct, which are the most frequent, how the text is split
    ids      the first characters and the number each goes by
    batch    what two steps read: lanes × time, each input x above the target y that follows it in the text
    stages   the shape of the numbers behind each layer, from ids to logits, and the parameters that made them
    softmax  one prediction: −ln p of the character that came, and what temperature and filters make of the distribution

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
from charloom.generation.reading import with_opening
from charloom.insight.tour_batch import Batch, batch_of, symbol_names
from charloom.insight.tour_layers import Stage, stages
from charloom.insight.tour_softmax import TOP_K, TOP_P, Distribution, distributions
from charloom.parameters import count_parameters, initial_parameters
from charloom.text import Corpus, Vocabulary

if TYPE_CHECKING:
    from jaxtyping import Float64, Int, Int64
    from numpy import ndarray as Array

FIRST_IDS = 40
CONTEXT = 64
"""Characters that the prediction reads, where there are as many."""
FREQUENT = 12
_PIECE = 1 << 20  # ids counted at a time


@dataclass(frozen=True, slots=True)
class Frequent:
    """A character of the corpus and how often it occurs: `share` of all symbols."""

    char: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class CorpusFacts:
    """What a corpus holds.

    Attributes:
        name: of the corpus.
        encodings: of its files; none where it was prepared, or stood in memory.
        num_chars: characters of the cleaned text.
        num_distinct: distinct symbols.
        unit: char or byte.
        specials: symbols that stand for no character.
        most_frequent: by falling count.
        split: symbols of each part: train, validation, test.
    """

    name: str
    encodings: tuple[str, ...]
    num_chars: int
    num_distinct: int
    unit: str
    specials: tuple[str, ...]
    most_frequent: tuple[Frequent, ...]
    split: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One prediction.

    Attributes:
        context: the symbols read before it.
        context_text: the same as text.
        part: where they stand: validation, train, or prompt.
        actual: the character that came; None where the text ends.
        loss_nats: −ln p of it; None where there is none.
        uniform_nats: ln V, the loss of one who knows nothing.
        distributions: at three temperatures, then after each filter.
    """

    context: tuple[str, ...]
    context_text: str
    part: str
    actual: str | None
    loss_nats: float | None
    uniform_nats: float
    distributions: tuple[Distribution, ...]


@dataclass(frozen=True, slots=True)
class Tour:
    """All stations.

    Attributes:
        trained: whether the prediction is that of a trained model; else the parameters are as initialised.
        settings_from: where the settings come from.
        cell: of the network.
        corpus: None where the corpus of a model is not at hand; so is `batch`.
        first_text: the text's beginning.
        first_ids: its symbols with their ids.
        batch: two steps.
        stages: from ids to logits.
        num_params: of the whole network.
        prediction: one.
    """

    trained: bool
    settings_from: str
    cell: str
    corpus: CorpusFacts | None
    first_text: str
    first_ids: tuple[tuple[str, int], ...]
    batch: Batch | None
    stages: tuple[Stage, ...]
    num_params: int
    prediction: Prediction


def take_tour(
    corpus: Corpus | None,
    vocab: Vocabulary,
    model_config: ModelConfig,
    train_config: TrainConfig,
    *,
    parameters: Mapping[str, Float64[Array, "..."]] | None = None,
    prompt: str = "",
    settings_from: str = "",
    top_k: int = TOP_K,
    top_p: float = TOP_P,
) -> Tour:
    """Walk through every station.

    Args:
        corpus: what is trained on, or was; None where it is not at hand.
        vocab: the model's.
        model_config: the network.
        train_config: how it is trained; batch and window shrink to what a short text fills.
        parameters: a trained model's; None takes them as training initialises them.
        prompt: what the model reads where there is no corpus; every character known.
        settings_from: where the settings come from, in words.
        top_k: of the filter shown.
        top_p: of the filter shown.

    Raises:
        DataError: the training part holds fewer than two symbols.
    """
    trained = parameters is not None
    network = without_dropout(model_config)
    if parameters is None:
        parameters = initial_parameters(network, len(vocab), train_config.seed)
    batch = None if corpus is None else batch_of(corpus, train_config)
    B, T = (train_config.batch_size, train_config.bptt_length)
    if batch is not None:
        B, T = batch.batch_size, batch.bptt_length
    part, ids = ("prompt", with_opening(vocab.encode(prompt), vocab)) if corpus is None else _held_out(corpus)
    length = len(ids) if corpus is None else min(CONTEXT, len(ids) - 1)
    logits = _logits(parameters, network, ids[:length], vocab.boundary_id)
    target = int(ids[length]) if length < len(ids) else None
    opening = ids if corpus is None else np.asarray(corpus.train[:FIRST_IDS])
    names = symbol_names(vocab)
    return Tour(
        trained=trained,
        settings_from=settings_from,
        cell=model_config.cell,
        corpus=None if corpus is None else corpus_facts(corpus),
        first_text=vocab.decode(opening[:FIRST_IDS]),
        first_ids=tuple((names[i], int(i)) for i in opening[:FIRST_IDS]),
        batch=batch,
        stages=stages(network, len(vocab), B, T, last_only=train_config.objective == "last"),
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
    """Count the characters of every part of the split that comes from the text itself."""
    names = symbol_names(corpus.vocab)
    parts = {
        name: part
        for name, part in (("train", corpus.train), ("validation", corpus.validation), ("test", corpus.test))
        if part is not None
    }
    counts = np.zeros(len(names), np.int64)
    for part in parts.values():
        for start in range(0, len(part), _PIECE):
            counts += np.bincount(np.asarray(part[start : start + _PIECE]), minlength=len(names))
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
    """The text to predict on: held out where there is such, with at least one character and its successor."""
    part = corpus.validation if corpus.validation is not None and len(corpus.validation) > 1 else corpus.train
    name = "train" if part is corpus.train else "validation"
    return name, part


def _logits(
    parameters: Mapping[str, Float64[Array, "..."]],
    config: ModelConfig,
    ids: Int[Array, " T"],
    boundary_id: int | None,
) -> Float64[Array, " V"]:
    """The logits behind a text, from the initial state."""
    model = load_engine("scratch").model(parameters, config, precision="float64")
    row = np.asarray(ids, np.int64)[None]
    resets = np.zeros(row.shape, bool) if boundary_id is None else row == boundary_id
    logits, _ = model.forward(row, model.initial_state(1), resets)
    return np.asarray(logits[0, -1], np.float64)
