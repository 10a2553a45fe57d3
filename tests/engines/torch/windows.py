"""Shared by the tests of cells and loops: a random cell with a window, and comparisons of two forms of a function."""

import pytest
import torch

from charloom.config import ModelConfig
from charloom.engines.torch import cells, module
from charloom.parameters import parameter_shapes, state_shapes

TOLERANCE = {torch.float64: {"rtol": 1e-10, "atol": 1e-11}, torch.float32: {"rtol": 1e-5, "atol": 1e-5}}
"""Another order of the same sums, over twelve steps."""

GOLDEN = {"rtol": 1e-10, "atol": 1e-12}
B, T, X, H = 3, 12, 4, 6

with_resets = pytest.mark.parametrize("has_resets", [False, True], ids=["carried", "resets"])


def numbers(rng, *shape, grad=True, scale=1.0):
    return (torch.tensor(rng.normal(size=shape)) * scale).requires_grad_(grad)


def some_resets(rng, has_resets):
    return torch.tensor(rng.random((T, B)) < 0.4) if has_resets else None


def assert_same_function(fast, slow, leaves, rng, dtype=torch.float64):
    """Compare outputs and gradients of two functions without arguments that read the same leaves."""
    outputs, expected = fast(), slow()
    for mine, theirs in zip(outputs, expected, strict=True):
        torch.testing.assert_close(mine, theirs, **TOLERANCE[dtype])
    directions = [torch.tensor(rng.normal(size=y.shape), dtype=dtype) for y in expected]
    looser = {key: 10 * value for key, value in TOLERANCE[dtype].items()}  # sums over T · B terms

    def gradients(found):
        total = sum((d * y).sum() for d, y in zip(directions, found, strict=True))
        return torch.autograd.grad(total, leaves, materialize_grads=True)

    for mine, theirs in zip(gradients(outputs), gradients(expected), strict=True):
        torch.testing.assert_close(mine, theirs, **looser)


def random_cell(settings, dtype, rng, input_size=X):
    """(config, the cell's own parameters, inputs (T, B, X), state)."""
    config = ModelConfig(hidden_size=H, embedding_size=input_size, **settings)
    prefix = "layers.0.cell."
    params = {
        name.removeprefix(prefix): torch.tensor(rng.normal(size=shape) * 0.5, dtype=dtype)
        for name, shape in parameter_shapes(config, 9).items()
        if name.startswith(prefix)
    }
    x = torch.tensor(rng.normal(size=(T, B, input_size)), dtype=dtype)
    state = {
        k: torch.tensor(rng.normal(size=(B, *s)) * 0.5, dtype=dtype)
        for k, s in state_shapes(config)[0].items()
    }
    return config, params, x, state


def assert_library_kernel_equals_steps(settings, kernel, dtype, rng, *, grad=True):
    """Compare outputs, last state and, with `grad`, every gradient of a library kernel with those of the step loop."""
    config, params, x, state = random_cell(settings, dtype, rng)
    leaves = [*params.values(), x, *state.values()]
    for leaf in leaves:
        leaf.requires_grad_(grad)
    activation = (config.activation,) if config.cell == "elman" else ()
    fast, fast_end = kernel(params, x, state, *activation)
    slow, slow_end = cells.unroll_steps(config, params, x, state, None, state)
    assert fast_end.keys() == slow_end.keys()
    torch.testing.assert_close(fast, slow, **TOLERANCE[dtype])
    for key in slow_end:
        torch.testing.assert_close(fast_end[key], slow_end[key], **TOLERANCE[dtype])
    if not grad:
        return
    direction = torch.tensor(rng.normal(size=slow.shape), dtype=dtype)
    along = {key: torch.tensor(rng.normal(size=s.shape), dtype=dtype) for key, s in slow_end.items()}

    def gradients(outputs, end):
        loss = (direction * outputs).sum() + sum((along[key] * end[key]).sum() for key in end)
        return torch.autograd.grad(loss, leaves)

    looser = {key: 10 * value for key, value in TOLERANCE[dtype].items()}  # sums over B · T terms
    for mine, theirs in zip(gradients(fast, fast_end), gradients(slow, slow_end), strict=True):
        torch.testing.assert_close(mine, theirs, **looser)


def library_outputs(settings, rnn, rng):
    """(Outputs of our step loop with the folded weights of a torch.nn stack, outputs of the stack itself)."""
    config, _, x, state = random_cell(settings, torch.float64, rng, rnn.input_size)
    config = ModelConfig(hidden_size=rnn.hidden_size, embedding_size=rnn.input_size, **settings)
    folded = {name: torch.tensor(value) for name, value in module._cell(rnn, 0).items()}
    state = {key: s[:, : rnn.hidden_size] for key, s in state.items()}
    start = tuple(state[key][None].contiguous() for key in ("h", "c") if key in state)
    theirs, _ = rnn(x.transpose(0, 1), start if len(start) > 1 else start[0])
    ours, _ = cells.unroll_steps(config, folded, x, state, None, state)
    return ours, theirs.detach().transpose(0, 1)
