"""Splitting or resuming training does not change a bit; resuming from a torch checkpoint agrees to rounding."""

import numpy as np
import pytest

from charloom.engines.fused.online import step_ranges
from charloom.text.batching import Plan

from .settings import (
    advance,
    assert_equal_learners,
    elman,
    fused,
    make,
    parameters,
    same_bytes,
    settings_of,
    text,
)

CASES = {
    "characters": {"optimizer": "sgd", "bptt_length": 1, "learning_rate": 0.1, "initial_state": "normal"},
    "characters-clipped": {"optimizer": "sgd", "bptt_length": 1, "clip_norm": 0.4, "state_reset_probability": 0.1},
    "characters-adam": {"optimizer": "adam", "bptt_length": 1},
    "windows": {"optimizer": "adagrad", "epsilon_inside_root": True, "loss": "sum", "clip_value": 5.0},
    "windows-adamw": {"optimizer": "adamw", "weight_decay": 0.1, "average_decay": 0.9, "clip_norm": 0.5},
    "windows-sgd": {"optimizer": "sgd", "momentum": 0.9, "stream_offset": "random"},
    "random": {"optimizer": "rmsprop", "batching": "random", "objective": "last", "initial_state": "normal"},
    "sliding": {"optimizer": "adagrad", "batching": "sliding", "order": "shuffled", "stride": 3},
}  # fmt: skip
PARITY = {"rtol": 1e-10, "atol": 1e-10}  # float64: sums in another order

every_case = pytest.mark.parametrize("settings", CASES.values(), ids=CASES.keys())
precisions = pytest.mark.parametrize("precision", ["float32", "float64"])


def pair(config, rng, **settings):
    """Two learners with the same weights, and their plan."""
    train_config = settings_of(**settings)
    params = parameters(config, rng)
    plan = Plan(text(rng, 120), train_config, boundary_id=4)
    return [make("fused", params, config, train_config) for _ in range(2)], plan


@every_case
@precisions
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu"])
def test_splitting_steps_does_not_change_a_bit(settings, precision, activation, rng):
    config = elman(activation=activation, hidden_size=37)
    (whole, cut), plan = pair(config, rng, precision=precision, **settings)
    num = 150
    places = np.sort(rng.choice(np.arange(1, num), size=9, replace=False))
    cuts = np.diff([0, *places.tolist(), num]).tolist()
    state_whole, measured_whole = advance(whole, plan, [num])
    state_cut, measured_cut = advance(cut, plan, cuts)
    assert same_bytes(whole, cut)
    assert state_whole[0]["h"].tobytes() == state_cut[0]["h"].tobytes()
    for mine, theirs in zip(measured_whole, measured_cut, strict=True):
        assert mine.tobytes() == theirs.tobytes()


@every_case
def test_splitting_for_memory_does_not_change_a_bit(settings, monkeypatch, rng):
    (whole, cut), plan = pair(elman(), rng, precision="float32", **settings)
    advance(whole, plan, [60])
    monkeypatch.setattr(step_ranges, "_LONGEST", 17)
    assert max(len(steps) for steps in step_ranges.split_steps(plan, 0, 60)) <= 17
    advance(cut, plan, [60])
    assert same_bytes(whole, cut)


@pytest.mark.parametrize("length", [1, 5])
def test_no_steps_keep_negative_zeros(length, rng):
    config, train_config = elman(), settings_of(optimizer="sgd", bptt_length=length)
    params = {name: np.full_like(p, -0.0) for name, p in parameters(config, rng).items()}
    learner, plan = make("fused", params, config, train_config), Plan(text(rng), train_config)
    one = step_ranges.gather_step_range(config, train_config, learner.knots, plan, range(1))
    assert learner._run_updates(one._replace(begins=one.begins[:0]), np.zeros(16)) == 0
    assert all(np.signbit(x).all() for x in learner.tensors().values())


@every_case
@precisions
@pytest.mark.parametrize("embedding_size", [None, 3])
def test_a_resumed_learner_gives_the_same_bytes(settings, precision, embedding_size, rng):
    (first, second), plan = pair(elman(embedding_size=embedding_size), rng, precision=precision, **settings)
    state, _ = advance(first, plan, [23])
    advance(second, plan, [5])  # other updates, which loading undoes
    second.load_tensors(first.tensors())
    assert same_bytes(first, second)
    saved = first.export_state(state)
    advance(first, plan, [31], 23, state)
    advance(second, plan, [31], 23, second.import_state(saved))
    assert same_bytes(first, second)


@every_case
def test_a_checkpoint_before_the_first_step_holds_no_moments(settings, rng):
    (first, second), plan = pair(elman(), rng, **settings)
    tensors = first.tensors()
    assert not any(name.startswith("moment.") for name in tensors)
    advance(second, plan, [5])
    second.load_tensors(tensors)
    advance(first, plan, [9])
    advance(second, plan, [9])
    assert same_bytes(first, second)


@every_case
@pytest.mark.parametrize(("before", "after"), [("torch", "fused"), ("fused", "torch")])
def test_a_checkpoint_can_move_to_the_other_engine(settings, before, after, rng):
    config, train_config = elman(), settings_of(**{**settings, "epsilon": 1e-3})
    params, plan = parameters(config, rng), Plan(text(rng), train_config)
    through = make(before, params, config, train_config)
    state, _ = advance(through, plan, [8])
    other = make(after, params, config, train_config)
    other.load_tensors(through.tensors())
    advance(other, plan, [8], 8, other.import_state(through.export_state(state)))
    advance(through, plan, [8], 8, state)
    assert_equal_learners(other, through, compare=np.testing.assert_allclose, **PARITY)
    dtypes = [{name: x.dtype for name, x in learner.tensors().items()} for learner in (through, other)]
    assert dtypes[0] == dtypes[1]


def test_only_the_text_of_the_steps_is_read(rng):
    learner, plan = fused(elman(), rng)

    class Watched:
        def __init__(self, ids):
            self.ids, self.read = ids, set()

        def __len__(self):
            return len(self.ids)

        def __getitem__(self, places):
            self.read |= set(np.ravel(places).tolist())
            return self.ids[places]

    watched = Watched(plan.ids)
    learner.advance(Plan(watched, plan.config), 3, 2, learner.initial_state(range(1)))
    assert watched.read == set(range(15, 26))
