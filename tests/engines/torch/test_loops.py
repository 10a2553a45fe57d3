"""The compiled loops as differentiable functions: against the plain torch forms, and each derivative against differences."""

import pytest
import torch

from charloom.config import ModelConfig
from charloom.engines.torch import cells, loops, mingru, products, recurrence, residual

from .windows import TOLERANCE, B, H, T, random_cell

D, M = 5, 7
NOT_AT_ZERO = {"eps": 1e-6, "atol": 1e-7}
"""A derivative of float64 by differences."""

with_resets = pytest.mark.parametrize("has_resets", [False, True], ids=["carried", "resets"])


def numbers(rng, *shape, grad=True, scale=1.0):
    return (torch.tensor(rng.normal(size=shape)) * scale).requires_grad_(grad)


def some_resets(rng, has_resets):
    return torch.tensor(rng.random((T, B)) < 0.4) if has_resets else None


def assert_same_function(fast, slow, leaves, rng, dtype=torch.float64):
    """Outputs and gradients of two functions without arguments that read the same leaves."""
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


def test_the_norm_is_torchs(rng):
    x, gain = numbers(rng, T, B, D), numbers(rng, D)
    plain = lambda: [torch.nn.functional.rms_norm(x, (D,), gain, 1e-6)]  # noqa: E731
    assert_same_function(lambda: [loops.norm(x, gain)], plain, [x, gain], rng)
    assert torch.autograd.gradcheck(loops.norm, (x, gain), **NOT_AT_ZERO)


@pytest.mark.parametrize("size", [1e-12, 1e15])
def test_the_norm_of_very_small_and_very_large_rows_has_a_derivative(size, rng):
    x, gain = numbers(rng, 3, D).detach() * size, numbers(rng, D).detach()
    found = []
    for dtype in (torch.float32, torch.float64):
        leaf = x.to(dtype).requires_grad_()
        y = loops.norm(leaf, gain.to(dtype))
        (d_x,) = torch.autograd.grad((y * gain.to(dtype)).sum(), leaf)
        found.append(d_x.double() * max(size, 1e-3))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


def test_swiglu_is_silu_times_the_other(rng):
    gate, up = numbers(rng, T, B, M), numbers(rng, T, B, M)
    plain = lambda: [torch.nn.functional.silu(gate) * up]  # noqa: E731
    assert_same_function(lambda: [loops.swiglu(gate, up)], plain, [gate, up], rng)
    assert torch.autograd.gradcheck(loops.swiglu, (gate, up), **NOT_AT_ZERO)


@with_resets
@pytest.mark.parametrize("K", [1, 2, 4, T + 2])
def test_norm_and_convolution_are_one_after_the_other(K, has_resets, rng):
    x, gain = numbers(rng, T, B, D), numbers(rng, D)
    past, weight, bias = numbers(rng, B, K - 1, D), numbers(rng, D, K), numbers(rng, D)
    resets = some_resets(rng, has_resets)
    assert_same_function(
        lambda: loops.norm_conv(x, gain, past, weight, bias, resets),
        lambda: residual.convolve(residual.norm(x, gain), past, weight, bias, resets),
        [x, gain, past, weight, bias],
        rng,
    )
    assert torch.autograd.gradcheck(
        lambda *leaves: loops.norm_conv(*leaves, resets), (x, gain, past, weight, bias), **NOT_AT_ZERO
    )


def test_a_convolution_of_one_tap_has_no_past(rng):
    _, after = loops.norm_conv(
        numbers(rng, T, B, D),
        numbers(rng, D),
        torch.zeros(B, 0, D),
        numbers(rng, D, 1),
        numbers(rng, D),
        None,
    )
    assert after.shape == (B, 0, D)


@with_resets
def test_mingru_is_its_scan(has_resets, rng):
    a, bias, h0 = numbers(rng, T, B, 2 * H), numbers(rng, 2 * H), numbers(rng, B, H)
    resets, fresh = some_resets(rng, has_resets), numbers(rng, B, H, grad=False)
    scanned = lambda: [mingru.scan(a + bias, {"h": h0}, resets, {"h": fresh})[0]]  # noqa: E731
    looped = lambda a, bias, h0: loops.mingru(a, bias, h0, resets, fresh)  # noqa: E731
    assert_same_function(lambda: [looped(a, bias, h0)], scanned, [a, bias, h0], rng)
    assert torch.autograd.gradcheck(looped, (a, bias, h0), **NOT_AT_ZERO)


@with_resets
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "settings",
    [{"cell": "lstm"}, {"cell": "gru"}]
    + [{"cell": "elman", "activation": name} for name in ("tanh", "sigmoid", "relu")],
    ids=lambda s: "-".join(s.values()),
)
@pytest.mark.parametrize("one_hot", [False, True], ids=["dense", "one-hot"])
@pytest.mark.parametrize("way", ["compiled", "in Python"])
def test_the_recurrence_equals_its_steps(settings, dtype, has_resets, one_hot, way, rng, monkeypatch):
    if way == "in Python":
        monkeypatch.setattr(products, "are_compiled", lambda _: False)
    assert products.are_compiled(dtype) == (way == "compiled")
    config, params, x, state = random_cell(settings, dtype, rng)
    if one_hot:
        x = torch.tensor(rng.integers(0, x.shape[2], size=(T, B)))
    resets = some_resets(rng, has_resets)
    fresh = {key: torch.tensor(rng.normal(size=s.shape), dtype=dtype) for key, s in state.items()}
    leaves = [*params.values(), *state.values()] + ([] if one_hot else [x])
    for leaf in leaves:
        leaf.requires_grad_()

    def run(unroll):
        outputs, after = unroll(config, params, x, state, resets, fresh)
        return [outputs, *(after[key] for key in sorted(after))]

    assert_same_function(lambda: run(recurrence.unroll), lambda: run(cells.unroll_steps), leaves, rng, dtype)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("each", [1, D])
def test_drop_keeps_what_its_numbers_say(rate, each, rng):
    x, halves = numbers(rng, T, B, D), rng.integers(0, 65536, size=(B, T * each)).astype("u2")
    threshold = min(round(rate * 65536), 65535)
    kept = torch.tensor(halves.reshape(B, T, each) >= threshold).transpose(0, 1)
    plain = lambda: [x * kept * 1.5]  # noqa: E731
    assert_same_function(lambda: [loops.drop(x, halves, threshold, 1.5)], plain, [x], rng)


def test_the_loops_are_for_the_cpus_own_precisions_outside_an_autocast():
    x = torch.zeros(1)
    assert loops.fit(x)
    assert loops.fit(x.double())
    assert not loops.fit(x.bfloat16())
    assert not loops.fit(torch.zeros(1, device="meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not loops.fit(x)


def test_what_lies_transposed_is_read_as_it_is(rng):
    x, gain = numbers(rng, D, B, T).transpose(0, 2), numbers(rng, D)
    torch.testing.assert_close(loops.norm(x, gain), loops.norm(x.contiguous(), gain), rtol=0, atol=0)
    config = ModelConfig(cell="lstm", hidden_size=H, embedding_size=D)
    _, params, _, state = random_cell({"cell": "lstm"}, torch.float64, rng, D)
    for inputs in (x, x.contiguous()):
        outputs, _ = recurrence.unroll(config, params, inputs, state, None, state)
        torch.testing.assert_close(
            outputs, cells.unroll_steps(config, params, x, state, None, state)[0], rtol=1e-12, atol=1e-12
        )


def test_a_gradient_that_lies_transposed_goes_all_the_way_back(rng):
    config, params, x, state = random_cell({"cell": "gru"}, torch.float64, rng)
    leaves = [*params.values(), x, *state.values()]
    for leaf in leaves:
        leaf.requires_grad_()
    weights = torch.tensor(rng.normal(size=(H, B, T)))

    def seen(unroll):
        outputs, _ = unroll(config, params, x, state, None, state)
        return [outputs.permute(2, 1, 0) * weights]

    assert_same_function(lambda: seen(recurrence.unroll), lambda: seen(cells.unroll_steps), leaves, rng)


def test_who_reads_leaves_nothing_that_a_training_could_not_write_on(rng, monkeypatch):
    monkeypatch.setattr(recurrence._rooms, "free", [])
    config, params, x, state = random_cell({"cell": "gru"}, torch.float64, rng)
    with torch.inference_mode():
        read, _ = recurrence.unroll(config, params, x, state, None, state)
    left = [room.data_ptr() for room in recurrence._rooms.free]
    params["w_hh"].requires_grad_()
    outputs, _ = recurrence.unroll(config, params, x, state, None, state)
    assert len(left) == 2
    assert not recurrence._rooms.free  # both are in use again
    outputs.sum().backward()
    torch.testing.assert_close(outputs, read, rtol=0, atol=0)
    assert {*left} < {room.data_ptr() for room in recurrence._rooms.free}


def test_rooms_are_of_the_size_and_precision_asked_for_and_no_more_than_were_in_use_at_once():
    rooms, like = recurrence._Rooms(), torch.zeros(1, dtype=torch.float64)
    first = rooms.take(like, 3, 4)
    rooms.give(first)
    again = rooms.take(like, 4, 3)
    assert (again.data_ptr(), again.shape) == (first.data_ptr(), (4, 3))
    rooms.give(again)
    assert rooms.take(like.float(), 3, 4).dtype == torch.float32
    assert not rooms.free
    for size in range(1, 40):
        rooms.give(rooms.take(like, size), rooms.take(like, size))
    assert [room.numel() for room in rooms.free] == [39, 39]


def test_a_window_goes_back_as_often_as_it_is_asked(rng):
    """What the way back writes on is used again by the next, and nothing of a window is kept there."""
    found = []
    for settings in ({"cell": "lstm"}, {"cell": "gru"}):
        config, params, x, state = random_cell(settings, torch.float64, rng)
        for p in params.values():
            p.requires_grad_()
        outputs, _ = recurrence.unroll(config, params, x, state, None, state)
        found.append((outputs.square().sum(), list(params.values())))
    first, again = ([torch.autograd.grad(*asked, retain_graph=True) for asked in found] for _ in range(2))
    for mine, theirs in zip(first, again, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
