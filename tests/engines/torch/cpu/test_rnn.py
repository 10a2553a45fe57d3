"""Elman, LSTM and GRU over a window as a differentiable function: against their written-out steps; its buffers."""

import pytest
import torch

from charloom.engines.torch import cells
from charloom.engines.torch.cpu import rnn

from ..windows import B, H, T, X, assert_same_function, numbers, random_cell, some_resets, with_resets


@with_resets
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "settings",
    [{"cell": "lstm"}, {"cell": "gru"}]
    + [{"cell": "elman", "activation": name} for name in ("tanh", "sigmoid", "relu")],
    ids=lambda s: "-".join(s.values()),
)
@pytest.mark.parametrize("one_hot", [False, True], ids=["dense", "one-hot"])
def test_unroll_equals_steps(settings, dtype, has_resets, one_hot, rng):
    config, params, x, state = random_cell(settings, dtype, rng)
    if one_hot:
        x = torch.tensor(rng.integers(0, x.shape[2], size=(T, B)))
    resets = some_resets(rng, has_resets)
    reset_state = {key: torch.tensor(rng.normal(size=s.shape), dtype=dtype) for key, s in state.items()}
    leaves = [*params.values(), *state.values()] + ([] if one_hot else [x])
    for leaf in leaves:
        leaf.requires_grad_()

    def run(unroll):
        outputs, after = unroll(config, params, x, state, resets, reset_state)
        return [outputs, *(after[key] for key in sorted(after))]

    assert_same_function(lambda: run(rnn.unroll), lambda: run(cells.unroll_steps), leaves, rng, dtype)


def test_a_transposed_input_is_read_correctly(rng):
    x = numbers(rng, X, B, T).transpose(0, 2)
    config, params, _, state = random_cell({"cell": "lstm"}, torch.float64, rng)
    for inputs in (x, x.contiguous()):
        outputs, _ = rnn.unroll(config, params, inputs, state, None, state)
        expected, _ = cells.unroll_steps(config, params, x, state, None, state)
        torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)


def test_a_transposed_gradient_is_propagated_correctly(rng):
    config, params, x, state = random_cell({"cell": "gru"}, torch.float64, rng)
    leaves = [*params.values(), x, *state.values()]
    for leaf in leaves:
        leaf.requires_grad_()
    weights = torch.tensor(rng.normal(size=(H, B, T)))

    def seen(unroll):
        outputs, _ = unroll(config, params, x, state, None, state)
        return [outputs.permute(2, 1, 0) * weights]

    assert_same_function(lambda: seen(rnn.unroll), lambda: seen(cells.unroll_steps), leaves, rng)


def test_training_can_write_to_buffers_left_by_inference(rng, monkeypatch):
    monkeypatch.setattr(rnn._buffers, "free", [])
    config, params, x, state = random_cell({"cell": "gru"}, torch.float64, rng)
    with torch.inference_mode():
        read, _ = rnn.unroll(config, params, x, state, None, state)
    left = [buffer.data_ptr() for buffer in rnn._buffers.free]
    params["w_hh"].requires_grad_()
    outputs, _ = rnn.unroll(config, params, x, state, None, state)
    assert len(left) == 2
    assert not rnn._buffers.free  # both are in use again
    outputs.sum().backward()
    torch.testing.assert_close(outputs, read, rtol=0, atol=0)
    assert {*left} < {buffer.data_ptr() for buffer in rnn._buffers.free}


def test_buffers_match_the_requested_size_and_dtype_and_stay_few():
    buffers, like = rnn._Buffers(), torch.zeros(1, dtype=torch.float64)
    first = buffers.take(like, 3, 4)
    buffers.give(first)
    again = buffers.take(like, 4, 3)
    assert (again.data_ptr(), again.shape) == (first.data_ptr(), (4, 3))
    buffers.give(again)
    assert buffers.take(like.float(), 3, 4).dtype == torch.float32
    assert not buffers.free
    for size in range(1, 40):
        buffers.give(buffers.take(like, size), buffers.take(like, size))
    assert [buffer.numel() for buffer in buffers.free] == [39, 39]


def test_backward_can_run_more_than_once(rng):
    """The next window reuses the buffers of a backward pass, so a second pass must not read anything left there."""
    losses = []
    for settings in ({"cell": "lstm"}, {"cell": "gru"}):
        config, params, x, state = random_cell(settings, torch.float64, rng)
        for p in params.values():
            p.requires_grad_()
        outputs, _ = rnn.unroll(config, params, x, state, None, state)
        losses.append((outputs.square().sum(), list(params.values())))
    first, again = ([torch.autograd.grad(*loss, retain_graph=True) for loss in losses] for _ in range(2))
    for mine, theirs in zip(first, again, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
