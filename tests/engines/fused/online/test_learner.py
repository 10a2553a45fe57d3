"""The online trainer against torch's learner: the same updates to rounding, for every setting."""

import numpy as np
import pytest

from charloom.engines import Learner, load_engine
from charloom.errors import DivergedError
from charloom.parameters import initial_parameters
from charloom.text.batching import Plan

from ...cases import V
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

PARITY = {"rtol": 1e-10, "atol": 1e-10}  # float64, 20 steps: sums in another order
SINGLE = {"rtol": 1e-5, "atol": 6e-5}
"""float32, 20 steps: rounding, amplified by the roots of small second moments; measured 2e-5."""

OPTIMISERS = {
    "sgd": {"optimizer": "sgd"},
    "sgd-momentum": {"optimizer": "sgd", "momentum": 0.9},
    "sgd-decay": {"optimizer": "sgd", "weight_decay": 0.1},
    "sgd-momentum-decay": {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1},
    "adam": {"optimizer": "adam"},
    "adam-decay": {"optimizer": "adam", "weight_decay": 0.1, "beta1": 0.8, "beta2": 0.999, "epsilon": 1e-5},
    "adamw": {"optimizer": "adamw"},
    "adamw-decay": {"optimizer": "adamw", "weight_decay": 0.5},
    "adagrad": {"optimizer": "adagrad", "epsilon": 1e-3},
    "adagrad-decay": {"optimizer": "adagrad", "weight_decay": 0.1},
    "adagrad-inside": {"optimizer": "adagrad", "epsilon_inside_root": True, "epsilon": 1e-3},
    "adagrad-inside-decay": {"optimizer": "adagrad", "epsilon_inside_root": True, "weight_decay": 0.1},
    "rmsprop": {"optimizer": "rmsprop", "epsilon": 1e-4},
    "rmsprop-momentum-decay": {"optimizer": "rmsprop", "momentum": 0.5, "weight_decay": 0.1, "epsilon": 1e-4},
}
OBJECTIVES = {
    "every": {},
    "sum": {"loss": "sum"},
    "last": {"objective": "last", "batching": "sliding", "stride": 3},
}
every_optimiser = pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS.keys())
every_objective = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES.keys())
every_activation = pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu"])
inputs = pytest.mark.parametrize("embedding_size", [None, 3], ids=["one-hot", "embedding"])


def compare(config, rng, *, steps=20, boundary_id=None, tolerance=PARITY, ids=None, **settings):
    """Compare both learners after `steps` updates from the same weights; return torch's measurements."""
    train_config = settings_of(**settings)
    params, ids = parameters(config, rng), text(rng) if ids is None else ids
    plan, results = Plan(ids, train_config, boundary_id=boundary_id), []
    for engine in ("torch", "fused"):
        learner = make(engine, params, config, train_config)
        state, measured = advance(learner, plan, [steps])
        results.append((learner, learner.export_state(state)[0]["h"], measured))
    (torch_learner, torch_h, theirs), (learner, h, ours) = results
    assert_equal_learners(learner, torch_learner, compare=np.testing.assert_allclose, **tolerance)
    for mine, reference in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, reference, **tolerance)
    np.testing.assert_allclose(h, torch_h, **tolerance)
    return theirs


@every_activation
@every_objective
@every_optimiser
def test_updates_match_torch(activation, objective, optimiser, rng):
    compare(elman(activation=activation), rng, **objective, **optimiser)


@every_activation
@every_optimiser
def test_updates_with_an_embedding_match_torch(activation, optimiser, rng):
    compare(elman(activation=activation, embedding_size=3), rng, **optimiser)


@every_activation
@pytest.mark.parametrize(
    "clip", [{}, {"clip_norm": 0.3}, {"clip_value": 0.02}, {"average_decay": 0.7}], ids=str
)
def test_one_character_per_update_matches_torch(activation, clip, rng):
    compare(
        elman(activation=activation),
        rng,
        steps=150,
        optimizer="sgd",
        bptt_length=1,
        learning_rate=0.1,
        **clip,
    )


@every_activation
@every_objective
@every_optimiser
def test_float32_matches_torch_to_rounding(activation, objective, optimiser, rng):
    compare(
        elman(activation=activation), rng, precision="float32", tolerance=SINGLE, **objective,
        **{"epsilon": 1e-3, **optimiser},
    )  # fmt: skip


def test_float32_with_one_character_per_update_matches_torch_to_rounding(rng):
    compare(
        elman(activation="sigmoid"), rng, steps=150, precision="float32", tolerance=SINGLE, optimizer="sgd",
        bptt_length=1, learning_rate=0.1,
    )  # fmt: skip


@pytest.mark.parametrize("hidden_size", [1, 3, 16, 37])
@pytest.mark.parametrize("length", [1, 2, 4, 11])
def test_every_size_matches_torch(hidden_size, length, rng):
    config = elman(hidden_size=hidden_size)
    compare(config, rng, bptt_length=length, optimizer="sgd", steps=15)
    compare(config, rng, bptt_length=length, optimizer="adam", steps=15)


# ------------------------------------------------------------------------------- clipping, averages, schedules


@pytest.mark.parametrize("loss", ["mean", "sum"])
@pytest.mark.parametrize(
    "clip", [{"clip_norm": 0.05}, {"clip_value": 0.003}, {"clip_norm": 0.5, "clip_value": 0.02}, {"clip_norm": 1e9}], ids=str
)  # fmt: skip
@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
def test_the_norm_is_clipped_first_and_then_the_elements(loss, clip, optimizer, rng):
    norms = compare(elman(), rng, loss=loss, optimizer=optimizer, epsilon=1e-3, **clip)[1]
    assert (norms > 0.06).all()  # before clipping
    assert ("clip_value" in clip or clip["clip_norm"] > 1) or (norms > clip["clip_norm"]).any()


@inputs
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_average_matches_torch(embedding_size, optimizer, rng):
    compare(elman(embedding_size=embedding_size), rng, optimizer=optimizer, average_decay=0.7)


def test_the_returned_model_is_the_average_and_does_not_change(rng):
    learner, plan = fused(elman(), rng, average_decay=0.6)
    state, _ = advance(learner, plan, [6])
    shipped = learner.model()
    before = shipped.parameters()
    for name, value in before.items():
        np.testing.assert_array_equal(value, learner.tensors()[f"average.{name}"])
        assert (value != learner.tensors()[f"param.{name}"]).any()
    advance(learner, plan, [6], 6, state)
    for name, value in shipped.parameters().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "wsd"])
def test_each_update_uses_the_scheduled_learning_rate(length, schedule, rng):
    config = elman()
    train_config = settings_of(
        optimizer="sgd", schedule=schedule, warmup=3, bptt_length=length, learning_rate=0.1
    )
    params, plan, ends = parameters(config, rng), Plan(text(rng), train_config), []
    for engine in ("torch", "fused"):
        learner = make(engine, params, config, train_config)
        learner.set_progress(((0, 0.0), (4, 0.7), (30, 1.0)))
        state, before = advance(learner, plan, [2])
        state, within = advance(learner, plan, [18], 2, state)  # begins inside the warm-up
        _, after = advance(learner, plan, [10], 20, state)
        ends.append((learner, [*before, *within, *after]))
    assert_equal_learners(ends[1][0], ends[0][0], compare=np.testing.assert_allclose, **PARITY)
    for ours, theirs in zip(ends[1][1], ends[0][1], strict=True):
        np.testing.assert_allclose(ours, theirs, **PARITY)


# ---------------------------------------------------------------------------- batching, resets, initial states


@pytest.mark.parametrize(
    "batching",
    [
        {},
        {"stream_offset": "random", "seed": 5},
        {"drop_last": True},
        {"state_reset": "wrap"},
        {"state_reset_probability": 0.4},
        {"batching": "random"},
        {"batching": "sliding", "stride": 7, "order": "shuffled"},
    ],
    ids=str,
)
@pytest.mark.parametrize("initial_state", ["zeros", "normal"])
@pytest.mark.parametrize("length", [1, 5])
def test_every_batching_reads_the_plans_windows(batching, initial_state, length, rng):
    compare(
        elman(), rng, ids=text(rng, 48), steps=110 if length == 1 else 25, optimizer="sgd", bptt_length=length,
        initial_state=initial_state, initial_state_scale=1.0, **batching,
    )  # fmt: skip


@inputs
@pytest.mark.parametrize("length", [1, 6])
@pytest.mark.parametrize("initial_state", ["zeros", "normal"])
def test_a_boundary_inside_a_window_resets_the_state_and_cuts_the_gradient(
    embedding_size, length, initial_state, rng
):
    compare(
        elman(embedding_size=embedding_size), rng, boundary_id=2, optimizer="sgd", learning_rate=0.3, bptt_length=length,
        initial_state=initial_state, initial_state_scale=1.0,
    )  # fmt: skip


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.int64])
def test_ids_may_be_a_memory_map_of_any_integers(kind, tmp_path, rng):
    learner, plan = fused(elman(), rng)
    np.asarray(plan.ids, kind).tofile(tmp_path / "ids")
    mapped = Plan(np.memmap(tmp_path / "ids", kind, mode="r"), plan.config)
    other = make("fused", _params(learner), learner.config, learner.train_config)
    advance(learner, plan, [20])
    advance(other, mapped, [20])
    assert same_bytes(learner, other)


def _params(learner):
    return {
        name.removeprefix("param."): x for name, x in learner.tensors().items() if name.startswith("param.")
    }


def test_the_output_bias_learns(rng):
    """A published from-scratch program adds this gradient to itself, so it remains zero."""
    config = elman(init="normal", init_scale=0.01)
    train_config = settings_of(optimizer="adagrad", loss="sum", clip_value=5.0, epsilon_inside_root=True)
    learner = make("fused", initial_parameters(config, V, 0), config, train_config)
    ids = np.full(200, 3)
    advance(learner, Plan(ids, train_config), [20])
    bias = learner.tensors()["param.out.bias"]
    assert bias[3] > 0.05
    assert (np.delete(bias, 3) < -0.05).all()


def test_it_learns_a_repeating_text(rng):
    config = elman(hidden_size=16, activation="sigmoid", init="uniform", init_scale=0.3)
    train_config = settings_of(
        optimizer="sgd", bptt_length=1, learning_rate=0.5, schedule="constant", precision="float32"
    )
    learner = make("fused", initial_parameters(config, V, 1), config, train_config)
    _, (loss, _, _) = advance(learner, Plan(np.arange(4000) % V, train_config), [3900])
    assert loss[:20].mean() > 1.7  # ln 7 is 1.95
    assert loss[-20:].mean() < 0.02


# --------------------------------------------------------------------------------------------- divergence


@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize("name", ["out.bias", "out.weight", "layers.0.cell.w_hh", "layers.0.cell.bias"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_non_finite_numbers_name_step_and_parameter_and_change_nothing(length, name, precision, rng):
    config = elman()
    train_config = settings_of(optimizer="sgd", bptt_length=length, precision=precision)
    params = parameters(config, rng)
    params[name].flat[-1] = np.nan
    plan, messages = Plan(text(rng), train_config), []
    for engine in ("torch", "fused"):
        learner = make(engine, params, config, train_config)
        before = learner.tensors()
        with pytest.raises(DivergedError, match=f"step 7: the parameter {name} is not finite") as caught:
            learner.advance(plan, 7, 2, learner.initial_state(range(1)))
        messages.append(caught.value.what)
        for key, value in learner.tensors().items():
            np.testing.assert_array_equal(value, before[key])
    assert messages[0] == messages[1]


@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize("average_decay", [None, 0.5])
def test_divergence_keeps_the_updates_before_it(length, average_decay, rng):
    config = elman(activation="relu")
    train_config = settings_of(
        average_decay=average_decay, optimizer="sgd", bptt_length=length, schedule="cosine", learning_rate=1e308,
        final_lr_fraction=1e-310,
    )  # fmt: skip
    params, plan = parameters(config, rng), Plan(text(rng), train_config)
    learner, other = (make("fused", params, config, train_config) for _ in range(2))
    for one in (learner, other):
        one.set_progress(((0, 1.0), (20, 1.0), (21, 0.0)))  # 0.01, and from step 21 on 1e308
    with pytest.raises(DivergedError) as caught:
        learner.advance(plan, 0, 150, learner.initial_state(range(1)))
    step = int(caught.value.what.removeprefix("step ").partition(":")[0])
    assert 21 < step < 40
    state, (loss, norm, _) = advance(other, plan, [step])
    assert np.isfinite([loss, norm]).all()
    assert same_bytes(learner, other)
    assert learner.count == other.count == step
    with pytest.raises(DivergedError, match=f"step {step}:"):
        other.advance(plan, step, 1, state)
    assert same_bytes(learner, other)


# ------------------------------------------------------------------------------------ the contract, refusals


def test_it_implements_the_contract(rng):
    learner, plan = fused(elman(), rng)
    for name in vars(Learner):
        if not name.startswith("_"):
            assert callable(getattr(learner, name)), name
    assert load_engine("fused").name == "fused"
    assert load_engine("fused").resolve_device("auto") == "cpu" == load_engine("fused").resolve_device("cpu")
    _, (loss, norm, chars) = advance(learner, plan, [3, 2])
    assert (loss.dtype, norm.dtype, chars.dtype) == (np.float64, np.float64, np.int64)
    assert chars.tolist() == [5] * 5


def test_its_parameters_and_tensors_are_copies(rng):
    config, train_config = elman(), settings_of(average_decay=0.5, optimizer="adam")
    params = parameters(config, rng)
    given = {name: value.copy() for name, value in params.items()}
    learner = make("fused", params, config, train_config)
    state, _ = advance(learner, Plan(text(rng), train_config), [1])
    tensors = learner.tensors()
    before = {name: value.copy() for name, value in tensors.items()}
    advance(learner, Plan(text(rng), train_config), [3], 1, state)
    for name, value in tensors.items():
        np.testing.assert_array_equal(value, before[name])
    for name, value in params.items():
        np.testing.assert_array_equal(value, given[name])


def test_returned_states_do_not_change(rng):
    learner, plan = fused(elman(), rng)
    state, _ = advance(learner, plan, [3])
    before = state[0]["h"].copy()
    advance(learner, plan, [3], 3, state)
    np.testing.assert_array_equal(state[0]["h"], before)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_precision_is_that_of_parameters_moments_and_state(precision, rng):
    learner, plan = fused(elman(), rng, precision=precision, average_decay=0.5)
    state, _ = advance(learner, plan, [2])
    kinds = {x.dtype for n, x in learner.tensors().items() if not n.endswith(".step")}
    assert kinds == {np.dtype(precision), state[0]["h"].dtype}
    assert learner.model().parameters()["out.bias"].dtype == np.dtype(precision)
