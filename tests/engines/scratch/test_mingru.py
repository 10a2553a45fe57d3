"""minGRU: the derivatives of step and scan, the scan against single steps, and one step by hand."""

import numpy as np
import pytest

from charloom.engines.scratch import mingru
from charloom.kernels import linear_scan

from .derivative import (
    CORNER,
    B,
    H,
    assert_backward_is_the_derivative_of_step,
    assert_is_derivative,
    every_point,
    shifted,
)

T = 6
REORDERED = {"rtol": 1e-13, "atol": 1e-14}
"""At a reset the scan adds keep ⊙ reset_state and z ⊙ n in the opposite order."""

no_state = mingru.Params(None, None)
with_library = pytest.mark.parametrize("has_library", [True, False], ids=["compiled", "numpy"])
with_resets = pytest.mark.parametrize("share", [0.0, 0.3], ids=["carried", "resets"])


@every_point
@pytest.mark.parametrize("moved", ["w_ih", "bias", "x", "h"])
def test_backward_is_the_derivative_of_step(moved, point, rng):
    assert_backward_is_the_derivative_of_step({"cell": "mingru"}, moved, point, rng)


def test_the_candidate_is_positive_continuous_and_matches_the_paper():  # Feng et al. (2024), appendix B: g
    a = np.array([-30.0, -1.0, -1e-9, 0.0, 1.0, 30.0])
    expected = [9.357623e-14, 0.26894142, 0.5, 0.5, 1.5, 30.5]
    np.testing.assert_allclose(mingru.candidate(a), expected, rtol=1e-6, atol=0)


def test_the_candidate_slope_is_one_for_nonnegative_input():
    a = np.array([-2.0, -1e-3, 0.0, 1e-3, 2.0])
    expected = [0.10499359, 0.25, 1.0, 1.0, 1.0]  # σ (1 − σ) below zero
    np.testing.assert_allclose(mingru.candidate_slope(mingru.candidate(a)), expected, rtol=1e-6)


def test_z_is_the_weight_of_the_candidate():
    def step(a_z, h):
        return mingru.step(no_state, np.array([[a_z, 1.0]]), mingru.State(np.array([[h]])))[0].h.item()

    assert step(40.0, 0.0) == pytest.approx(1.5)
    assert step(-40.0, 0.3) == pytest.approx(0.3)
    assert step(0.0, 0.3) == pytest.approx(0.9)


def random_window(rng, share):
    """Projections away from g's corner, a first state, resets (at least one in the middle) and the state after them."""
    a_x = rng.normal(size=(T, B, 2 * H))
    a_x += CORNER * np.sign(a_x)
    resets = rng.random((T, B)) < share
    resets[T // 2, 0] = share > 0
    return a_x, rng.normal(size=(B, H)), resets if share else None, rng.normal(size=(B, H))


def steps(a_x, h, resets, reset_state):
    """The reference: one step after another."""
    outputs, tapes = [], []
    for t in range(len(a_x)):
        if resets is not None:
            h = np.where(resets[t][:, None], reset_state, h)
        (h,), tape = mingru.step(no_state, a_x[t], mingru.State(h))
        outputs.append(h)
        tapes.append(tape)
    return np.stack(outputs), tapes


def steps_backward(tapes, resets, d_h):
    """The reference for the backward pass."""
    d, d_a = np.zeros_like(d_h[0]), []
    for t in reversed(range(len(tapes))):
        d_now, (d,) = mingru.backward(no_state, tapes[t], mingru.State(d + d_h[t]))
        d_a.insert(0, d_now)
        if resets is not None:
            d = np.where(resets[t][:, None], 0, d)
    return np.stack(d_a), d


@with_library
@with_resets
def test_scan_equals_single_steps(share, has_library, rng, monkeypatch):
    if not has_library:
        monkeypatch.setattr(linear_scan, "library", lambda: None)
    window = random_window(rng, share)
    h, tape = mingru.scan(*window)
    expected, tapes = steps(*window)
    np.testing.assert_allclose(h, expected, **REORDERED)
    np.testing.assert_allclose(tape.h_prev, [step.h_prev for step in tapes], **REORDERED)
    d_h = rng.normal(size=h.shape)
    for mine, plain in zip(
        mingru.scan_backward(tape, d_h), steps_backward(tapes, window[2], d_h), strict=True
    ):
        np.testing.assert_allclose(mine, plain, **REORDERED)


@with_resets
@pytest.mark.parametrize("moved", ["a_x", "h_0"])
def test_scan_backward_is_the_derivative_of_scan(moved, share, rng):
    a_x, h_0, resets, reset_state = random_window(rng, share)
    case = {"a_x": a_x, "h_0": h_0}
    direction, d_h = rng.normal(size=case[moved].shape), rng.normal(size=(T, B, H))

    def loss(eps):
        here = shifted(case, moved, eps * direction)
        return (d_h * steps(here["a_x"], here["h_0"], resets, reset_state)[0]).sum()

    _, tape = mingru.scan(a_x, h_0, resets, reset_state)
    d_a, d_h_0 = mingru.scan_backward(tape, d_h)
    assert_is_derivative(({"a_x": d_a, "h_0": d_h_0}[moved] * direction).sum(), loss)


@pytest.mark.parametrize("length", [1, 2])
def test_a_short_window_is_scanned(length, rng):
    a_x, h_0, _, reset_state = random_window(rng, 0.0)
    h, tape = mingru.scan(a_x[:length], h_0, None, reset_state)
    np.testing.assert_allclose(h, steps(a_x[:length], h_0, None, reset_state)[0], **REORDERED)
    d_a, d_h_0 = mingru.scan_backward(tape, np.ones_like(h))
    assert (d_a.shape, d_h_0.shape) == ((length, B, 2 * H), (B, H))


def test_scan_keeps_float32(rng):
    a_x, h_0, resets, reset_state = random_window(rng, 0.3)
    h, tape = mingru.scan(a_x.astype("f4"), h_0.astype("f4"), resets, reset_state.astype("f4"))
    d_a, d_h_0 = mingru.scan_backward(tape, h)
    assert {x.dtype for x in (h, *tape, d_a, d_h_0)} == {np.dtype("float32")}
