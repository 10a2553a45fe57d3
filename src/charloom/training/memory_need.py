"""What a training takes in memory on a CPU, from its settings, before it takes any.

P parameters of s bytes, m moments and averages of each, G groups of lanes, B·T characters in a window:

    weights     8·P (initial) + s·P (learner) + 3·4·P (the best model: float32, packed for scoring, its file)
    gradients   s·P·(G + 1)                                 each group's, and their sum
    optimiser   s·P·m
    checkpoint  2·s·P·(1 + m)                               the arrays and the file's bytes
    teacher     2·N·V  if there is one: the targets of all it reads, with what it writes, and in the window
    window      s·B·T·(5·V + Σ kept + one layer's gradients) logits, and the loss of each; gates and states
    report      libraries, the logits of scored text, the n-gram's counts

The test of this module compares the sum with measured peaks. On a GPU the window is in the device's memory and left out.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from charloom.config import ModelConfig, TrainConfig
from charloom.memory import Need
from charloom.parameters import cell_size, count_parameters, mlp_size
from charloom.text.corpus import Corpus
from charloom.training.baselines import LEAST_TRAIN_CHARS, MOST_TRAIN_CHARS
from charloom.training.distillation import num_written
from charloom.training.state import LoopState

if TYPE_CHECKING:
    from charloom.distributed.ranks import Ranks
    from charloom.training.distillation import Teacher

LIBRARIES = 40_000_000
"""What is loaded with the first steps: kernels, pools of threads, their work space."""

BYTES_PER_COUNTED_CHAR = 100
"""The n-gram's counts and xz's search, per character of the training text that primes them."""

_KEPT = {"elman": 3, "lstm": 7, "gru": 7, "mingru": 5}
_GRADIENTS = {"elman": 3, "lstm": 7, "gru": 7, "mingru": 4}
"""Numbers for each character as a multiple of a layer's width: its gates and states, and their gradients."""

_SCORED_CHARS = 64 * 256
"""Characters whose logits a scoring pass holds."""

_SETTINGS = {
    "window": "lower --batch-size or --bptt-length; with thousands of characters, also raise --min-count",
    "weights": "lower --hidden-size or --num-layers",
    "gradients": "lower --threads, --hidden-size or --num-layers",
    "optimiser": "use --optimizer sgd, or lower --hidden-size or --num-layers",
    "checkpoint": "lower --hidden-size or --num-layers",
    "teacher": "train on less text: --take-chars 1000000, or lower --written-chars; with thousands of characters, also raise --min-count",
    "report": "train on less text: --take-chars 1000000",
}


def need_of(
    corpus: Corpus,
    model: ModelConfig,
    training: TrainConfig,
    num_threads: int,
    *,
    ranks: Ranks | None = None,
    teacher: Teacher | None = None,
) -> Need:
    """The memory of a training on a corpus, of which each rank reads its share of the lanes."""
    num_ranks = 1 if ranks is None else ranks.size
    own = replace(training, batch_size=math.ceil(training.batch_size / num_ranks))
    return training_need(
        model,
        own,
        vocab_size=len(corpus.vocab),
        train_chars=len(corpus.train),
        held_out_chars=0 if corpus.validation is None else len(corpus.validation),
        num_threads=num_threads,
        on_cpu=not training.device.startswith(("cuda", "mps")),
        is_taught=teacher is not None,
        num_written=num_written(training, teacher),
    )


def training_need(
    model: ModelConfig,
    training: TrainConfig,
    *,
    vocab_size: int,
    train_chars: int,
    held_out_chars: int,
    num_threads: int,
    on_cpu: bool = True,
    is_taught: bool = False,
    num_written: int = 0,
) -> Need:
    """Estimate the memory of a training beyond what the process already has, with the corpus.

    Args:
        model: the network.
        training: the settings, with the batch that fits the text.
        vocab_size: V.
        train_chars: characters of the training part.
        held_out_chars: characters of the validation part.
        num_threads: in use.
        on_cpu: whether the window is in this memory.
        is_taught: whether a teacher's probabilities of every character are kept.
        num_written: characters that the teacher writes.
    """
    size = 8 if training.precision == "float64" else 4
    bytes_of_weights = size * count_parameters(model, vocab_size)
    kept = _num_moments(training) + (training.average_decay is not None)
    groups = training.lane_groups or min(num_threads, training.batch_size)
    parts = {
        "weights": bytes_of_weights + 20 * bytes_of_weights // size,
        "gradients": (groups + 1) * bytes_of_weights,
        "optimiser": kept * bytes_of_weights,
        "checkpoint": 2 * (1 + kept) * bytes_of_weights,
        "window": size * _window_numbers(model, training, vocab_size, is_taught=is_taught) if on_cpu else 0,
        "teacher": 2 * (train_chars + num_written) * vocab_size * is_taught,
        "report": LIBRARIES
        + 8 * vocab_size * _SCORED_CHARS
        + BYTES_PER_COUNTED_CHAR * _counted_chars(training, train_chars, held_out_chars),
    }
    return Need("the training", parts, _SETTINGS)


def _num_moments(training: TrainConfig) -> int:
    """Numbers that the optimiser keeps of each parameter."""
    momentum = int(training.momentum > 0)
    by_name = {"adamw": 2, "adam": 2, "muon": 2, "adagrad": 1, "rmsprop": 1 + momentum, "sgd": momentum}
    return by_name[training.optimizer]


def _counted_chars(training: TrainConfig, train_chars: int, held_out_chars: int) -> int:
    """Most characters that the baselines read: fewer if the budget says how many are trained on."""
    if held_out_chars < 2:
        return 0
    state = LoopState(validation_chars=0)
    read = math.inf if training.epochs is None else training.epochs * train_chars
    read = read if training.steps is None else training.steps * training.batch_size * training.bptt_length
    state.size_measurements(min(read, 1e12), 0)
    held_out = min(held_out_chars, state.report_chars)
    primed = max(LEAST_TRAIN_CHARS, min(MOST_TRAIN_CHARS, 10 * held_out))
    return min(train_chars, primed) + held_out


def _window_numbers(
    model: ModelConfig, training: TrainConfig, vocab_size: int, *, is_taught: bool = False
) -> int:
    """Numbers that one window keeps for its gradients."""
    chars = training.batch_size * training.bptt_length
    scored = training.batch_size if training.objective == "last" else chars
    layers = model.num_layers * _kept_numbers(model) + _GRADIENTS[model.cell] * cell_size(model)
    return (10 if is_taught else 5) * scored * vocab_size + chars * (2 * _input_size(model) + layers)


def _input_size(model: ModelConfig) -> int:
    width = model.hidden_size if model.block == "residual" else model.embedding_size
    return width or 1


def _kept_numbers(model: ModelConfig) -> int:
    """Numbers of a layer for each character: gates and states, and what residual branches and dropout keep."""
    drops = any(getattr(model, f"dropout_{site}") > 0 for site in ("input", "layer", "branch", "output"))
    cell = (_KEPT[model.cell] + drops) * cell_size(model)
    if model.block == "plain":
        return cell
    return cell + 5 * mlp_size(model) + (12 + 2 * drops) * model.hidden_size
