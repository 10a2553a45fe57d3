"""Cross-entropy by hand, its derivative, and logits whose exponential overflows."""

import math

import numpy as np
import pytest

from charloom.engines.scratch import loss

from .derivative import assert_is_derivative, shifted

HUGE = 1e4  # e^1e4 is far beyond float64


def test_loss_and_gradient_by_hand():
    y = np.array([[[0.0, math.log(3)], [math.log(3), 0.0]]])  # probabilities 1/4 and 3/4, then 3/4 and 1/4
    log_p = loss.log_softmax(y)
    np.testing.assert_allclose(np.exp(log_p), [[[0.25, 0.75], [0.75, 0.25]]], rtol=1e-15)
    targets = np.array([[0, 0]])
    np.testing.assert_allclose(loss.losses(log_p, targets), [[math.log(4), math.log(4 / 3)]], rtol=1e-14)
    np.testing.assert_allclose(loss.backward(log_p, targets), [[[-0.75, 0.75], [-0.25, 0.25]]], rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_logits_do_not_overflow(dtype):
    y = np.array([[[HUGE, -HUGE, 0.0], [-HUGE, -HUGE, -HUGE], [HUGE, HUGE, -HUGE]]], dtype)
    log_p = loss.log_softmax(y)
    nats = loss.losses(log_p, np.array([[1, 2, 0]]))
    np.testing.assert_allclose(nats, [[2 * HUGE, math.log(3), math.log(2)]], rtol=1e-6)
    d_y = loss.backward(log_p, np.array([[1, 2, 0]]))
    third = 1 / 3
    np.testing.assert_allclose(d_y, [[[1, -1, 0], [third, third, -2 * third], [-0.5, 0.5, 0]]], atol=1e-6)
    assert log_p.dtype == nats.dtype == d_y.dtype == dtype


def test_a_shift_of_all_logits_changes_nothing(rng):
    y = rng.normal(size=(2, 3, 5))
    np.testing.assert_allclose(loss.log_softmax(y + 100), loss.log_softmax(y), rtol=0, atol=1e-13)


def test_probabilities_sum_to_one_and_gradients_to_zero(rng):
    y, targets = 5 * rng.normal(size=(4, 3, 6)), rng.integers(0, 6, size=(4, 3))
    log_p = loss.log_softmax(y)
    np.testing.assert_allclose(np.exp(log_p).sum(axis=2), 1, rtol=1e-14)
    np.testing.assert_allclose(loss.backward(log_p, targets).sum(axis=2), 0, atol=1e-14)


@pytest.mark.parametrize("scale", [1.0, 20.0], ids=["random", "certain"])
def test_backward_is_the_derivative_of_the_summed_losses(scale, rng):
    y, targets = scale * rng.normal(size=(4, 3, 6)), rng.integers(0, 6, size=(4, 3))
    direction = rng.normal(size=y.shape)

    def total(eps):
        return loss.losses(loss.log_softmax(shifted({"y": y}, "y", eps * direction)["y"]), targets).sum()

    assert_is_derivative((loss.backward(loss.log_softmax(y), targets) * direction).sum(), total)


def test_each_loss_belongs_to_its_target(rng):
    y, targets = rng.normal(size=(2, 3, 4)), rng.integers(0, 4, size=(2, 3))
    log_p = loss.log_softmax(y)
    for t, b in np.ndindex(2, 3):
        assert loss.losses(log_p, targets)[t, b] == -log_p[t, b, targets[t, b]]


def test_inputs_are_not_modified(rng):
    y, targets = rng.normal(size=(2, 3, 4)), rng.integers(0, 4, size=(2, 3))
    before = y.copy()
    log_p = loss.log_softmax(y)
    kept = log_p.copy()
    loss.losses(log_p, targets)
    loss.backward(log_p, targets)
    np.testing.assert_array_equal(y, before)
    np.testing.assert_array_equal(log_p, kept)


def test_the_gradient_does_not_depend_on_memory_layout(rng):
    y, targets = rng.normal(size=(2, 3, 4)), rng.integers(0, 4, size=(2, 3))
    expected = loss.backward(loss.log_softmax(y), targets)
    for order in ((0, 1, 2), (1, 0, 2), (2, 1, 0)):
        there = np.ascontiguousarray(y.transpose(order)).transpose(np.argsort(order))
        np.testing.assert_array_equal(loss.backward(loss.log_softmax(there), targets), expected)
