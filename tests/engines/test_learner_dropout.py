"""Dropout has an effect at every configured site in training, and none in evaluation."""

import numpy as np
import pytest

from charloom.config import ModelConfig

from .learners import every_engine, make, one_pass, random_window

SITES = [
    ("char", "plain"),
    ("char", "residual"),
    ("input", "plain"),
    ("input", "residual"),
    ("layer", "plain"),
    ("branch", "residual"),
    ("output", "plain"),
    ("output", "residual"),
    ("recurrent", "plain"),
    ("recurrent", "residual"),
]


@pytest.mark.parametrize(
    ("engine", "site", "block"),
    [("torch", *place) for place in SITES] + [("scratch", *place) for place in SITES if place[1] == "plain"],
)
def test_every_configured_dropout_site_has_an_effect(engine, site, block, rng):
    config = ModelConfig(
        hidden_size=6, num_layers=2, block=block, embedding_size=6, **{f"dropout_{site}": 0.5}
    )
    learner, _ = make(engine, config, rng)
    window = random_window(rng)
    first, again, other = (one_pass(learner, window, step=step).total for step in (0, 0, 1))
    assert first == again
    assert first != other
    model = learner.model()
    nats = [model.losses(window, model.initial_state(3))[0] for _ in range(2)]
    np.testing.assert_array_equal(*nats)  # off in evaluation
    assert abs(nats[0].sum() - first) > 1e-3


@every_engine
def test_dropped_outputs_have_no_gradient(engine, rng):
    learner, _ = make(engine, ModelConfig(hidden_size=12, dropout_output=0.5), rng)
    window = random_window(rng, rows=1, length=1)
    gradient = one_pass(learner, window).gradients["out.weight"]
    dropped = ~gradient.any(axis=0)
    assert dropped.any()
    other = one_pass(learner, window, step=5).gradients["out.weight"]
    assert (~other.any(axis=0) != dropped).any()
