"""Inputs of a cell: ids are equivalent to one-hot vectors, and the rows of each id are summed."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charloom.engines.scratch import inputs

ROUNDING = {"rtol": 1e-13, "atol": 1e-14}  # a dense product adds the same terms, plus zeros, in another order
ids_of_any_vocabulary = st.integers(1, 2 * inputs.DENSE_UP_TO).flatmap(
    lambda V: st.tuples(st.just(V), st.lists(st.integers(0, V - 1), min_size=1, max_size=60))
)


@given(ids_of_any_vocabulary, st.integers(1, 4), st.sampled_from(["float32", "float64"]))
@example((inputs.DENSE_UP_TO, [0, inputs.DENSE_UP_TO - 1, 0]), 2, "float64")
@example((inputs.DENSE_UP_TO + 1, [inputs.DENSE_UP_TO, 0, inputs.DENSE_UP_TO]), 2, "float64")
@example((2 * inputs.DENSE_UP_TO, [3, 3, 3, 3]), 1, "float32")
def test_row_sums_add_up_the_rows_of_each_id(drawn, width, dtype):
    V, ids = drawn
    # integers, so that sums are exact
    rows = (np.arange(len(ids) * width).reshape(-1, width) % 11 - 5).astype(dtype)
    expected = np.zeros((V, width), dtype)
    np.add.at(expected, ids, rows)
    sums = inputs.row_sums(rows, np.array(ids), V)
    np.testing.assert_array_equal(sums, expected)
    assert sums.dtype == dtype


def test_both_methods_of_summing_rows_agree(rng, monkeypatch):
    rows, ids = rng.normal(size=(50, 3)), rng.integers(0, 9, size=50)
    dense = inputs.row_sums(rows, ids, 9)
    monkeypatch.setattr(inputs, "DENSE_UP_TO", 0)
    np.testing.assert_allclose(inputs.row_sums(rows, ids, 9), dense, **ROUNDING)


def test_a_look_up_is_the_product_with_one_hot_vectors(rng):
    w, bias, ids = rng.normal(size=(6, 9)), rng.normal(size=6), rng.integers(0, 9, size=(4, 3))
    looked_up = inputs.project(w, bias, ids)
    assert looked_up.shape == (4, 3, 6)
    np.testing.assert_allclose(looked_up, inputs.project(w, bias, np.eye(9)[ids]), **ROUNDING)
    np.testing.assert_allclose(looked_up[2, 1], w[:, ids[2, 1]] + bias, **ROUNDING)


@pytest.mark.parametrize("limit", [0, inputs.DENSE_UP_TO], ids=["sorted", "dense"])
def test_the_gradient_of_a_look_up_is_that_of_the_product(limit, rng, monkeypatch):
    d_a, ids = rng.normal(size=(4, 3, 6)), rng.integers(0, 9, size=(4, 3))
    product = inputs.weight_gradient(d_a, np.eye(9)[ids], 9)
    monkeypatch.setattr(inputs, "DENSE_UP_TO", limit)
    np.testing.assert_allclose(inputs.weight_gradient(d_a, ids, 9), product, **ROUNDING)
    np.testing.assert_allclose(product, np.einsum("tbg,tbx->gx", d_a, np.eye(9)[ids]), **ROUNDING)


def test_vectors_are_projected_one_by_one(rng):
    w, bias, x = rng.normal(size=(6, 5)), rng.normal(size=6), rng.normal(size=(4, 3, 5))
    a = inputs.project(w, bias, x)
    for t, b in np.ndindex(4, 3):
        np.testing.assert_allclose(a[t, b], w @ x[t, b] + bias, **ROUNDING)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_integer_arrays_are_ids(dtype):
    assert inputs.is_ids(np.zeros(3, dtype))
    assert not inputs.is_ids(np.zeros(3, "float32"))


def test_time_and_batch_become_one_axis_in_that_order():
    x = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(inputs.flatten_time(x)[4], x[1, 1])
