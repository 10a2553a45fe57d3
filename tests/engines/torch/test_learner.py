"""The torch learner only: detached states, masks as tensors, memory layouts for fused optimisers, bfloat16."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from charloom.config import ModelConfig
from charloom.engines import draws
from charloom.engines.torch import network, precision
from charloom.engines.torch.dropout import Dropout
from charloom.engines.torch.gpu_updates import GpuUpdates
from charloom.errors import DivergedError
from charloom.parameters import initial_parameters
from charloom.text.batching import Plan

from ..cases import SHORT_CASES, V, random_state
from ..learners import (
    CARRY,
    SMALL,
    assert_states_equal,
    learner_of,
    make,
    one_pass,
    random_text,
    random_window,
    train_config,
    update,
)

RATE32 = 1e-6
"""A learning rate in float32 has a relative error of up to 6e-8, which adds up over six updates."""

every_stack = pytest.mark.parametrize("config", SHORT_CASES.values(), ids=SHORT_CASES.keys())


@every_stack
def test_the_state_after_a_window_requires_no_gradient(config, rng):
    learner, _ = make("torch", config, rng)
    after = one_pass(learner, random_window(rng)).after
    assert not any(x.requires_grad for layer in after for x in layer.values())


@pytest.mark.parametrize("name", [name for name in SHORT_CASES if "residual" in name])
def test_no_gradient_crosses_a_window_of_residual_blocks(name, rng):
    learner, _ = make("torch", SHORT_CASES[name], rng)
    first, second = random_window(rng), random_window(rng)
    carried = one_pass(learner, first).after
    through = one_pass(learner, second, state=carried).gradients
    constant = [{k: torch.tensor(x.numpy()) for k, x in layer.items()} for layer in carried]
    cut = one_pass(learner, second, state=constant).gradients
    for key, gradient in through.items():
        np.testing.assert_array_equal(gradient, cut[key], err_msg=key)


@pytest.mark.parametrize("name", [name for name in SHORT_CASES if "residual" in name])
def test_residual_blocks_carry_their_state_from_window_to_window(name, rng):
    learner, settings = make(
        "torch", SHORT_CASES[name], rng, learning_rate=1e-300
    )  # so small that nothing moves
    plan = Plan(random_text(rng), settings)
    state, metrics = learner.advance(plan, 0, 4, learner.initial_state(range(3)))
    model = learner.model()
    after, means = model.initial_state(3), []
    for step in range(4):
        nats, after = model.losses(plan.window(step, range(3)), after)
        means.append(nats.mean())
    np.testing.assert_allclose(metrics.loss, means, rtol=CARRY)
    for mine, theirs in zip(learner.export_state(state), model.export_state(after), strict=True):
        for key in mine:
            np.testing.assert_allclose(mine[key], theirs[key], rtol=0, atol=CARRY)


@pytest.mark.parametrize(("site", "width"), [("char", 1), ("input", 5), ("layer", 5), ("output", 5)])
def test_dropout_applies_the_mask_drawn_for_its_site_and_lanes(site, width):
    config = ModelConfig(embedding_size=5, **{f"dropout_{site}": 0.3})
    address = (config, 1, 2, range(4))
    dropped = Dropout(*address)(site, 1, torch.ones(6, 4, 5, dtype=torch.float64)).transpose(0, 1)
    masks = draws.Masks(*address)
    kept = masks.kept(site, 1, 6, 5)
    assert kept.shape == (4, 6, width)
    np.testing.assert_allclose(dropped, np.broadcast_to(kept, (4, 6, 5)) * masks.scale(site), rtol=1e-15)


@every_stack
def test_gradients_have_the_memory_layout_of_their_parameters(config, rng):
    """A fused optimiser traverses memory in order: a gradient in another layout would update the wrong elements."""
    learner, _ = make("torch", config, rng)
    window = random_window(rng)
    window.resets[1, 2] = True
    update(learner, window)
    for name, p in learner.params.items():
        assert p.grad.stride() == p.stride(), name


def trained_in(arithmetic, config):
    """(Tensors, metrics) after three updates with resets, of a network so wide that a library rounds its products."""
    config = replace(config, hidden_size=64)
    train = train_config(precision=arithmetic, state_reset_probability=0.3, learning_rate=1e-3)
    learner = learner_of("torch", initial_parameters(config, V, 0), config, train)
    plan = Plan(random_text(np.random.default_rng(2)), train, boundary_id=2)
    state, metrics = learner.advance(plan, 0, 3, learner.initial_state(range(3)))
    assert all(p.dtype == torch.float32 for p in learner.params.values())
    assert all(x.dtype == torch.float32 for layer in state for x in layer.values())
    return learner.tensors(), metrics


@every_stack
def test_gpu_autocast_trains_every_cell_with_float32_weights(config, monkeypatch):
    if config.cell == "lstm" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("on this CPU, the library's LSTM in bfloat16 does not support every width")
    _, exact = trained_in("float32", config)
    cast = lambda device, *, wanted: torch.autocast(device.type, torch.bfloat16, enabled=wanted)  # noqa: E731
    monkeypatch.setattr(precision, "autocast", cast)
    _, rounded = trained_in("bfloat16", config)
    assert (rounded.loss != exact.loss).any()
    np.testing.assert_allclose(rounded.loss, exact.loss, rtol=0.01)


@every_stack
def test_bfloat16_equals_float32_where_it_is_not_faster(config, monkeypatch):
    monkeypatch.setattr(precision, "fast_way", lambda: 0)
    expected, _ = trained_in("float32", config)
    found, _ = trained_in("bfloat16", config)
    for name, x in expected.items():
        np.testing.assert_array_equal(found[name], x, err_msg=name)


@every_stack
def test_bfloat16_rounds_only_products(config, monkeypatch):
    way = precision.fast_way() or precision.IN_C
    monkeypatch.setattr(precision, "fast_way", lambda: way)
    _, exact = trained_in("float32", config)
    _, rounded = trained_in("bfloat16", config)
    assert (rounded.loss != exact.loss).any()
    np.testing.assert_allclose(rounded.loss, exact.loss, rtol=0.01)


def test_products_are_rounded_only_during_updates(rng, monkeypatch):
    monkeypatch.setattr(precision, "fast_way", lambda: precision.IN_C)
    seen = []
    learner, train = make("torch", SMALL, rng, precision="bfloat16")
    monkeypatch.setattr(learner, "gradients", lambda *_, **__: seen.append(precision.rounding()) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        learner.advance(Plan(random_text(rng), train), 0, 1, learner.initial_state(range(3)))
    assert seen == [precision.IN_C]
    assert not precision.rounding()


def test_the_evaluated_network_is_the_trained_one(rng):
    learner, _ = make("torch", SMALL, rng)
    window = random_window(rng)
    begin = random_state([{"h": (6,)}], 3, rng)
    logits, _ = network.forward(
        SMALL, learner.params, torch.tensor(window.inputs), learner.import_state(begin)
    )
    model = learner.model()
    ours, _ = model.forward(window.inputs, model.import_state(begin))
    np.testing.assert_allclose(ours, logits.detach().numpy(), rtol=0, atol=CARRY)


@pytest.mark.parametrize(
    "settings", [{}, {"optimizer": "muon", "average_decay": 0.9}, {"batching": "random"}], ids=str
)
def test_reading_losses_only_after_a_range_of_steps_trains_the_same(settings, rng):
    """As on a GPU, where nothing is read from the device during a step."""
    found = []
    for checks_each_step in (True, False):
        learner, train = make(
            "torch", SMALL, np.random.default_rng(1), learning_rate=0.01, clip_norm=0.1, **settings
        )
        learner.on_gpu = None if checks_each_step else GpuUpdates(learner)
        plan = Plan(random_text(np.random.default_rng(2)), train)
        _, metrics = learner.advance(plan, 0, 4, learner.initial_state(range(3)))
        found.append((learner.tensors(), metrics))
    (expected, theirs), (tensors, mine) = found
    np.testing.assert_allclose(mine.loss, theirs.loss, rtol=CARRY)
    np.testing.assert_allclose(mine.grad_norm, theirs.grad_norm, rtol=CARRY)
    for name, x in tensors.items():
        np.testing.assert_allclose(x, expected[name], rtol=CARRY, atol=CARRY, err_msg=name)


@pytest.mark.parametrize(
    "settings",
    [{}, {"optimizer": "muon", "average_decay": 0.9}, {"objective": "last", "batching": "random"}],
    ids=str,
)
def test_the_recorded_update_equals_the_ordinary_update(settings, monkeypatch):
    """It runs unrecorded here: its rates are float32 tensors on the device, and nothing else changes between steps."""
    found = []
    for recorded in (False, True):
        learner, train = make(
            "torch", SMALL, np.random.default_rng(1), learning_rate=0.01, clip_norm=0.1, **settings
        )
        if recorded:
            learner.on_gpu = GpuUpdates(learner)
            learner.on_gpu.recorder = Unrecorded()
        plan = Plan(random_text(np.random.default_rng(2)), train, boundary_id=2)
        state, metrics = learner.advance(plan, 0, 6, learner.initial_state(range(3)), observe=True)
        norms = [one.grad_norm for one in metrics.last_update.values()]
        found.append((learner.tensors(), metrics, learner.export_state(state), norms))
    (expected, theirs, other_state, norms), (tensors, mine, state, own_norms) = found
    np.testing.assert_allclose(mine.loss, theirs.loss, rtol=RATE32)
    np.testing.assert_allclose(mine.grad_norm, theirs.grad_norm, rtol=RATE32)
    np.testing.assert_array_equal(mine.chars, theirs.chars)
    np.testing.assert_allclose(own_norms, norms, rtol=RATE32)
    assert np.linalg.norm(norms) == pytest.approx(theirs.grad_norm[-1])
    assert_states_equal(state, other_state, rtol=RATE32, atol=RATE32)
    for name, x in tensors.items():
        np.testing.assert_allclose(x, expected[name], rtol=RATE32, atol=RATE32, err_msg=name)


class Unrecorded:
    """A recorder that records nothing."""

    def forget(self):
        """Nothing to forget."""

    def __call__(self, update, batch, state, rates):
        return update(batch, state, rates)


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd"])
@pytest.mark.parametrize("bad", [0, 2])
def test_a_diverged_range_of_steps_is_undone_to_the_step_before(optimizer, bad, rng, monkeypatch):
    learner, train = make("torch", SMALL, rng, optimizer=optimizer, learning_rate=0.01, average_decay=0.9)
    learner.on_gpu = GpuUpdates(learner)
    plan, begin = Plan(random_text(rng), train), learner.initial_state(range(3))
    gradients = learner.gradients

    def poisoned(step, window, state, share):
        total, count, named, after = gradients(step, window, state, share)
        if step == bad:
            named["out.bias"] = named["out.bias"] * float("nan")
        return total, count, named, after

    start = {name: x.copy() for name, x in learner.tensors().items()}
    learner.advance(plan, 0, bad, begin)
    expected = {name: x.copy() for name, x in learner.tensors().items()}
    learner.load_tensors(start)
    monkeypatch.setattr(learner, "gradients", poisoned)
    with pytest.raises(DivergedError, match=rf"step {bad}: the gradient of out\.bias is not finite"):
        learner.advance(plan, 0, 4, begin)
    assert learner.tensors().keys() == expected.keys()
    for name, x in learner.tensors().items():
        np.testing.assert_array_equal(x, expected[name], err_msg=name)
