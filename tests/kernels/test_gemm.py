"""Matrix products at every processor level: sums that no split changes, and exact integers from int8."""

from ctypes import byref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charloom.config import ModelConfig
from charloom.engines.fused.packing import pack, quantise
from charloom.engines.fused.passes import new_thread_contexts, new_workspace
from charloom.kernels.library import declarations, library, pointer
from charloom.parameters import initial_parameters

LEVELS = library().levels if library() is not None else ()
FLAVOURS = ["float32", "portable", "float64"]
ROUNDING = {"float32": 1e-6, "portable": 1e-6, "float64": 1e-14}  # relative, of sums of products of order 1
every_level = pytest.mark.parametrize("level", LEVELS)
every_flavour = pytest.mark.parametrize("flavour", FLAVOURS)


class Product:
    """The compiled product with a matrix (M, N), at one level and flavour."""

    def __init__(self, matrix, level, flavour, *, int8=False):
        M, N = matrix.shape
        self.dtype = np.dtype(np.float64 if flavour == "float64" else np.float32)
        config = ModelConfig(cell="elman", hidden_size=N)  # W_out is (V, hidden_size)
        params = initial_parameters(config, M, 0) | {"out.weight": matrix}
        self.net = pack(params, config, dtype=self.dtype, int8=int8)
        self.function = library()._replace(level=level).function("add_product", flavour)

    def __call__(self, x, out, *, parts=1):
        """Add W x to `out`, by `parts` threads one after the other."""
        rows = len(x)
        work, x = new_workspace(self.net, rows), np.ascontiguousarray(x, self.dtype)
        padded = np.zeros((rows, self.net.max_output_size), self.dtype)
        padded[:, : out.shape[1]] = out
        matrix = declarations().structs["Matrix"].from_buffer_copy(self.net.ends[0]["out"].tobytes())
        for context in new_thread_contexts(self.net, rows, parts):
            arrays = (pointer(x), x.shape[1], rows, pointer(padded))
            self.function(byref(self.net.struct), byref(work), byref(context), byref(matrix), *arrays)
        return padded[:, : out.shape[1]]


@every_level
@every_flavour
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 17])
def test_a_product_is_added(rows, flavour, level, rng):
    W, x, out = rng.normal(size=(37, 29)), rng.normal(size=(rows, 29)), rng.normal(size=(rows, 37))
    product = Product(W, level, flavour)
    expected = out.astype(product.dtype) + x.astype(product.dtype) @ W.astype(product.dtype).T
    np.testing.assert_allclose(product(x, out), expected, rtol=0, atol=100 * ROUNDING[flavour])


@given(
    rows=st.integers(1, 20),
    M=st.integers(1, 90),
    N=st.integers(1, 40),
    parts=st.integers(1, 5),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_no_split_changes_a_bit(rows, M, N, parts, seed):
    rng = np.random.default_rng(seed)
    W, x, out = (rng.normal(size=size).astype(np.float32) for size in ((M, N), (rows, N), (rows, M)))
    product = Product(W, LEVELS[-1], "float32")
    whole = product(x, out)
    np.testing.assert_array_equal(product(x, out, parts=parts), whole)
    for r in range(rows):
        np.testing.assert_array_equal(product(x[r : r + 1], out[r : r + 1])[0], whole[r])


def test_portable_sums_are_the_same_at_every_level(rng):
    W, x, out = (rng.normal(size=size).astype(np.float32) for size in ((70, 61), (5, 61), (5, 70)))
    results = [Product(W, level, "portable")(x, out) for level in LEVELS]
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])
    in_order = out.copy()
    for k in range(61):  # each product and each sum rounded once, in the order of k
        in_order += W[:, k] * x[:, k : k + 1]
    np.testing.assert_array_equal(results[0], in_order)


@every_level
@every_flavour
def test_int8_sums_are_exact(flavour, level, rng):
    """Rows whose largest size is 127 have the scale 1, so the result is the sum of integers."""
    W, x = rng.integers(-127, 128, (35, 38)).astype(float), rng.integers(-127, 128, (3, 38)).astype(float)
    W[:, 0], x[:, 0] = 127, -127
    W[1], W[2], x[1] = 127, -127, 127  # would saturate an instruction that adds in 16 bits
    found = Product(W, level, flavour, int8=True)(x, np.zeros((3, 35)))
    np.testing.assert_array_equal(found, x @ W.T)


@every_level
def test_int8_rounds_each_row_of_inputs_with_its_own_scale(level, rng):
    W, x = rng.normal(size=(35, 38)), rng.normal(size=(3, 38)) * np.array([[1e-3], [1], [0]])
    whole, scales = quantise(W)
    inputs, input_scales = quantise(x.astype(np.float32))
    expected = (inputs.astype(float) @ whole.astype(float).T) * scales * input_scales[:, None]
    found = Product(W, level, "float32", int8=True)(x, np.zeros((3, 35)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-12)


def test_each_row_is_quantised_with_its_own_scale(rng):
    matrix = rng.normal(size=(5, 7))
    matrix[2] = 0
    whole, scales = quantise(matrix)
    assert whole.dtype == np.int8
    assert (np.abs(whole).max(axis=1) == [127, 127, 0, 127, 127]).all()
    assert (np.abs(whole * scales[:, None] - matrix) <= scales[:, None] / 2 + 1e-12).all()
