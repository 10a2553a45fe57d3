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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.config import ModelConfig, TrainConfig, without_dropout
from charloom.engines import load_engine
from charloom.generation.filters import next_distribution
from charloom.generation.reading import with_opening
from charloom.parameters import (
    cell_size,
    count_parameters,
    initial_parameters,
    input_size,
    mlp_size,
    parameter_shapes,
)
from charloom.text import Corpus, Vocabulary
from charloom.text.windows import Plan, fit_batch

if TYPE_CHECKING:
    from jaxtyping import Float64, Int, Int64
    from numpy import ndarray as Array

TEMPERATURES = (0.5, 1.0, 2.0)
TOP_K, TOP_P = 5, 0.9
FIRST_IDS = 40
FREQUENT = 12
LANES = 4
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
class Lane:
    """One row of one step's batch.

    Attributes:
        lane: its number in the batch.
        offset: where its first input stands in the training part.
        fresh: the state is the initial one before its first input.
        x: the characters read.
        y: the characters to predict: the text one further.
        x_ids: ids of `x`.
        y_ids: ids of `y`.
    """

    lane: int
    offset: int
    fresh: bool
    x: tuple[str, ...]
    y: tuple[str, ...]
    x_ids: tuple[int, ...]
    y_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Two steps in a row, as the settings batch them.

    Attributes:
        batching: stream, random or sliding.
        objective: every = each y is predicted; last = the last of each row alone.
        batch_size: lanes.
        bptt_length: time steps.
        stride: characters between the rows of sliding windows; None for others.
        carries: whether state flows from a lane's window to its next.
        steps_per_epoch: steps of one pass.
        first: the first lanes of step 0.
        second: the same lanes of step 1.
        gaps: for each of them, the characters between the end of its first window and the beginning of its second: 0 where the
            last y of the one is the first x of the other, negative where they overlap.
        lane_distance: characters from a lane's beginning to the next lane's; None where they lie at random, or there is one.
        notes: what was changed because the text is short.
    """

    batching: str
    objective: str
    batch_size: int
    bptt_length: int
    stride: int | None
    carries: bool
    steps_per_epoch: int
    first: tuple[Lane, ...]
    second: tuple[Lane, ...]
    gaps: tuple[int, ...]
    lane_distance: int | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """What stands behind one layer.

    Attributes:
        name: the layer.
        axes: a letter for each axis: B lanes, T time steps, V vocabulary, E embedding, H cell, D stream, M inside the MLP.
        shape: its extents.
        parameters: the shapes of the parameters that made it.
        num_params: how many numbers they hold.
        note: what happens there.
    """

    name: str
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    parameters: Mapping[str, tuple[int, ...]]
    num_params: int
    note: str


@dataclass(frozen=True, slots=True)
class Likely:
    """A character that may come next, and how likely."""

    char: str
    char_id: int
    probability: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """What the next character is drawn from.

    Attributes:
        name: how it was made.
        temperature: divides the logits.
        top_k: how many stay; None = all.
        top_p: the probability that those which stay reach; None = all.
        entropy_bits: its entropy.
        chars: every character of a probability above 0, likeliest first.
    """

    name: str
    temperature: float
    top_k: int | None
    top_p: float | None
    entropy_bits: float
    chars: tuple[Likely, ...]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One prediction.

    Attributes:
        context: the characters read before it.
        part: where they stand: validation, train, or prompt.
        actual: the character that came; None where the text ends.
        loss_nats: −ln p of it; None where there is none.
        uniform_nats: ln V, the loss of one who knows nothing.
        distributions: at three temperatures, then after each filter.
    """

    context: tuple[str, ...]
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
        first_ids: the first characters with their ids.
        batch: two steps.
        stages: from ids to logits.
        num_params: of the whole network.
        prediction: one.
    """

    trained: bool
    settings_from: str
    cell: str
    corpus: CorpusFacts | None
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
    length = len(ids) if corpus is None else min(T, len(ids) - 1)
    logits = _logits(parameters, network, ids[:length], vocab.boundary_id)
    target = int(ids[length]) if length < len(ids) else None
    opening = ids if corpus is None else np.asarray(corpus.train[:FIRST_IDS])
    names = symbol_names(vocab)
    return Tour(
        trained=trained,
        settings_from=settings_from,
        cell=model_config.cell,
        corpus=None if corpus is None else corpus_facts(corpus),
        first_ids=tuple((names[i], int(i)) for i in opening[:FIRST_IDS]),
        batch=batch,
        stages=stages(network, len(vocab), B, T, last_only=train_config.objective == "last"),
        num_params=count_parameters(network, len(vocab)),
        prediction=Prediction(
            context=tuple(names[i] for i in ids[:length]),
            part=part,
            actual=None if target is None else names[target],
            loss_nats=None if target is None else float(-np.log(next_distribution(logits[None])[0, target])),
            uniform_nats=math.log(len(vocab)),
            distributions=distributions(logits, names, top_k=top_k, top_p=top_p),
        ),
    )


def symbol_names(vocab: Vocabulary) -> list[str]:
    r"""What each id stands for: a character, ``\xNN`` for a byte that is none, or a special's name.

    Example:
        >>> symbol_names(Vocabulary("char", (97, 98), ("<unk>",)))
        ['a', 'b', '<unk>']
    """
    as_bytes = vocab.unit == "byte"
    known = [f"\\x{code:02x}" if as_bytes and code >= 0x80 else chr(code) for code in vocab.symbols]
    return [*known, *vocab.specials]


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


def batch_of(corpus: Corpus, config: TrainConfig) -> Batch:
    """The first lanes of the first two steps.

    Raises:
        DataError: the training part holds fewer than two symbols.
    """
    config, notes = fit_batch(len(corpus.train), config)
    plan = Plan(corpus.train, config, boundary_id=corpus.vocab.boundary_id)
    names = symbol_names(corpus.vocab)
    lanes = range(min(LANES, config.batch_size))
    first, second = (_lanes(plan, step, lanes, names) for step in (0, 1))
    ends = [lane.offset + len(lane.x) for lane in first]
    random = config.batching == "random" or (config.batching == "sliding" and config.order == "shuffled")
    return Batch(
        batching=config.batching,
        objective=config.objective,
        batch_size=config.batch_size,
        bptt_length=config.bptt_length,
        stride=config.stride if config.batching == "sliding" else None,
        carries=plan.carries,
        steps_per_epoch=plan.steps_per_epoch,
        first=first,
        second=second,
        gaps=tuple(lane.offset - end for lane, end in zip(second, ends)),
        lane_distance=None if random or len(first) < 2 else first[1].offset - first[0].offset,
        notes=notes,
    )


def _lanes(plan: Plan, step: int, lanes: range, names: Sequence[str]) -> tuple[Lane, ...]:
    window = plan.window(step, lanes)
    return tuple(
        Lane(
            lane=lane,
            offset=int(plan.places(step, 1, lane).starts[0]),
            fresh=bool(resets[0]),
            x=tuple(names[i] for i in x),
            y=tuple(names[i] for i in y),
            x_ids=tuple(x.tolist()),
            y_ids=tuple(y.tolist()),
        )
        for lane, x, y, resets in zip(lanes, window.inputs, window.targets, window.resets)
    )


def stages(
    config: ModelConfig, vocab_size: int, B: int, T: int, *, last_only: bool = False
) -> tuple[Stage, ...]:
    """The shape behind each layer, and its parameters; those of all stages together are those of the network.

    Args:
        config: the network.
        vocab_size: V.
        B: lanes.
        T: time steps.
        last_only: logits are computed for the last time step alone.

    Example:
        >>> [one.shape for one in stages(ModelConfig(cell="elman", hidden_size=3), 5, 2, 4)]
        [(2, 4), (2, 4, 5), (2, 4, 3), (2, 4, 5)]
    """
    build = _Stages(parameter_shapes(config, vocab_size), B, T)
    width = input_size(config, vocab_size)
    found = [build("ids", "", 0, (), "one number a character")]
    if "embedding" in build.shapes:
        found.append(build("embedding", "E", width, ("embedding",), "each id picks its row of the table"))
    else:
        found.append(
            build(
                "one-hot", "V", width, (), "a 1 in the place of the id; it picks a column of the next weights"
            )
        )
    for i in range(config.num_layers):
        found += _residual(build, config, i) if config.block == "residual" else [_plain(build, config, i)]
    D = config.hidden_size
    if config.block == "residual":
        found.append(build("norm", "D", D, ("norm",), "the stream, divided by its root mean square"))
    weight = ("out.bias",) if config.tie_embeddings else ("out.weight", "out.bias")
    note = "one number for each character that may come next" + (
        "; the weights are the embedding's" if config.tie_embeddings else ""
    )
    found.append(build("logits", "V", vocab_size, weight, note, last_only=last_only))
    return tuple(found)


class _Stages:
    """Makes stages of one network's parameters."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], B: int, T: int) -> None:
        self.shapes, self.B, self.T = shapes, B, T

    def __call__(
        self,
        name: str,
        axis: str,
        size: int,
        parameters: Sequence[str],
        note: str,
        *,
        last_only: bool = False,
    ) -> Stage:
        own = {one: self.shapes[one] for one in parameters if one in self.shapes}
        over_time = ((), ()) if last_only else (("T",), (self.T,))
        last = ((axis,), (size,)) if axis else ((), ())
        return Stage(
            name=name,
            axes=("B", *over_time[0], *last[0]),
            shape=(self.B, *over_time[1], *last[1]),
            parameters=own,
            num_params=sum(math.prod(shape) for shape in own.values()),
            note=note + (" of the last time step alone" if last_only else ""),
        )


_CELL = ("cell.w_ih", "cell.w_hh", "cell.bias", "cell.bias_hn")
_CARRIES = {"lstm": "h and c are", "elman": "h is", "gru": "h is", "mingru": "h is"}


def _plain(build: _Stages, config: ModelConfig, i: int) -> Stage:
    note = f"{_CARRIES[config.cell]} carried from each time step to the next"
    own = [f"layers.{i}.{name}" for name in _CELL]
    return build(f"layer {i}: {config.cell}", "H", cell_size(config), own, note)


def _residual(build: _Stages, config: ModelConfig, i: int) -> list[Stage]:
    D, M = config.hidden_size, mlp_size(config)
    rows = [
        ("norm", "D", D, ("norm",), "the stream, divided by its root mean square"),
        (
            "convolution",
            "D",
            D,
            ("conv.weight", "conv.bias"),
            f"each number sees its last {config.conv_width} time steps",
        ),
        (
            config.cell,
            "H",
            cell_size(config),
            _CELL,
            f"{_CARRIES[config.cell]} carried from each time step to the next",
        ),
        ("projection", "D", D, ("proj",), "added to the stream"),
    ]
    if M:
        rows += [
            ("norm of the MLP", "D", D, ("mlp_norm",), "as above"),
            ("MLP, inside", "M", M, ("mlp.gate", "mlp.up"), "silu of the one times the other"),
            ("MLP", "D", D, ("mlp.down",), "added to the stream"),
        ]
    return [
        build(f"layer {i}: {name}", axis, size, [f"layers.{i}.{one}" for one in own], note)
        for name, axis, size, own, note in rows
    ]


def distributions(
    logits: Float64[Array, " V"], names: Sequence[str], *, top_k: int = TOP_K, top_p: float = TOP_P
) -> tuple[Distribution, ...]:
    """The softmax at each of `TEMPERATURES`, then after each filter at temperature 1.

    Example:
        >>> [[one.char for one in d.chars] for d in distributions(np.log([0.7, 0.2, 0.1]), "abc", top_k=2, top_p=0.6)]
        [['a', 'b', 'c'], ['a', 'b', 'c'], ['a', 'b', 'c'], ['a', 'b'], ['a']]
    """
    plain: list[dict[str, Any]] = [{"temperature": temperature} for temperature in TEMPERATURES]
    cuts: list[dict[str, Any]] = [{"temperature": 1.0, "top_k": top_k}, {"temperature": 1.0, "top_p": top_p}]
    named = [(f"temperature {how['temperature']:g}", how) for how in plain]
    named += [(f"top-k {top_k}", cuts[0]), (f"top-p {top_p:g}", cuts[1])]
    return tuple(_distribution(name, logits, names, **how) for name, how in named)


def _distribution(
    name: str,
    logits: Float64[Array, " V"],
    names: Sequence[str],
    *,
    temperature: float,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Distribution:
    probs = next_distribution(logits[None], temperature=temperature, top_k=top_k, top_p=top_p)[0]
    order = np.argsort(-probs, kind="stable")
    kept = order[probs[order] > 0]
    return Distribution(
        name=name,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        entropy_bits=float(0.0 - (probs[kept] * np.log2(probs[kept])).sum()),
        chars=tuple(Likely(names[i], int(i), float(probs[i])) for i in kept),
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
