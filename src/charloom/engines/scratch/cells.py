"""Any cell over a window: project the inputs, step forward in time, and run backward.

    forward    a_x = project(x)              one product for the whole window
               (h_t, tape_t) = step(a_x_t, h_{t-1})              t = 1 … T
    backward   (d_a_t, d_h_{t-1}) = backward(tape_t, d_h_t)      t = T … 1
               weight_gradients(x, h_prev, d_a)      one product for the whole window

State is carried into the next window, gradients are cut: this is truncated backpropagation through time.
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
    """Values of a window that `backward` needs."""

    x: Array  # inputs: ids (T, B) or vectors (T, B, X)
    h_prev: Array  # hidden state before each time step, (T, B, H)
    steps: Any  # the cell's tape of each step, or of the whole window
    resets: Array | None  # True if a row was reset before a step, (T, B)


def unroll(
    config: ModelConfig,
    params: Arrays,
    x: Array,
    state: Arrays,
    *,
    resets: Bool[Array, "T B"] | None,
    reset_state: Arrays,
    record: bool,
    stepwise: bool = False,
) -> tuple[Float[Array, "T B H"], dict[str, Array], Tape | None]:
    """Run the cell over a window of dense inputs (T, B, X), or ids (T, B) of one-hot inputs.

    Before a row reads an input with `resets` True, its state becomes `reset_state`; None = no resets.
    `record` keeps a tape. `stepwise` calls `step` for each time step even if the cell has a function for the
    whole window.

    Returns:
        The hidden state at every time step, the state after the last, and the tape.
    """
    if config.cell == "mingru" and not stepwise:
        weights = mingru.Params(**params)
        h, scanned = mingru.scan(mingru.project(weights, x), state["h"], resets, reset_state["h"])
        return h, {"h": h[-1]}, Tape(x, scanned.h_prev, scanned, resets) if record else None
    if config.cell == "elman" and resets is None and not stepwise:
        own = elman.Params(**params)
        h = elman.forward_window(own, elman.project(own, x), state["h"], config.activation)
        h_prev = np.concatenate([state["h"][None], h[:-1]]) if record else h
        return h, {"h": h[-1]}, Tape(x, h_prev, h, None) if record else None
    cell, options = CELLS[config.cell], _options(config)
    weights, now = cell.Params(**params), cell.State(**state)
    start = cell.State(**reset_state)
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


def backward(
    config: ModelConfig, params: Arrays, tape: Tape, d_h: Float[Array, "T B H"], d_last: Arrays | None = None
) -> tuple[Float[Array, "T B G"], dict[str, Array], dict[str, Array]]:
    """Backward pass of `unroll`.

    `d_h` is the gradient of the loss in the output at every time step, `d_last` that in the state after the
    last step (None = 0, as at the end of a window).

    Returns:
        The gradients of W_ih x + b at every step, of every parameter, and of the state before the first step.
    """
    cell = CELLS[config.cell]
    if config.cell == "mingru":
        if d_last is not None:
            d_h = np.concatenate([d_h[:-1], d_h[-1:] + d_last["h"]])
        d_a, d_h_0 = mingru.scan_backward(tape.steps, d_h)
        d_state = {"h": d_h_0}
    elif isinstance(tape.steps, np.ndarray):
        end = np.zeros_like(d_h[0]) if d_last is None else d_last["h"]
        d_a, d_h_0 = elman.backward_window(elman.Params(**params), tape.steps, d_h, end, config.activation)
        d_state = {"h": d_h_0}
    else:
        d_a, d_state = _backward_steps(config, params, tape, d_h, d_last)
    width = params["w_ih"].shape[1]
    gradients = cell.weight_gradients(tape.x, tape.h_prev, d_a, width)._asdict()
    return cell.input_part(d_a), gradients, d_state


def _backward_steps(
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
            d = cell.State(*(_choose(tape.resets[t], zero, part) for part in d))  # nothing crosses a reset
    return np.stack(d_a), d._asdict()


def _options(config: ModelConfig) -> dict[str, Any]:
    return {"activation": config.activation} if config.cell == "elman" else {}


def _choose(rows: Bool[Array, "B"], there: Array, elsewhere: Array) -> Array:
    return np.where(rows[:, None], there, elsewhere)
