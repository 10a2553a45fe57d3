"""The torch engine on a GPU, if available: the same numbers as NumPy's, from graphs that read nothing from the host."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from charloom.config import ModelConfig
from charloom.engines import load_engine
from charloom.errors import DivergedError
from charloom.parameters import initial_parameters, state_shapes
from charloom.text.batching import Plan, Window

from ..cases import CASES, SHORT_CASES, V, random_ids, random_parameters, random_resets, random_state
from ..learners import assert_states_equal, group, random_text, train_config

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

PARITY = {"rtol": 1e-9, "atol": 1e-11}
"""float64: the same sums in another order."""

RATE32 = {"rtol": 1e-6, "atol": 1e-6}
"""A learning rate in float32 has a relative error of up to 6e-8, which adds up over a dozen updates."""

BOUNDARY = 2
every_stack = pytest.mark.parametrize("config", SHORT_CASES.values(), ids=SHORT_CASES.keys())
METHODS = [{}, {"optimizer": "muon", "average_decay": 0.9}, {"optimizer": "sgd"}, {"batching": "random"}]


def learner_on(device, config, settings, params=None):
    params = initial_parameters(config, V, 0) if params is None else params
    return load_engine("torch").learner(params, config, settings, device=device)


def advanced(device, config, settings, *, steps=12, records=True, boundary_id=BOUNDARY):
    """(Learner, state, metrics) after some updates."""
    learner = learner_on(device, config, settings)
    if not records:
        learner.on_gpu.recorder = None
    plan = Plan(random_text(np.random.default_rng(2)), settings, boundary_id=boundary_id)
    return learner, *learner.advance(plan, 0, steps, learner.initial_state(range(plan.batch_size)))


def assert_trained_alike(mine, theirs, tolerance):
    (learner, state, metrics), (other, expected, figures) = mine, theirs
    np.testing.assert_allclose(metrics.loss, figures.loss, **tolerance)
    np.testing.assert_allclose(metrics.grad_norm, figures.grad_norm, **tolerance)
    assert_states_equal(learner.export_state(state), other.export_state(expected), **tolerance)
    tensors = other.tensors()
    for name, x in learner.tensors().items():
        np.testing.assert_allclose(x, tensors[name], **tolerance, err_msg=name)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("has_resets", [False, True], ids=["carried", "resets"])
def test_logits_losses_and_states_match_numpy(name, has_resets, rng):
    config = CASES[name]
    params, begin = random_parameters(config, rng), random_state(state_shapes(config), 3, rng)
    resets = random_resets(rng, 3, 6) if has_resets else np.zeros((3, 6), bool)
    window = Window(random_ids(rng, 3, 6), random_ids(rng, 3, 6), resets)
    found = []
    for engine, device in (("torch", "cuda"), ("scratch", "cpu")):
        model = load_engine(engine).model(params, config, precision="float64", device=device)
        logits, after = model.forward(window.inputs, model.import_state(begin), resets)
        nats, _ = model.losses(window, model.import_state(begin))
        found.append((logits, nats, model.export_state(after)))
    mine, theirs = found
    np.testing.assert_allclose(mine[0], theirs[0], **PARITY)
    np.testing.assert_allclose(mine[1], theirs[1], **PARITY)
    assert_states_equal(mine[2], theirs[2], **PARITY)


@every_stack
@pytest.mark.parametrize("objective", ["every", "last"])
def test_gradients_match_the_cpu(config, objective, rng):
    params = random_parameters(config, rng)
    window = Window(random_ids(rng, 3, 6), random_ids(rng, 3, 6), random_resets(rng, 3, 6))
    settings = train_config(objective=objective, batching="random", initial_state="normal")
    found = []
    for device in ("cuda", "cpu"):
        learner = learner_on(device, config, settings, params)
        total, _, gradients, _ = learner.gradients(3, window, learner.initial_state(range(3)))
        found.append((float(total), {name: g.cpu().numpy() for name, g in gradients.items()}))
    (mine, own), (theirs, other) = found
    assert mine == pytest.approx(theirs, rel=1e-10)
    for name, gradient in other.items():
        np.testing.assert_allclose(own[name], gradient, **PARITY, err_msg=name)


@every_stack
@pytest.mark.parametrize("settings", METHODS, ids=str)
def test_recorded_training_matches_the_cpu(config, settings):
    """Each shape has its graph: windows without resets, with resets before or inside them, a shorter one at the end."""
    if settings.get("optimizer") == "muon" and config.block == "plain":
        pytest.skip("a plain stack has only square recurrent matrices, which the other cases cover")
    train = train_config(learning_rate=2**-7, clip_norm=0.5, state_reset_probability=0.3, **settings)
    mine = advanced("cuda", config, train, steps=30)
    assert (mine[0].on_gpu.recorder is None) == (train.optimizer == "sgd")
    assert mine[0].on_gpu.recorder is None or mine[0].on_gpu.recorder._recorded
    assert_trained_alike(mine, advanced("cpu", config, train, steps=30), RATE32)


DROPS = ModelConfig(
    cell="lstm",
    hidden_size=16,
    num_layers=2,
    block="residual",
    dropout_branch=0.3,
    dropout_recurrent=0.3,
    dropout_output=0.5,
)


def test_a_graph_draws_the_same_masks_as_unrecorded_updates(rng):
    train = train_config(learning_rate=2**-7, state_reset_probability=0.3)
    mine, theirs = (advanced("cuda", DROPS, train, records=records) for records in (True, False))
    assert mine[0].on_gpu.recorder._recorded
    assert_trained_alike(mine, theirs, RATE32)


def test_masks_differ_from_update_to_update():
    train = train_config(learning_rate=1e-30, batching="random", batch_size=64)
    learner = learner_on("cuda", DROPS, train)
    ids = np.zeros(200, np.int64)
    _, metrics = learner.advance(Plan(ids, train), 0, 12, learner.initial_state(range(64)))
    assert len(np.unique(metrics.loss.round(12))) == 12


@pytest.mark.parametrize("records", [True, False])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("cell", ["elman", "lstm", "gru", "mingru"])
@pytest.mark.parametrize("block", ["plain", "residual"])
def test_updates_do_not_wait_for_the_device(cell, block, precision, records):
    config = replace(
        DROPS,
        cell=cell,
        block=block,
        dropout_branch=0.3 * (block == "residual"),
        dropout_recurrent=0.3 * (cell != "mingru"),
    )
    train = train_config(
        precision=precision, optimizer="muon", average_decay=0.9, batch_size=64, bptt_length=64, clip_norm=1.0
    )
    learner = learner_on("cuda", config, train)
    plan = Plan(random_text(np.random.default_rng(2), 20_000), train)
    if not records:
        learner.on_gpu.recorder = None
    state, _ = learner.advance(plan, 0, 5, learner.initial_state(range(64)))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(5, 8):
            state, _, _ = learner.on_gpu.update(plan, step, state)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@every_stack
def test_bfloat16_trains_every_cell_close_to_float32(config):
    config = replace(config, hidden_size=64)
    found = {}
    for precision in ("float32", "bfloat16"):
        train = train_config(precision=precision, learning_rate=1e-3, state_reset_probability=0.3)
        learner, state, found[precision] = advanced("cuda", config, train)
        assert all(p.dtype == torch.float32 for p in learner.params.values())
        assert all(x.dtype == torch.float32 for layer in state for x in layer.values())
    np.testing.assert_allclose(found["bfloat16"].loss, found["float32"].loss, rtol=0.02)


def test_a_diverged_range_of_steps_is_undone_and_names_its_step():
    train = train_config(learning_rate=2**-7)
    learner = learner_on("cuda", SHORT_CASES["lstm-residual-2"], train)
    plan = Plan(random_text(np.random.default_rng(2)), train)
    state, _ = learner.advance(plan, 0, 6, learner.initial_state(range(3)))
    with torch.no_grad():
        learner.params["out.bias"][0] = float("nan")
    before = group(learner)
    with pytest.raises(DivergedError, match="step 6"):
        learner.advance(plan, 6, 4, state)
    for name, x in group(learner).items():
        np.testing.assert_array_equal(x, before[name], err_msg=name)


def test_a_checkpoint_resumes_on_the_gpu_and_on_the_cpu():
    config, train = SHORT_CASES["gru-residual-2"], train_config(learning_rate=2**-7, average_decay=0.9)
    plan = Plan(random_text(np.random.default_rng(2)), train)
    learner = learner_on("cuda", config, train)
    state, _ = learner.advance(plan, 0, 6, learner.initial_state(range(3)))
    saved, saved_state = learner.tensors(), learner.export_state(state)
    end, metrics = learner.advance(plan, 6, 6, state)
    expected, last = learner.tensors(), learner.export_state(end)
    for other in (learner, learner_on("cuda", config, train), learner_on("cpu", config, train)):
        other.load_tensors(saved)
        end, again = other.advance(plan, 6, 6, other.import_state(saved_state))
        np.testing.assert_allclose(again.loss, metrics.loss, **RATE32)
        assert_states_equal(other.export_state(end), last, **RATE32)
        for name, x in other.tensors().items():
            np.testing.assert_allclose(x, expected[name], **RATE32, err_msg=name)
