"""The gradient of the whole network against its definition: every plain case, tied, with dropout, resets and last_only."""

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.engines import draws
from charloom.engines.scratch import loss, network
from charloom.parameters import parameter_shapes, state_shapes

from ..cases import PLAIN_CASES, V, random_ids, random_parameters, random_resets, random_state
from .derivative import assert_is_derivative, shifted

T, B = 5, 3
SMOOTH = ("tanh-", "sigmoid-", "lstm", "gru-")
"""relu and minGRU have corners, and with this many units a difference would cross one; a complex step does not."""

SITES = {"dropout_char": 0.3, "dropout_input": 0.3, "dropout_layer": 0.4, "dropout_output": 0.5}
VARIANTS = ("resets", "last_only", "dropout", "tied")


def moved_arrays(config):
    """Every parameter, and the state before the first character, by name."""
    shapes = parameter_shapes(config, V)
    return [*shapes, *(f"state.{i}.{key}" for i, layer in enumerate(state_shapes(config)) for key in layer)]


def varied(config, variant):
    """The network of a case in one of the `VARIANTS`."""
    changes = {name: getattr(config, name) for name in ("cell", "activation", "hidden_size", "num_layers")}
    if variant == "tied":
        return ModelConfig(**changes, embedding_size=config.hidden_size, tie_embeddings=True)
    if variant == "dropout":
        one_hot = config.embedding_size is None
        rates = {n: r for n, r in SITES.items() if not (one_hot and n in ("dropout_char", "dropout_input"))}
        return ModelConfig(**changes, embedding_size=config.embedding_size, **rates)
    return config


class Case:
    """A network with a window, and the random loss <d_y, logits> + <d_last, state after it>."""

    def __init__(self, config, rng, variant=None):
        self.config = config
        self.begin = random_state(state_shapes(config), B, rng)
        self.arrays = random_parameters(config, rng) | {
            f"state.{i}.{key}": s for i, layer in enumerate(self.begin) for key, s in layer.items()
        }
        self.ids = random_ids(rng, B, T).T
        self.last_only = variant == "last_only"
        self.lanes = range(B) if variant == "dropout" else None
        self.resets = random_resets(rng, B, T).T if variant == "resets" else None
        self.reset_state = random_state(state_shapes(config), B, rng) if variant == "resets" else None
        self.d_y = rng.normal(size=(1 if self.last_only else T, B, V))
        self.d_last = random_state(state_shapes(config), B, rng)

    def forward(self, arrays, *, record=False):
        state = [{key: arrays[f"state.{i}.{key}"] for key in layer} for i, layer in enumerate(self.begin)]
        return network.forward(
            self.config,
            {name: x for name, x in arrays.items() if not name.startswith("state.")},
            self.ids,
            state,
            resets=self.resets,
            reset_state=self.reset_state,
            masks=None if self.lanes is None else draws.Masks(self.config, 1, 2, self.lanes),
            last_only=self.last_only,
            record=record,
        )

    def loss(self, arrays):
        logits, after, _ = self.forward(arrays)
        ends = zip(self.d_last, after, strict=True)
        return (self.d_y * logits).sum() + sum((d[key] * s[key]).sum() for d, s in ends for key in d)

    def gradients(self):
        _, _, tape = self.forward(self.arrays, record=True)
        gradients, d_begin = network.backward(self.config, self.arrays, tape, self.d_y, self.d_last)
        return gradients | {
            f"state.{i}.{key}": d for i, layer in enumerate(d_begin) for key, d in layer.items()
        }


def assert_gradient(case, moved, rng, *, smooth):
    direction = rng.normal(size=case.arrays[moved].shape)
    analytic = (case.gradients()[moved] * direction).sum()
    assert_is_derivative(
        analytic, lambda eps: case.loss(shifted(case.arrays, moved, eps * direction)), smooth=smooth
    )


@pytest.mark.parametrize(
    ("name", "moved"),
    [(name, moved) for name, config in PLAIN_CASES.items() for moved in moved_arrays(config)],
)
def test_backward_is_the_derivative_of_forward(name, moved, rng):
    smooth = any(kind in name for kind in SMOOTH)
    assert_gradient(Case(PLAIN_CASES[name], rng), moved, rng, smooth=smooth)


@pytest.mark.parametrize(
    ("variant", "name", "moved"),
    [
        (variant, name, moved)
        for variant in VARIANTS
        for name, config in PLAIN_CASES.items()
        if name.endswith("-2") and not (variant == "tied" and "one-hot" in name)
        for moved in moved_arrays(varied(config, variant))
    ],
)
def test_backward_is_the_derivative_of_every_variant(variant, name, moved, rng):
    assert_gradient(Case(varied(PLAIN_CASES[name], variant), rng, variant), moved, rng, smooth=False)


@pytest.mark.parametrize("name", PLAIN_CASES)
def test_every_array_has_a_gradient_of_its_shape(name, rng):
    case = Case(PLAIN_CASES[name], rng)
    gradients = case.gradients()
    assert {n: g.shape for n, g in gradients.items()} == {n: x.shape for n, x in case.arrays.items()}


def test_the_output_bias_has_its_gradient(rng):
    """A published character model adds this gradient to itself instead of to the sum, so it remains zero: `out.bias` never
    learns, and its first layer has to compensate."""
    case = Case(PLAIN_CASES["elman-tanh-plain-one-hot-1"], rng)
    logits, _, tape = case.forward(case.arrays, record=True)
    targets = random_ids(rng, B, T).T
    gradients, _ = network.backward(
        case.config, case.arrays, tape, loss.backward(loss.log_softmax(logits), targets)
    )
    p = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    expected = p.sum(axis=(0, 1)) - np.bincount(targets.ravel(), minlength=V)
    np.testing.assert_allclose(gradients["out.bias"], expected, rtol=1e-12)  # p − one-hot, over the window
    assert (gradients["out.bias"] != 0).all()


def test_the_gradient_after_the_window_defaults_to_zero(rng):
    case = Case(PLAIN_CASES["lstm-plain-one-hot-2"], rng)
    _, _, tape = case.forward(case.arrays, record=True)
    zeros = [{key: np.zeros_like(s) for key, s in layer.items()} for layer in case.begin]
    absent, d_absent = network.backward(case.config, case.arrays, tape, case.d_y)
    given, d_given = network.backward(case.config, case.arrays, tape, case.d_y, zeros)
    for name, gradient in given.items():
        np.testing.assert_array_equal(absent[name], gradient)
    for mine, theirs in zip(d_absent, d_given, strict=True):
        for key, d in theirs.items():
            np.testing.assert_array_equal(mine[key], d)


def test_last_only_returns_the_last_logits(rng):
    case = Case(PLAIN_CASES["gru-plain-embedding-2"], rng)
    whole, _, _ = case.forward(case.arrays)
    case.last_only = True
    last, _, _ = case.forward(case.arrays)
    np.testing.assert_allclose(last, whole[-1:], rtol=0, atol=1e-12)


def test_resets_return_to_the_given_state(rng):
    case = Case(PLAIN_CASES["lstm-plain-one-hot-2"], rng, "resets")
    case.resets = np.zeros((T, B), bool)
    case.resets[2] = True
    joined, _, _ = case.forward(case.arrays)
    alone, _, _ = network.forward(case.config, case.arrays, case.ids[2:], case.reset_state)
    np.testing.assert_allclose(joined[2:], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("site", SITES)
def test_each_dropout_site_multiplies_by_its_mask(site, rng):
    config = ModelConfig(hidden_size=4, num_layers=2, embedding_size=4, **{site: 0.5})
    case = Case(config, rng, "dropout")
    dropped, _, tape = case.forward(case.arrays, record=True)
    (scales,) = tape.scales.values()
    assert set(np.unique(scales)) == {0.0, 2.0}
    case.lanes = None
    assert (case.forward(case.arrays)[0] != dropped).any()


def test_gradients_keep_float32(rng):
    for config in PLAIN_CASES.values():
        case = Case(varied(config, "dropout"), rng, "dropout")
        case.arrays = {name: x.astype("f4") for name, x in case.arrays.items()}
        logits, after, tape = case.forward(case.arrays, record=True)
        gradients, d_begin = network.backward(case.config, case.arrays, tape, case.d_y.astype("f4"))
        arrays = [logits, *gradients.values(), *(x for layer in (*after, *d_begin) for x in layer.values())]
        assert {x.dtype for x in arrays} == {np.dtype("float32")}
