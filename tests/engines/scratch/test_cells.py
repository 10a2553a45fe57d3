"""Any cell over a window: loop, scan and backward pass match the definition, in one window or several."""

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.engines.scratch import cells
from charloom.parameters import parameter_shapes, state_shapes

from ..cases import CELLS, H, V, random_ids, random_resets

T, B = 7, 3
CARRY = {"rtol": 0, "atol": 1e-12}  # float64: a product over one row may round differently
REORDERED = {"rtol": 1e-12, "atol": 1e-13}  # the same sums in another order

every_cell = pytest.mark.parametrize(
    "config", [ModelConfig(hidden_size=H, **s) for s in CELLS.values()], ids=CELLS
)
with_resets = pytest.mark.parametrize("has_resets", [False, True], ids=["carried", "resets"])


def random_window(config, rng, *, has_resets=False):
    """(parameters, ids, first state, resets, state after resets), float64."""
    params = {
        name.removeprefix("layers.0.cell."): 0.5 * rng.normal(size=shape)
        for name, shape in parameter_shapes(config, V).items()
        if name.startswith("layers.0.cell.")
    }
    begin, reset_state = (
        {key: rng.normal(size=(B, *shape)) for key, shape in state_shapes(config)[0].items()}
        for _ in range(2)
    )
    resets = random_resets(rng, B, T).T if has_resets else None
    return params, random_ids(rng, B, T).T, begin, resets, reset_state


def part(resets, a, b):
    return None if resets is None else resets[a:b]


@every_cell
@with_resets
def test_unroll_equals_single_steps(config, has_resets, rng):
    params, ids, begin, resets, reset_state = random_window(config, rng, has_resets=has_resets)
    cell, options = cells.CELLS[config.cell], cells._options(config)
    weights, state = cell.Params(**params), begin
    outputs, after, _ = cells.unroll(
        config, params, ids, begin, resets=resets, reset_state=reset_state, record=False
    )
    for t in range(T):
        for b in range(B):
            if resets is not None and resets[t, b]:
                state = {
                    key: np.where(np.arange(B)[:, None] == b, reset_state[key], s) for key, s in state.items()
                }
        now, _ = cell.step(weights, cell.project(weights, ids[t : t + 1])[0], cell.State(**state), **options)
        state = now._asdict()
        np.testing.assert_allclose(outputs[t], now.h, **CARRY)
    assert after.keys() == state.keys()
    for key, s in state.items():
        np.testing.assert_allclose(after[key], s, **CARRY)


@every_cell
@with_resets
@pytest.mark.parametrize("cuts", [(1,), (3,), (2, 3, 5), tuple(range(1, T))], ids=str)
def test_splitting_a_window_gives_the_same_bits(config, cuts, has_resets, rng):
    params, ids, begin, resets, reset_state = random_window(config, rng, has_resets=has_resets)
    whole, end, _ = cells.unroll(
        config, params, ids, begin, resets=resets, reset_state=reset_state, record=False, stepwise=True
    )
    pieces, state = [], begin
    for a, b in zip((0, *cuts), (*cuts, T)):  # a look-up of an id is the same in any window
        marks = part(resets, a, b)
        outputs, state, _ = cells.unroll(
            config,
            params,
            ids[a:b],
            state,
            resets=marks,
            reset_state=reset_state,
            record=False,
            stepwise=True,
        )
        pieces.append(outputs)
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    for key, s in end.items():
        np.testing.assert_array_equal(state[key], s)


@every_cell
@with_resets
def test_recording_a_tape_does_not_change_results(config, has_resets, rng):
    params, ids, begin, resets, reset_state = random_window(config, rng, has_resets=has_resets)
    for stepwise in (False, True):
        quiet, end, none = cells.unroll(
            config,
            params,
            ids,
            begin,
            resets=resets,
            reset_state=reset_state,
            record=False,
            stepwise=stepwise,
        )
        taped, taped_end, tape = cells.unroll(
            config, params, ids, begin, resets=resets, reset_state=reset_state, record=True, stepwise=stepwise
        )
        assert none is None
        assert tape is not None
        np.testing.assert_array_equal(taped, quiet)
        for key, s in end.items():
            np.testing.assert_array_equal(taped_end[key], s)


@every_cell
@with_resets
@pytest.mark.parametrize("cut", [1, 3, 6])
def test_backward_through_two_windows_equals_one_pass(config, cut, has_resets, rng):
    params, ids, begin, resets, reset_state = random_window(config, rng, has_resets=has_resets)
    d_h = rng.normal(size=(T, B, H))
    d_last = {key: rng.normal(size=s.shape) for key, s in begin.items()}

    def run(a, b, state):
        marks = part(resets, a, b)
        return cells.unroll(
            config, params, ids[a:b], state, resets=marks, reset_state=reset_state, record=True
        )[1:]

    _, tape = run(0, T, begin)
    d_a, gradients, d_begin = cells.backward(config, params, tape, d_h, d_last)
    middle, first = run(0, cut, begin)
    _, second = run(cut, T, middle)
    d_a_2, gradients_2, d_middle = cells.backward(config, params, second, d_h[cut:], d_last)
    d_a_1, gradients_1, d_start = cells.backward(config, params, first, d_h[:cut], d_middle)
    np.testing.assert_allclose(np.concatenate([d_a_1, d_a_2]), d_a, **REORDERED)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradients_1[name] + gradients_2[name], gradient, **REORDERED)
    for key, d in d_begin.items():
        np.testing.assert_allclose(d_start[key], d, **REORDERED)


@every_cell
def test_no_gradient_crosses_a_reset(config, rng):
    params, ids, begin, _, reset_state = random_window(config, rng)
    resets = np.zeros((T, B), bool)
    resets[3, 1] = True
    _, _, tape = cells.unroll(config, params, ids, begin, resets=resets, reset_state=reset_state, record=True)
    d_h = np.zeros((T, B, H))
    d_h[T - 1] = 1.0
    d_a, _, d_begin = cells.backward(config, params, tape, d_h)
    for key in d_begin:
        assert not d_begin[key][1].any()
        assert d_begin[key][0].any()
    assert not d_a[:3, 1].any()
    assert d_a[3, 1].any()


@every_cell
def test_weight_gradients_are_sums_over_time_steps(config, rng):
    params, ids, begin, _, reset_state = random_window(config, rng)
    cell = cells.CELLS[config.cell]
    _, _, tape = cells.unroll(config, params, ids, begin, resets=None, reset_state=reset_state, record=True)
    d_a = rng.normal(size=(T, B, (4 if config.cell == "gru" else params["bias"].size // H) * H))
    together = cell.weight_gradients(ids, tape.h_prev, d_a, V)
    alone = [
        cell.weight_gradients(ids[t : t + 1], tape.h_prev[t : t + 1], d_a[t : t + 1], V) for t in range(T)
    ]
    for name in cell.Params._fields:
        expected = sum(getattr(gradients, name) for gradients in alone)
        np.testing.assert_allclose(getattr(together, name), expected, **REORDERED)
