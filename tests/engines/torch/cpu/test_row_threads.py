"""Lanes divided among threads: the same training as on one thread, and the same bits every time."""

import numpy as np
import pytest
import torch

from charloom.config import ModelConfig
from charloom.engines.torch.cpu import row_threads
from charloom.text.batching import Plan, Window

from ...learners import make, random_text

CPU = torch.device("cpu")
CLOSE = {"rtol": 1e-10, "atol": 1e-12}
"""float64: gradients summed in another order, over six updates."""


@pytest.fixture
def threads():
    yield torch.set_num_threads
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("number", "rows", "sizes"),
    [
        (1, 64, [64]),
        (2, 64, [32, 32]),
        (2, 9, [5, 4]),
        (3, 8, [4, 4]),
        (4, 7, [7]),
        (2, 1, [1]),
        (3, 17, [6, 6, 5]),
    ],
)
def test_rows_are_divided_evenly_with_a_minimum_per_thread(number, rows, sizes, threads):
    threads(number)
    parts = row_threads.RowThreads().split(rows, CPU)
    assert [part.stop - part.start for part in parts] == sizes
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(rows))
    assert len(row_threads.RowThreads().split(rows, torch.device("meta"))) == 1


def test_each_pool_thread_uses_one_torch_thread_and_the_caller_keeps_its_own(threads):
    threads(2)
    pool = row_threads.RowThreads()
    assert pool.run(lambda part: (part, torch.get_num_threads()), ["a", "b", "c"]) == [
        ("a", 1),
        ("b", 1),
        ("c", 1),
    ]
    assert pool.run(lambda _: torch.get_num_threads(), ["alone"]) == [2]
    assert torch.get_num_threads() == 2


def test_leading_limits_the_caller_to_one_thread(threads):
    threads(2)
    pool = row_threads.RowThreads()
    with pool.leading(CPU):
        assert torch.get_num_threads() == 1
        assert len(pool.split(9, CPU)) == pool.number == 2
        with pool.leading(CPU):  # a model that a learner uses
            assert pool.number == 2
        assert pool.is_led
    assert torch.get_num_threads() == 2
    with pool.leading(torch.device("meta")):
        assert torch.get_num_threads() == 2
        assert not pool.is_led
    with pytest.raises(ValueError, match="inside"), pool.leading(CPU):
        raise ValueError("inside")
    assert torch.get_num_threads() == pool.number == 2


def test_an_error_in_a_thread_is_raised_in_the_caller(threads):
    def fail(part):
        if part == 1:
            raise ValueError("here")

    with pytest.raises(ValueError, match="here"):
        row_threads.RowThreads().run(fail, [0, 1])


def trained(number, threads, rng_seed, steps=6, **settings):
    threads(number)
    config = ModelConfig(
        hidden_size=6, embedding_size=4, num_layers=2, dropout_layer=0.3, dropout_output=0.2, dropout_char=0.1
    )
    rng = np.random.default_rng(rng_seed)
    learner, train = make("torch", config, rng, batch_size=13, learning_rate=0.01, **settings)
    plan = Plan(random_text(rng, 2000), train, boundary_id=2)
    state, metrics = learner.advance(plan, 0, steps, learner.initial_state(range(13)))
    return learner, state, metrics


SETTINGS = [
    {},
    {"batching": "random", "objective": "last", "loss": "sum"},
    {"batching": "sliding", "stride": 40},  # its last batch has fewer rows
    {"initial_state": "normal", "state_reset_probability": 0.3},
    {"optimizer": "muon", "weight_decay": 0.1},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("number", [2, 3])
def test_several_threads_train_like_one(number, settings, threads):
    alone, state, metrics = trained(1, threads, 5, **settings)
    shared, other_state, other = trained(number, threads, 5, **settings)
    np.testing.assert_allclose(other.loss, metrics.loss, **CLOSE)
    np.testing.assert_allclose(other.grad_norm, metrics.grad_norm, **CLOSE)
    np.testing.assert_array_equal(other.chars, metrics.chars)
    expected = alone.tensors()
    for name, x in shared.tensors().items():
        np.testing.assert_allclose(x, expected[name], **CLOSE, err_msg=name)
    for mine, theirs in zip(shared.export_state(other_state), alone.export_state(state), strict=True):
        for key in mine:
            np.testing.assert_allclose(mine[key], theirs[key], **CLOSE)


def test_the_same_number_of_threads_gives_the_same_bits(threads):
    first, _, _ = trained(2, threads, 5)
    second, _, _ = trained(2, threads, 5)
    expected = first.tensors()
    for name, x in second.tensors().items():
        np.testing.assert_array_equal(x, expected[name], err_msg=name)


def test_several_threads_evaluate_like_one(threads, rng):
    learner, _ = make("torch", ModelConfig(cell="gru", hidden_size=6, embedding_size=4), rng)
    model, ids = learner.model(), random_text(rng, 13 * 7).reshape(13, 7)
    window = Window(ids[:, :-1], ids[:, 1:], rng.random((13, 6)) < 0.2)
    found = []
    for number in (1, 3):
        threads(number)
        logits, state = model.forward(window.inputs, model.initial_state(13), window.resets)
        nats, after = model.losses(window, model.initial_state(13))
        found.append([logits, nats, *(layer["h"].numpy() for layer in (*state, *after))])
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, **CLOSE)
