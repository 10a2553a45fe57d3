"""Products in tiles: rounding like torch's, the layout that the kernel reads, and sums in float32."""

import ctypes

import numpy as np
import pytest
import torch

from charloom.config import ModelConfig
from charloom.engines.torch import precision
from charloom.engines.torch.cpu import gemm, gemm_amx, libtorch, rnn
from charloom.kernels import jit
from charloom.kernels.jit import compiled
from charloom.parameters import parameter_shapes, state_shapes

from ...caches import assert_found_by_a_second_process

available = precision.has_tiles() and libtorch.functions(gemm_amx._SYMBOLS) is not None
needs_tiles = pytest.mark.skipif(
    not available, reason="this CPU has no tiles of bfloat16, or torch has no kernel for them"
)

SUM = 1e-5
"""Sums of a hundred terms of about 1 in float32."""


def bfloat16(x):
    """The bits of an array in bfloat16, rounded by torch."""
    return torch.from_numpy(np.ascontiguousarray(x)).bfloat16().view(torch.uint16).numpy()


def test_rounding_matches_torch(rng):
    edges = [
        0,
        1,
        0x7FFF,
        0x8000,
        0x8001,
        0x3F7FFFFF,
        0x3F808000,
        0x3F818000,
        0x3F808001,
        0x7F7FFFFF,
        0x7F800000,
    ]
    bits = np.array([*edges, *rng.integers(0, 0x7F800000, 2000)], np.uint32)
    bits = np.concatenate([bits, bits | np.uint32(0x80000000)])
    np.testing.assert_array_equal(
        np.array([gemm_amx.rounded(b) for b in bits], np.uint16), bfloat16(bits.view(np.float32))
    )


@pytest.mark.parametrize("bits", [0x7F800001, 0x7FC00000, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF], ids=hex)
def test_nan_stays_nan(bits):
    found = np.uint32(gemm_amx.rounded(np.uint32(bits))) << np.uint32(16)
    assert np.isnan(found.view(np.float32))


@pytest.mark.parametrize("shape", [(1, 1), (2, 64), (5, 65), (7, 130)], ids=str)
@pytest.mark.parametrize("transposed", [False, True])
def test_panels_interleave_pairs_of_rows(shape, transposed, rng):
    w = rng.normal(size=shape).astype(np.float32)
    found = gemm_amx.panels(np.ascontiguousarray(w.T) if transposed else w, transposed=transposed)
    K, N = shape
    expected = np.zeros((-(-N // 64), -(-K // 2), 64, 2), np.uint16)
    for k in range(K):
        for n in range(N):
            expected[n // 64, k // 2, n % 64, k % 2] = bfloat16(w)[k, n]
    np.testing.assert_array_equal(found, expected)


@compiled
def multiplied(a, b, out, adds):
    gemm.matmul(a, b, out, adds)


@needs_tiles
@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 3, 7), (33, 17, 65), (32, 96, 128), (40, 70, 200)], ids=str)
def test_a_product_is_that_of_the_rounded_factors(shape, transposed, adds, rng):
    M, K, N = shape
    a = rng.normal(size=(M, K)).astype(np.float32)
    w = torch.tensor(rng.normal(size=(N, K) if transposed else (K, N)), dtype=torch.float32)
    padded = np.full((M, N + 3), 2, np.float32)
    with precision.tiles(torch.device("cpu"), wanted=True):
        assert gemm.are_compiled(torch.float32)
        multiplied(a, gemm.laid_out(w, transposed=transposed), padded[:, :N], adds)
    right = w.bfloat16().double().numpy()
    expected = torch.from_numpy(a).bfloat16().double().numpy() @ (right.T if transposed else right) + 2 * adds
    np.testing.assert_allclose(padded[:, :N], expected, rtol=SUM, atol=SUM)
    assert (padded[:, N:] == 2).all()


@needs_tiles
def test_torch_products_still_work_after_a_kernel_call(rng):
    # a kernel configures the tiles of its thread; without a release, the next kernel fails
    a, w = rng.normal(size=(64, 256)).astype(np.float32), torch.randn(256, 512)
    left, out = torch.from_numpy(a), np.empty((64, 512), np.float32)
    with precision.tiles(torch.device("cpu"), wanted=True):
        expected = left @ w
        for _ in range(3):
            multiplied(a, gemm.laid_out(w), out, False)
            torch.testing.assert_close(torch.from_numpy(out), expected, rtol=SUM, atol=SUM)
            torch.testing.assert_close(left @ w, expected, rtol=0, atol=0)


@needs_tiles
def test_float64_is_never_rounded():
    with precision.tiles(torch.device("cpu"), wanted=True):
        assert not gemm.are_compiled(torch.float64)
        assert gemm.laid_out(torch.ones(3, 2, dtype=torch.float64)).dtype == np.float64


@pytest.mark.parametrize(
    "missing", ["numba", "tiles", "function", "permission", "right result"], ids="no {}".format
)
def test_without_its_kernel_the_loop_runs_in_python(missing, monkeypatch):
    known = []
    could_pack = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_int8)(
        lambda kind: kind == 15 and missing != "permission"
    )
    found = None if missing == "function" else {"charloom_could_pack": could_pack}
    monkeypatch.setattr(jit, "HAS_NUMBA", missing != "numba")
    monkeypatch.setattr(precision, "has_tiles", lambda: missing != "tiles")
    monkeypatch.setattr(libtorch, "functions", lambda _: found)
    monkeypatch.setattr(libtorch, "make_known", known.append)
    monkeypatch.setattr(gemm_amx, "_multiplies", lambda: missing != "right result")
    assert not gemm_amx.are_there.__wrapped__()
    assert bool(known) == (missing == "right result")  # a kernel that oneDNN would refuse is never called


PREFIX = "layers.0.cell."

FLIPPED = 2.0**-10
"""As a fraction of a gradient's norm: sums in another order round a few factors differently, each by 2⁻⁸."""


@needs_tiles
@pytest.mark.parametrize("has_resets", [False, True], ids=["carried", "resets"])
@pytest.mark.parametrize("cell", ["elman", "lstm", "gru"])
def test_the_compiled_loop_in_tiles_matches_python(cell, has_resets, rng, monkeypatch):
    T, B, H = 12, 16, 40  # large enough that torch rounds too
    config = ModelConfig(cell=cell, hidden_size=H)
    shapes = {
        n.removeprefix(PREFIX): s for n, s in parameter_shapes(config, 9).items() if n.startswith(PREFIX)
    }
    draw = lambda *shape: torch.tensor(rng.normal(size=shape), dtype=torch.float32) / np.sqrt(H)  # noqa: E731
    params = {name: draw(*shape).requires_grad_() for name, shape in shapes.items()}
    state, reset_state = [{key: draw(B, *s) for key, s in state_shapes(config)[0].items()} for _ in range(2)]
    ids, resets = torch.tensor(rng.integers(0, 9, (T, B))), torch.tensor(rng.random((T, B)) < 0.2)
    direction = draw(T, B, H)

    def run(*, in_tiles):
        with precision.tiles(torch.device("cpu"), wanted=in_tiles):
            outputs, _ = rnn.unroll(config, params, ids, state, resets if has_resets else None, reset_state)
            return [
                outputs.detach(),
                *torch.autograd.grad((direction * outputs).sum(), list(params.values())),
            ]

    exact, found = run(in_tiles=False), run(in_tiles=True)
    monkeypatch.setattr(gemm, "are_compiled", lambda _: False)
    for mine, theirs, unrounded in zip(found, run(in_tiles=True), exact, strict=True):
        assert (mine - theirs).norm() < FLIPPED * theirs.norm()
        assert not torch.equal(mine, unrounded)


SCRIPT = """
import torch
from charloom.config import ModelConfig
from charloom.engines.torch import precision
from charloom.engines.torch.cpu import rnn, rnn_window
from charloom.parameters import parameter_shapes
names = {n.rpartition(".")[2]: s for n, s in parameter_shapes(ModelConfig(cell="gru", hidden_size=5), 7).items() if ".cell." in n}
params, state = {n: torch.zeros(s, requires_grad=True) for n, s in names.items()}, {"h": torch.zeros(2, 5)}
with precision.tiles(torch.device("cpu"), wanted=True):
    outputs, _ = rnn.unroll(ModelConfig(cell="gru", hidden_size=5), params, torch.zeros(3, 2, dtype=torch.int64), state, None, state)
    outputs.sum().backward()
loops = [rnn_window.gru_forward, rnn_window.gru_backward]
"""


@needs_tiles
def test_a_second_process_does_not_compile_the_loops_in_tiles_again(tmp_path):
    assert_found_by_a_second_process(SCRIPT, 2, tmp_path)
