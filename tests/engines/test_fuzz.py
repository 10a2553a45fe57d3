"""The compiled kernels against NumPy's, for shapes and lengths that nobody chose: all engines compute one function."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charloom.config import ModelConfig
from charloom.engines import load_engine
from charloom.kernels.library import library
from charloom.parameters import state_shapes
from charloom.text.batching import Window

from .cases import CELLS, random_ids, random_parameters, random_state

pytestmark = pytest.mark.skipif(library() is None, reason="CHARLOOM_CPU=none leaves the kernels out")

ROUNDING = 1e-9
"""Sums in another order in float64, over at most forty time steps."""


@st.composite
def networks(draw):
    """A network of any cell and block, with sizes that fill no vector, one vector or several."""
    size = st.integers(1, 40)
    residual = draw(st.booleans())
    others = {"block": "residual", "conv_width": draw(st.integers(1, 5))} if residual else {}
    if not residual and draw(st.booleans()):
        others["embedding_size"] = draw(size)
    cell = CELLS[draw(st.sampled_from(sorted(CELLS)))]
    return ModelConfig(hidden_size=draw(size), num_layers=draw(st.integers(1, 3)), **cell, **others)


@st.composite
def windows(draw):
    """(Network, vocabulary, batch size, length, seed)."""
    return draw(networks()), draw(st.integers(1, 40)), draw(st.integers(1, 9)), draw(st.integers(1, 40)), 7


def close(found, expected):
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING * scale)


@settings(max_examples=60)
@given(windows())
def test_the_fused_engine_computes_what_numpy_does(case):
    config, V, B, T, seed = case
    rng = np.random.default_rng(seed)
    params, ids = random_parameters(config, rng, V, scale=0.3), random_ids(rng, B, T + 1, V)
    resets = rng.random((B, T)) < 0.2
    window = Window(ids[:, :-1], ids[:, 1:], resets)
    results = []
    for engine in ("scratch", "fused"):
        model = load_engine(engine).model(params, config, precision="float64")
        logits, after = model.forward(window.inputs, model.initial_state(B), resets)
        nats, _ = model.losses(window, model.initial_state(B))
        results.append([logits, nats, *(leaf for layer in after for leaf in layer.values())])
    for expected, found in zip(*results, strict=True):
        close(found, expected)


@settings(max_examples=40)
@given(windows())
def test_gradients_through_the_kernels_are_those_of_torchs_own_forms(case):
    torch = pytest.importorskip("torch")
    from charloom.engines.torch import network
    from charloom.engines.torch.batch import resets_on
    from charloom.engines.torch.cpu import ops

    config, V, B, T, seed = case
    rng = np.random.default_rng(seed)
    params, ids = random_parameters(config, rng, V, scale=0.3), torch.tensor(random_ids(rng, B, T, V))
    resets = resets_on(torch.device("cpu"), rng.random((B, T)) < 0.2)
    start, reset_state = (
        [{key: torch.tensor(x) for key, x in layer.items()} for layer in random_state(shapes, B, rng)]
        for shapes in [state_shapes(config)] * 2
    )
    direction = torch.tensor(rng.normal(size=(B, T, V)))
    results = []
    for compiled in (library(), None):
        tensors = {name: torch.tensor(p).requires_grad_() for name, p in params.items()}
        with mock.patch.object(ops, "library", lambda found=compiled: found):
            logits, _ = network.forward(config, tensors, ids, start, resets=resets, reset_state=reset_state)
            (direction * logits).sum().backward()
        results.append([logits.detach().numpy(), *(p.grad.numpy() for p in tensors.values())])
    for found, expected in zip(*results, strict=True):
        close(found, expected)
