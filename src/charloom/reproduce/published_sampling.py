"""Sampling as the published programs did it, including their mistakes, to show the effect of each.

Everything runs on the scratch engine, one character at a time, exactly as in the programs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.config import ModelConfig, SampleConfig
from charloom.engines import State, load_engine
from charloom.engines.draws import Masks
from charloom.engines.scratch import loss, network
from charloom.generation import draw, next_distribution
from charloom.modelfile import ModelFile
from charloom.rng import Purpose, uniforms

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy import ndarray as Array

MISTAKES = frozenset(
    {"reread_window", "pad_prompt", "last_character_only", "sample_with_dropout", "first_character"}
)
"""Mistakes in generation; a recipe's table ``as_published`` names those of its system."""

WINDOW = 100
"""Characters that system A reads again for every new one."""


def sample_as_published(
    file: ModelFile, mistakes: frozenset[str], prompt: str, config: SampleConfig, *, seed: int
) -> str:
    """Continue a prompt as a published program did; return the continuation without the prompt.

    Args:
        file: the model.
        mistakes: which of `MISTAKES` to make.
        prompt: the text to continue; every character must be in the vocabulary.
        config: its length, temperature and top_k are used.
        seed: seed of the random draws.
    """
    ids = file.vocab.encode(prompt).astype(np.int64)
    if "reread_window" in mistakes:
        steps = _rereading(file, _padded(file, ids) if "pad_prompt" in mistakes else ids)
    else:
        if "last_character_only" in mistakes:
            ids = ids[-1:]
        if "first_character" in mistakes:
            ids = np.append(ids, ids[0])  # after the whole prompt its first character again
        steps = _stepping(file, ids, seed if "sample_with_dropout" in mistakes else None)
    return _sampled(file, steps, config, seed)


def _sampled(file: ModelFile, steps: Any, config: SampleConfig, seed: int) -> str:
    chosen: list[int] = []
    logits = next(steps)
    for position in range(config.length):
        probs = next_distribution(logits, temperature=config.temperature, top_k=config.top_k)
        chosen.append(int(draw(probs, uniforms(seed, Purpose.SAMPLE, position, [0], 1)[:, 0])[0]))
        logits = steps.send(chosen[-1])
    return file.vocab.decode(np.array(chosen))


def _padded(file: ModelFile, ids: Int[Array, "T"]) -> Int[Array, "100"]:
    space = file.vocab.encode(" ").astype(np.int64)
    return np.concatenate([np.repeat(space, max(0, WINDOW - len(ids))), ids])[-WINDOW:]


def _rereading(file: ModelFile, window: Int[Array, "T"]) -> Iterator[Float[Array, "1 V"]]:
    """Run the whole window for every character, starting from the final state of the previous run."""
    model = _model(file)
    state = model.initial_state(1)
    while True:
        logits, state = model.forward(window[None], state)
        char_id = yield logits[:, -1]
        window = np.concatenate([window[1:], [char_id]])


def _stepping(
    file: ModelFile, ids: Int[Array, "T"], dropout_seed: int | None
) -> Iterator[Float[Array, "1 V"]]:
    """Run one character at a time with a carried state; with a seed, dropout is on as in training."""
    config, params = file.model_config, {n: np.asarray(p) for n, p in file.parameters.items()}
    state: State = _model(file).initial_state(1)
    step = 0
    while True:
        for char_id in ids:
            masks = None if dropout_seed is None else Masks(config, dropout_seed, step, range(1))
            logits, state, _ = network.forward(config, params, np.array([[char_id]]), state, masks=masks)
            step += 1
        ids = np.array([(yield logits[0])])


def _model(file: ModelFile) -> Any:
    return load_engine("scratch").model(file.parameters, file.model_config)


def loss_with_dropout(
    config: ModelConfig,
    params: dict[str, Array],
    ids: Int[Array, "N"],
    *,
    lanes: int,
    length: int,
    seed: int | None,
) -> float:
    """The mean loss in nats of a text split into lanes, with carried state and dropout as in training.

    Args:
        config: the network.
        params: its parameters.
        ids: the text; a remainder that does not fill a window in every lane is skipped.
        lanes: how many parts of the text are read in parallel.
        length: characters per window.
        seed: seed of the dropout masks; None = dropout off.
    """
    windows = (len(ids) - 1) // (lanes * length)
    places = np.arange(lanes)[:, None] * windows * length + np.arange(length)
    model = load_engine("scratch").model(params, config, precision=str(params["out.bias"].dtype))
    state, total = model.initial_state(lanes), 0.0
    for w in range(windows):
        here = ids[places + w * length].astype(np.int64).T
        targets = ids[places + w * length + 1].astype(np.int64).T
        masks = None if seed is None else Masks(config, seed, w, range(lanes))
        logits, state, _ = network.forward(config, params, here, state, masks=masks)
        total += float(loss.losses(loss.log_softmax(logits), targets).sum(dtype=np.float64))
    return total / (windows * length * lanes)
