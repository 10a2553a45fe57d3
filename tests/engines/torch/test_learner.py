"""What the torch learner alone has: a graph that is cut, masks as tensors, memory that fused optimisers walk, bfloat16."""

import numpy as np
import pytest
import torch

from charloom.config import ModelConfig
from charloom.engines import draws
from charloom.engines.torch import network
from charloom.engines.torch.learner import _Masks
from charloom.text.windows import Plan

from ..cases import SHORT_CASES, random_state
from ..learners import CARRY, SMALL, make, one_pass, random_text, random_window

every_stack = pytest.mark.parametrize("config", SHORT_CASES.values(), ids=SHORT_CASES.keys())


@every_stack
def test_the_state_behind_a_window_needs_no_gradient(config, rng):
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
def test_a_mask_multiplies_by_what_was_drawn_for_its_address(site, width):
    config = ModelConfig(embedding_size=5, **{f"dropout_{site}": 0.3})
    address = (config, 1, 2, range(4))
    dropped = _Masks(*address)(site, 1, torch.ones(4, 6, 5, dtype=torch.float64))
    masks = draws.Masks(*address)
    kept = masks.kept(site, 1, 6, 5)
    assert kept.shape == (4, 6, width)
    np.testing.assert_allclose(dropped, np.broadcast_to(kept, (4, 6, 5)) * masks.scale(site), rtol=1e-15)


@every_stack
def test_gradients_lie_in_memory_as_their_parameters_do(config, rng):
    """A fused optimiser walks through memory: beside a gradient in another layout it moves the wrong elements."""
    learner, _ = make("torch", config, rng)
    window = random_window(rng)
    window.resets[1, 2] = True
    learner._update(0, window, learner.initial_state(range(3)))
    for name, p in learner.params.items():
        assert p.grad.stride() == p.stride(), name


@every_stack
def test_bfloat16_trains_every_cell_with_float32_weights(config, rng):
    learner, settings = make("torch", config, rng, precision="bfloat16", state_reset_probability=0.3)
    boundary = Plan(random_text(rng), settings, boundary_id=2)
    state, metrics = learner.advance(boundary, 0, 3, learner.initial_state(range(3)))
    assert np.isfinite(metrics.loss).all()
    assert all(p.dtype == torch.float32 for p in learner.params.values())
    assert all(x.dtype == torch.float32 for layer in state for x in layer.values())


def test_evaluation_network_is_the_trained_one(rng):
    learner, _ = make("torch", SMALL, rng)
    window = random_window(rng)
    begin = random_state([{"h": (6,)}], 3, rng)
    logits, _ = network.forward(
        SMALL, learner.params, torch.tensor(window.inputs), learner.import_state(begin)
    )
    model = learner.model()
    ours, _ = model.forward(window.inputs, model.import_state(begin))
    np.testing.assert_allclose(ours, logits.detach().numpy(), rtol=0, atol=CARRY)
