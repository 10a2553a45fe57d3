"""Any cell over a window: project the inputs, let time pass, and walk back.

    forward    a_x = project(x)              one product for the whole window
               (h_t, tape_t) = step(a_x_t, h_{t-1})              t = 1 … T
    backward   (d_a_t, d_h_{t-1}) = backward(tape_t, d_h_t)      t = T … 1
               weight_gradients(x, h_prev, d_a)      one product for the whole window

Between two windows the state goes on and the gradient does not: that is truncated backpropagation through time.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charloom.config import ModelConfig
from charloom.engines.scratch import elman, gru, lstm, mingru

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from numpy import ndarray as Array

CELLS: dict[str, ModuleType] = {"elman": elman, "lstm": lstm, "gru": gru, "mingru": mingru}

Arrays = Mapping[str, "Array"]


class Tape(NamedTuple):
    """What `pull_back` needs of a window.

    Attributes:
        x: what was read: ids (T, B) or vectors (T, B, X).
        h_prev: the state each time step began from, (T, B, H).
        steps: the cell's own tape of each step, or of the whole window.
        resets: where a row began again, (T, B), or None.
    """

    x: Array
    h_prev: Array
    steps: Any
    resets: Array | None


def unroll(
    config: ModelConfig,
    params: Arrays,
    x: Array,
    state: Arrays,
    *,
    resets: Bool[Array, "T B"] | None,
    fresh: Arrays,
    record: bool,
) -> tuple[Float[Array, "T B H"], dict[str, Array], Tape | None]:
    """Run the cell over a window.

    Args:
        config: names the cell.
        params: its arrays.
        x: dense inputs (T, B, X), or ids (T, B) for one-hot ones.
        state: the state before the first time step.
        resets: where a row returns to `fresh` before it reads, or None where none does.
        fresh: the state to return to.
        record: whether to keep a tape.

    Returns:
        The hidden state at every time step, the state behind the last, and the tape.
    """
    if config.cell == "mingru":
        weights = mingru.Params(**params)
        h, scanned = mingru.scan(mingru.project(weights, x), state["h"], resets, fresh["h"])
        return h, {"h": h[-1]}, Tape(x, scanned.h_prev, scanned, resets) if record else None
    if config.cell == "elman" and resets is None:
        own = elman.Params(**params)
        h = elman.walk(own, elman.project(own, x), state["h"], config.activation)
        h_prev = np.concatenate([state["h"][None], h[:-1]]) if record else h
        return h, {"h": h[-1]}, Tape(x, h_prev, h, None) if record else None
    return unroll_steps(config, params, x, state, resets=resets, fresh=fresh, record=record)


def unroll_steps(
    config: ModelConfig,
    params: Arrays,
    x: Array,
    state: Arrays,
    *,
    resets: Bool[Array, "T B"] | None,
    fresh: Arrays,
    record: bool,
) -> tuple[Float[Array, "T B H"], dict[str, Array], Tape | None]:
    """The same as `unroll`, one `step` after another."""
    cell, options = CELLS[config.cell], _options(config)
    weights, now = cell.Params(**params), cell.State(**state)
    start = cell.State(**fresh)
    a_x = cell.project(weights, x)
    outputs = np.empty((*a_x.shape[:2], now.h.shape[-1]), a_x.dtype)
    h_prev, tapes = (np.empty_like(outputs) if record else outputs), []
    for t in range(len(a_x)):
        if resets is not None and resets[t].any():
            now = cell.State(*(_choose(resets[t], s, n) for s, n in zip(start, now, strict=True)))
        before = now.h
        now, tape = cell.step(weights, a_x[t], now, **options)
        outputs[t] = now.h
        if record:
            h_prev[t] = before
            tapes.append(tape)
    return outputs, now._asdict(), Tape(x, h_prev, tapes, resets) if record else None


def pull_back(
    config: ModelConfig,
    params: Arrays,
    tape: Tape,
    d_h: Float[Array, "T B H"],
    d_last: Arrays | None = None,
) -> tuple[Float[Array, "T B G"], dict[str, Array], dict[str, Array]]:
    """Pull the gradient of the loss back through `unroll`.

    Args:
        config: names the cell.
        params: its arrays.
        tape: what `unroll` recorded.
        d_h: the gradient of the loss in the hidden state that was given out at every time step.
        d_last: the gradient in the state behind the last step; none = 0, as where a window ends.

    Returns:
        The gradient of W_ih x + b at every time step, of every parameter, and of the state before the first step.
    """
    cell = CELLS[config.cell]
    if config.cell == "mingru":
        if d_last is not None:
            d_h = np.concatenate([d_h[:-1], d_h[-1:] + d_last["h"]])
        d_a, d_h_0 = mingru.scan_backward(tape.steps, d_h)
        d_state = {"h": d_h_0}
    elif isinstance(tape.steps, np.ndarray):
        end = np.zeros_like(d_h[0]) if d_last is None else d_last["h"]
        d_a, d_h_0 = elman.walk_back(elman.Params(**params), tape.steps, d_h, end, config.activation)
        d_state = {"h": d_h_0}
    else:
        d_a, d_state = _pull_back_steps(config, params, tape, d_h, d_last)
    width = params["w_ih"].shape[1]
    gradients = cell.weight_gradients(tape.x, tape.h_prev, d_a, width)._asdict()
    return cell.input_part(d_a), gradients, d_state


def _pull_back_steps(
    config: ModelConfig, params: Arrays, tape: Tape, d_h: Float[Array, "T B H"], d_last: Arrays | None
) -> tuple[Float[Array, "T B G"], dict[str, Array]]:
    cell, options = CELLS[config.cell], _options(config)
    weights = cell.Params(**params)
    d_a: list[Array] = [d_h] * len(d_h)
    zero = np.zeros_like(d_h[0])
    d = cell.State(*(zero for _ in cell.State._fields)) if d_last is None else cell.State(**d_last)
    for t in range(len(d_h) - 1, -1, -1):
        d_a[t], d = cell.backward(weights, tape.steps[t], d._replace(h=d.h + d_h[t]), **options)
        if tape.resets is not None and tape.resets[t].any():
            d = cell.State(*(_choose(tape.resets[t], zero, part) for part in d))  # (nothing crosses a reset)
    return np.stack(d_a), d._asdict()


def _options(config: ModelConfig) -> dict[str, Any]:
    return {"activation": config.activation} if config.cell == "elman" else {}


def _choose(rows: Bool[Array, "B"], there: Array, elsewhere: Array) -> Array:
    return np.where(rows[:, None], there, elsewhere)
