"""Compiled loops as differentiable functions: against the plain torch forms, and derivatives against differences."""

import pytest
import torch

from charloom.engines.torch import mingru, residual
from charloom.engines.torch.cpu import ops

from ..windows import B, H, T, assert_same_function, numbers, some_resets, with_resets

D, M = 5, 7
NOT_AT_ZERO = {"eps": 1e-6, "atol": 1e-7}
"""A derivative of float64 by differences."""


def test_norm_matches_torch(rng):
    x, gain = numbers(rng, T, B, D), numbers(rng, D)
    plain = lambda: [torch.nn.functional.rms_norm(x, (D,), gain, 1e-6)]  # noqa: E731
    assert_same_function(lambda: [ops.norm(x, gain)], plain, [x, gain], rng)
    assert torch.autograd.gradcheck(ops.norm, (x, gain), **NOT_AT_ZERO)


@pytest.mark.parametrize("size", [1e-12, 1e15])
def test_norm_of_very_small_and_very_large_rows_has_a_derivative(size, rng):
    x, gain = numbers(rng, 3, D).detach() * size, numbers(rng, D).detach()
    found = []
    for dtype in (torch.float32, torch.float64):
        leaf = x.to(dtype).requires_grad_()
        y = ops.norm(leaf, gain.to(dtype))
        (d_x,) = torch.autograd.grad((y * gain.to(dtype)).sum(), leaf)
        found.append(d_x.double() * max(size, 1e-3))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


def test_swiglu_is_silu_times_the_other_input(rng):
    gate, up = numbers(rng, T, B, M), numbers(rng, T, B, M)
    plain = lambda: [torch.nn.functional.silu(gate) * up]  # noqa: E731
    assert_same_function(lambda: [ops.swiglu(gate, up)], plain, [gate, up], rng)
    assert torch.autograd.gradcheck(ops.swiglu, (gate, up), **NOT_AT_ZERO)


@with_resets
@pytest.mark.parametrize("K", [1, 2, 4, T + 2])
def test_norm_conv_equals_norm_then_convolution(K, has_resets, rng):
    x, gain = numbers(rng, T, B, D), numbers(rng, D)
    past, weight, bias = numbers(rng, B, K - 1, D), numbers(rng, D, K), numbers(rng, D)
    resets = some_resets(rng, has_resets)
    assert_same_function(
        lambda: ops.norm_conv(x, gain, past, weight, bias, resets),
        lambda: residual.convolve(residual.norm(x, gain), past, weight, bias, resets),
        [x, gain, past, weight, bias],
        rng,
    )
    assert torch.autograd.gradcheck(
        lambda *leaves: ops.norm_conv(*leaves, resets), (x, gain, past, weight, bias), **NOT_AT_ZERO
    )


def test_a_convolution_of_one_tap_has_no_past(rng):
    _, after = ops.norm_conv(
        numbers(rng, T, B, D),
        numbers(rng, D),
        torch.zeros(B, 0, D),
        numbers(rng, D, 1),
        numbers(rng, D),
        None,
    )
    assert after.shape == (B, 0, D)


@with_resets
def test_mingru_equals_its_scan(has_resets, rng):
    a, bias, h0 = numbers(rng, T, B, 2 * H), numbers(rng, 2 * H), numbers(rng, B, H)
    resets, reset_state = some_resets(rng, has_resets), numbers(rng, B, H, grad=False)
    scanned = lambda: [mingru.scan(a + bias, {"h": h0}, resets, {"h": reset_state})[0]]  # noqa: E731
    looped = lambda a, bias, h0: ops.mingru(a, bias, h0, resets, reset_state)  # noqa: E731
    assert_same_function(lambda: [looped(a, bias, h0)], scanned, [a, bias, h0], rng)
    assert torch.autograd.gradcheck(looped, (a, bias, h0), **NOT_AT_ZERO)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("each", [1, D])
def test_drop_keeps_elements_at_or_above_the_threshold(rate, each, rng):
    x, halves = numbers(rng, T, B, D), rng.integers(0, 65536, size=(B, T * each)).astype("u2")
    threshold = min(round(rate * 65536), 65535)
    kept = torch.tensor(halves.reshape(B, T, each) >= threshold).transpose(0, 1)
    plain = lambda: [x * kept * 1.5]  # noqa: E731
    assert_same_function(lambda: [ops.drop(x, halves, threshold, 1.5)], plain, [x], rng)


def test_loops_fit_cpu_floats_outside_an_autocast():
    x = torch.zeros(1)
    assert ops.fit(x)
    assert ops.fit(x.double())
    assert not ops.fit(x.bfloat16())
    assert not ops.fit(torch.zeros(1, device="meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not ops.fit(x)


def test_a_transposed_input_is_read_correctly(rng):
    x, gain = numbers(rng, D, B, T).transpose(0, 2), numbers(rng, D)
    torch.testing.assert_close(ops.norm(x, gain), ops.norm(x.contiguous(), gain), rtol=0, atol=0)
