"""Learners over several windows: state is carried, gradients are not, and steps can be split anywhere."""

from dataclasses import replace

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.text.batching import Plan, Window

from .cases import SHORT_PLAIN, random_parameters
from .learners import (
    CARRY,
    SMALL,
    TINY,
    assert_states_equal,
    every_engine,
    learner_of,
    make,
    one_pass,
    random_text,
    random_window,
    train_config,
)

every_stack = pytest.mark.parametrize("config", SHORT_PLAIN.values(), ids=SHORT_PLAIN.keys())


@every_engine
@every_stack
def test_state_is_carried_from_window_to_window(engine, config, rng):
    ids = random_text(rng)
    learner, settings = make(engine, config, rng, learning_rate=TINY)
    plan = Plan(ids, settings)
    state, metrics = learner.advance(plan, 0, 4, learner.initial_state(range(3)))
    model = learner.model()
    length = (len(ids) - 1) // 3
    rows = np.arange(3)[:, None] * length + np.arange(20)
    nats, end = model.losses(
        Window(ids[rows], ids[rows + 1], np.zeros(rows.shape, bool)), model.initial_state(3)
    )
    np.testing.assert_allclose(metrics.loss, nats.reshape(3, 4, 5).mean(axis=(0, 2)), rtol=CARRY)
    assert metrics.chars.tolist() == [15] * 4
    assert_states_equal(learner.export_state(state), model.export_state(end), rtol=0, atol=CARRY)


def joined(first, second):
    pairs = zip(*((w.inputs, w.targets, w.resets) for w in (first, second)), strict=True)
    return Window(*(np.concatenate(pair, axis=1) for pair in pairs))


@every_engine
@every_stack
def test_no_gradient_crosses_a_window(engine, config, rng):
    learner, _ = make(engine, config, rng)
    first, second = random_window(rng), random_window(rng)
    before = one_pass(learner, first)
    carried = one_pass(learner, second, state=before.after).gradients
    constant = learner.import_state(learner.export_state(before.after))
    cut = one_pass(learner, second, state=constant).gradients
    for name in carried:
        np.testing.assert_array_equal(carried[name], cut[name], err_msg=name)
    whole = one_pass(learner, joined(first, second)).gradients
    halves = {name: (before.gradients[name] + cut[name]) / 2 for name in cut}
    # the output bias has no path through time
    np.testing.assert_allclose(halves["out.bias"], whole["out.bias"], rtol=1e-9, atol=CARRY)
    assert any(not np.allclose(whole[n], halves[n]) for n in whole)  # others do lose gradient at the cut


@every_engine
@pytest.mark.parametrize("batching", ["random", "sliding"])
def test_windows_without_carry_start_from_the_initial_state(engine, batching, rng):
    learner, settings = make(engine, SMALL, rng, batching=batching, learning_rate=TINY)
    plan = Plan(random_text(rng), settings)
    zero = learner.export_state(learner.initial_state(range(3)))
    wild = learner.import_state([{k: np.full_like(x, 9.0) for k, x in s.items()} for s in zero])
    _, metrics = learner.advance(plan, 2, 1, wild)
    model, window = learner.model(), plan.window(2, range(3))
    nats, _ = model.losses(window, model.initial_state(3))
    assert metrics.loss[0] == pytest.approx(nats.mean(), rel=CARRY)


@every_engine
def test_splitting_advance_does_not_change_results(engine, rng):
    config = ModelConfig(hidden_size=6, dropout_output=0.3)
    settings = train_config(average_decay=0.9, state_reset_probability=0.2, stream_offset="random")
    ids, params = random_text(rng), random_parameters(config, rng)
    ends = []
    for cuts in ([12], [1, 2, 3, 6], [5, 7]):
        learner = learner_of(engine, params, config, settings)
        plan, state, step = Plan(ids, settings), learner.initial_state(range(3)), 0
        for num in cuts:
            state, metrics = learner.advance(plan, step, num, state)
            assert len(metrics.loss) == len(metrics.grad_norm) == len(metrics.chars) == num
            step += num
        ends.append(learner.tensors())
    for other in ends[1:]:
        assert other.keys() == ends[0].keys()
        for name, value in other.items():
            np.testing.assert_array_equal(value, ends[0][name])


@every_engine
@pytest.mark.parametrize("cell", ["elman", "lstm", "gru"])
def test_dropped_recurrent_weights_are_zero_and_others_are_scaled_up(engine, cell, rng):
    whole = ModelConfig(cell=cell, hidden_size=12, embedding_size=4)
    config, params = replace(whole, dropout_recurrent=0.25), random_parameters(whole, rng)
    window, name = random_window(rng), "layers.0.cell.w_hh"
    learner = learner_of(engine, params, config, train_config())
    found, again, other = (one_pass(learner, window, step=step) for step in (0, 0, 5))
    kept = found.gradients[name] != 0
    assert abs(kept.mean() - 0.75) < 0.1
    np.testing.assert_array_equal(again.gradients[name] != 0, kept)
    assert ((other.gradients[name] != 0) != kept).any()
    thinned = {**params, name: params[name] * kept / 0.75}
    expected = one_pass(learner_of(engine, thinned, whole, train_config()), window)
    assert found.total == pytest.approx(expected.total, rel=CARRY)
    np.testing.assert_allclose(found.gradients[name], expected.gradients[name] * kept / 0.75, rtol=1e-9)


@every_engine
def test_shorter_or_smaller_last_windows_are_trained_on(engine, rng):
    learner, settings = make(engine, SMALL, rng)
    plan = Plan(random_text(rng, 38), settings)  # lanes of 12: windows of 5, 5 and 2
    _, metrics = learner.advance(plan, 0, 3, learner.initial_state(range(3)))
    assert metrics.chars.tolist() == [15, 15, 6]
    learner, settings = make(engine, SMALL, rng, batching="sliding", stride=5)
    plan = Plan(random_text(rng, 26), settings)  # five windows: a batch of three, a batch of two
    _, metrics = learner.advance(plan, 0, 2, learner.initial_state(range(3)))
    assert metrics.chars.tolist() == [15, 10]


@every_engine
def test_the_first_state_is_drawn_for_step_0(engine, rng):
    learner, _ = make(engine, SMALL, rng, initial_state="normal")
    state = learner.export_state(learner.initial_state(range(1, 3)))
    assert_states_equal(state, learner.export_state(learner.reset_state(0, range(1, 3))))
    assert state[0]["h"].shape == (2, 6)
    assert state[0]["h"].any()


@every_engine
def test_a_reset_returns_to_the_drawn_initial_state(engine, rng):
    learner, _ = make(engine, SMALL, rng, initial_state="normal", initial_state_scale=2.0)
    window = random_window(rng)
    window.resets[:, 0] = True
    wild = learner.import_state([{"h": np.full((3, 6), 5.0)}])
    total = one_pass(learner, window, step=4, state=wild).total
    quiet = Window(window.inputs, window.targets, np.zeros_like(window.resets))
    expected = one_pass(learner, quiet, step=4, state=learner.reset_state(4, range(3))).total
    assert total == pytest.approx(expected, rel=CARRY)
    zero = learner.import_state([{"h": np.zeros((3, 6))}])
    assert abs(total - one_pass(learner, quiet, step=4, state=zero).total) > 1e-3
