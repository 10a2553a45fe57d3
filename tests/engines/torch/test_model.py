"""A bound model: precision, states that cross the border, parameters as they were given."""

import numpy as np
import pytest
import torch

from charloom.engines.torch import ENGINE
from charloom.engines.torch.model import DTYPES
from charloom.parameters import state_shapes

from ..cases import SHORT_CASES, random_ids, random_parameters, random_state

every_stack = pytest.mark.parametrize("config", SHORT_CASES.values(), ids=SHORT_CASES.keys())


@every_stack
@pytest.mark.parametrize("precision", DTYPES)
def test_a_state_crosses_the_border_and_comes_back(config, precision, rng):
    model = ENGINE.model(random_parameters(config, rng), config, precision=precision)
    given = random_state(state_shapes(config), 3, rng)
    there = model.import_state(given)
    assert all(
        isinstance(x, torch.Tensor) and x.dtype == model.dtype for layer in there for x in layer.values()
    )
    for layer, back in zip(given, model.export_state(there), strict=True):
        assert layer.keys() == back.keys()
        for key, x in layer.items():
            np.testing.assert_array_equal(back[key], x.astype(precision))


def test_an_exported_state_is_a_copy(rng):
    config = SHORT_CASES["lstm-plain-one-hot-2"]
    model = ENGINE.model(random_parameters(config, rng), config)
    state = model.initial_state(2)
    exported = model.export_state(state)
    exported[0]["h"][:] = 7
    assert not state[0]["h"].any()


@pytest.mark.parametrize("precision", DTYPES)
def test_parameters_come_back_as_given_and_as_copies(precision, rng):
    config = SHORT_CASES["gru-residual-2"]
    given = random_parameters(config, rng)
    model = ENGINE.model(given, config, precision=precision)
    back = model.parameters()
    for name, p in given.items():
        np.testing.assert_array_equal(back[name], p.astype(precision))
        back[name][:] = 0
    assert all(p.any() for p in model.parameters().values())


def test_a_bound_model_does_not_follow_the_arrays_it_was_made_of(rng):
    config = SHORT_CASES["gru-residual-2"]
    given = random_parameters(config, rng)
    model = ENGINE.model(given, config, precision="float64")
    ids = random_ids(rng, 1, 3)
    before, _ = model.forward(ids, model.initial_state(1))
    for p in given.values():
        p[:] = 0
    after, _ = model.forward(ids, model.initial_state(1))
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_ids_of_any_type_are_read(dtype, rng):
    config = SHORT_CASES["gru-plain-one-hot-2"]
    model = ENGINE.model(random_parameters(config, rng), config)
    ids = random_ids(rng, 2, 4)
    expected, _ = model.forward(ids, model.initial_state(2))
    found, _ = model.forward(ids.astype(dtype), model.initial_state(2))
    np.testing.assert_array_equal(found, expected)
