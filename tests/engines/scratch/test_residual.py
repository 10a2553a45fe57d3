"""The residual block: its parts against plain loops, one block against its five equations, and derivatives."""

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.engines.scratch import cells, residual
from charloom.parameters import parameter_shapes, state_shapes

from ..convolution import naive_convolution
from .derivative import assert_is_derivative

EXACT = {"rtol": 1e-12, "atol": 1e-14}  # float64, a handful of terms


@pytest.mark.parametrize("K", [1, 2, 4, 7])
@pytest.mark.parametrize("T", [1, 3, 8])
@pytest.mark.parametrize("reset_share", [None, 0.0, 0.3, 1.0])
def test_the_convolution_equals_a_plain_loop(K, T, reset_share, rng):
    x, past = rng.normal(size=(3, T, 4)), rng.normal(size=(3, K - 1, 4))
    weight, bias = rng.normal(size=(4, K)), rng.normal(size=4)
    resets = None if reset_share is None else rng.random((3, T)) < reset_share
    marks = None if resets is None else resets.T
    y, behind = residual.convolve(x.swapaxes(0, 1), past, weight, bias, marks)
    expected, expected_behind = naive_convolution(x, past, weight, bias, resets)
    np.testing.assert_allclose(y.swapaxes(0, 1), expected, **EXACT)
    np.testing.assert_array_equal(behind, expected_behind)


def test_rms_norm_divides_by_the_root_of_the_mean_square(rng):
    x, gain = rng.normal(size=(2, 3, 5)) * 3, rng.normal(size=5)
    expected = gain * x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(residual.norm(x, gain), expected, **EXACT)


def test_rms_norm_of_zero_is_zero():
    assert not residual.norm(np.zeros((1, 1, 4)), np.ones(4)).any()


def silu(a):
    return a / (1 + np.exp(-a))


@pytest.mark.parametrize("mlp_ratio", [0.0, 1.5])
@pytest.mark.parametrize("has_resets", [False, True], ids=["carried", "resets"])
def test_a_block_follows_its_equations(mlp_ratio, has_resets, rng):
    config = ModelConfig(cell="lstm", hidden_size=4, block="residual", conv_width=3, mlp_ratio=mlp_ratio)
    prefix, T, B = "layers.0.", 5, 2
    shapes = {
        n.removeprefix(prefix): s for n, s in parameter_shapes(config, 7).items() if n.startswith(prefix)
    }
    p = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    x = rng.normal(size=(T, B, 4))
    begin, reset_state = (
        {key: rng.normal(size=(B, *shape)) for key, shape in state_shapes(config)[0].items()}
        for _ in range(2)
    )
    resets = rng.random((T, B)) < 0.4 if has_resets else None
    ours, after = residual.block(config, p, x, begin, resets=resets, reset_state=reset_state)

    marks = None if resets is None else resets.T
    normed = residual.norm(x, p["norm"]).swapaxes(0, 1)
    u, past = naive_convolution(normed, begin["conv"], p["conv.weight"], p["conv.bias"], marks)  # (1)
    inner = {name: p[f"cell.{name}"] for name in ("w_ih", "w_hh", "bias")}
    ends = [{key: s[key] for key in ("h", "c")} for s in (begin, reset_state)]
    o, state, _ = cells.unroll(
        config,
        inner,
        u.swapaxes(0, 1),
        ends[0],
        resets=resets,
        reset_state=ends[1],
        record=False,
        stepwise=True,
    )  # (2)
    y = x + np.einsum("dh,tbh->tbd", p["proj"], o)  # (3)
    if mlp_ratio:
        v = residual.norm(y, p["mlp_norm"])  # (4)
        y = y + (silu(v @ p["mlp.gate"].T) * (v @ p["mlp.up"].T)) @ p["mlp.down"].T  # (5)
    np.testing.assert_allclose(ours, y, **EXACT)
    assert after.keys() == begin.keys()
    for key, s in (state | {"conv": past}).items():
        np.testing.assert_allclose(after[key], s, **EXACT)


def test_a_block_keeps_float32(rng):
    config = ModelConfig(cell="gru", hidden_size=4, block="residual")
    shapes = parameter_shapes(config, 7)
    p = {
        n.removeprefix("layers.0."): np.ones(s, "f4") for n, s in shapes.items() if n.startswith("layers.0.")
    }
    begin = {key: np.zeros((2, *shape), "f4") for key, shape in state_shapes(config)[0].items()}
    y, after = residual.block(config, p, np.ones((3, 2, 4), "f4"), begin, resets=None, reset_state=begin)
    assert {y.dtype, *(s.dtype for s in after.values())} == {np.dtype("float32")}


def test_the_derivative_of_the_norm(rng):
    x, gain, d_y, direction = (rng.normal(size=shape) for shape in ((3, 2, 5), 5, (3, 2, 5), (3, 2, 5)))

    def loss(eps):
        return (d_y * residual.norm(x + eps * direction, gain)).sum()

    assert_is_derivative((residual.norm_backward(x, gain, d_y) * direction).sum(), loss)


def test_the_derivative_of_the_gated_mlp(rng):
    shapes = {"mlp.gate": (7, 5), "mlp.up": (7, 5), "mlp.down": (5, 7)}
    params = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    v, d_y, direction = rng.normal(size=(3, 2, 5))

    def loss(eps):
        return (d_y * residual.gated_mlp(params, v + eps * direction)).sum()

    assert_is_derivative((residual.gated_mlp_backward(params, v, d_y) * direction).sum(), loss)


@pytest.mark.parametrize("K", [1, 2, 4])
def test_the_derivative_of_one_step_of_the_convolution(K, rng):
    weight, bias, x, past = (rng.normal(size=shape) for shape in ((5, K), 5, (2, 5), (2, K - 1, 5)))
    d_y, d_behind = rng.normal(size=(2, 5)), rng.normal(size=(2, K - 1, 5))
    along, along_past = rng.normal(size=(2, 5)), rng.normal(size=(2, K - 1, 5))

    def loss(eps):
        y, behind = residual.convolve((x + eps * along)[None], past + eps * along_past, weight, bias, None)
        return (d_y * y[0]).sum() + (d_behind * behind).sum()

    d_x, d_past = residual.convolve_backward(weight, d_y, d_behind)
    assert_is_derivative((d_x * along).sum() + (d_past * along_past).sum(), loss)


def test_rows_of_gradients_share_one_input_row(rng):
    x, gain, d_y = rng.normal(size=(1, 5)), rng.normal(size=5), rng.normal(size=(3, 5))
    each = [residual.norm_backward(x, gain, row[None])[0] for row in d_y]
    np.testing.assert_allclose(residual.norm_backward(x, gain, d_y), each, **EXACT)
