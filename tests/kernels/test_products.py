"""Products on a CPU: in floats, and of factors rounded to bfloat16, against NumPy."""

import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from charloom.kernels.library import library, pointer

ROUNDING = {"float32": 1e-5, "float64": 1e-13}
SUM = 1e-5
"""Sums of a hundred terms of about 1 in float32."""

NATIVE = Path(__file__).parents[2] / "src" / "charloom" / "kernels" / "native"
EMULATOR = Path(__file__).parent / "amx_emulator.c"


def bfloat16(x):
    """Bits of the nearest bfloat16, ties to even, computed in integers."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    halves = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return np.where((bits & 0x7FFFFFFF) > 0x7F800000, np.uint16(0x7FC0), halves)


def widened(halves):
    return (halves.astype(np.uint32) << 16).view(np.float32)


def laid_out(w, *, transposed=False):
    """Equation (2) of tiles.h, element by element."""
    w = w.T if transposed else w
    (K, N), halves = w.shape, bfloat16(w)
    out = np.zeros((-(-N // 32), -(-K // 32), 2, 16, 16, 2), np.uint16)
    for k in range(K):
        for n in range(N):
            out[n // 32, k // 32, n % 32 // 16, k % 32 // 2, n % 16, k % 2] = halves[k, n]
    return out


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (4, 1, 16), (7, 33, 65), (9, 16, 48)], ids=str)
def test_a_product_matches_numpy(shape, adds, dtype, rng):
    M, K, N = shape
    a, w = rng.normal(size=(M, K)).astype(dtype), np.full((K, N + 5), np.nan, dtype)
    w[:, :N] = rng.normal(size=(K, N))
    out = np.full((M, N), 2, dtype)
    expected = a @ w[:, :N] + 2 * adds
    multiply = library().function("multiply", dtype)
    multiply(pointer(a), pointer(w), N + 5, pointer(out), M, K, N, adds)
    np.testing.assert_allclose(out, expected, rtol=ROUNDING[dtype], atol=ROUNDING[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (16, 16), (33, 70)], ids=str)
def test_a_transpose_leaves_the_gaps_between_rows(shape, dtype, rng):
    R, C = shape
    x, out = rng.normal(size=shape).astype(dtype), np.full((C, R + 3), 2, dtype)
    library().function("transpose", dtype)(pointer(x), R, C, pointer(out), R + 3)
    np.testing.assert_array_equal(out[:, :R], x.T)
    assert (out[:, R:] == 2).all()


EDGES = [0, 1, 0x7FFF, 0x8000, 0x8001, 0x3F7FFFFF, 0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF, 0x7F800000]
NOT_NUMBERS = [0x7F800001, 0x7FC00000, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF]


def test_rounding_is_to_nearest_and_keeps_nan(rng):
    torch = pytest.importorskip("torch")
    bits = np.array([*EDGES, *rng.integers(0, 0x7F800000, 2000)], np.uint32)
    bits = np.concatenate([bits, bits | np.uint32(0x80000000), np.array(NOT_NUMBERS, np.uint32)])
    w, panels = bits.view(np.float32)[None], np.empty((-(-len(bits) // 32), 1, 2, 16, 16, 2), np.uint16)
    library().function("lay_out_tiles", "float32")(pointer(w), 1, len(bits), len(bits), 1, pointer(panels))
    found = panels[:, 0, :, 0, :, 0].reshape(-1)[: len(bits)]
    np.testing.assert_array_equal(found, bfloat16(w)[0])
    numbers = ~np.isnan(w[0])
    theirs = torch.from_numpy(w[0]).bfloat16().view(torch.uint16).numpy()
    np.testing.assert_array_equal(found[numbers], theirs[numbers])
    assert np.isnan(widened(found[~numbers])).all()


@pytest.mark.parametrize("shape", [(1, 1), (2, 64), (5, 65), (35, 50), (64, 48)], ids=str)
@pytest.mark.parametrize("transposed", [False, True])
def test_panels_interleave_pairs_of_rows(shape, transposed, rng):
    gemm = pytest.importorskip("charloom.engines.torch.cpu.gemm")
    w = rng.normal(size=shape).astype(np.float32)
    found = gemm.panels(np.ascontiguousarray(w.T) if transposed else w, transposed=transposed)
    np.testing.assert_array_equal(found, laid_out(w))


SHAPES = [
    (1, 1, 1),
    (5, 3, 7),
    (33, 17, 65),
    (32, 96, 128),
    (16, 64, 64),
    (40, 70, 200),
    (70, 33, 32),
    (47, 600, 50),
]

IN_C, IN_AMX, IN_DOTS = 1, 2, 3
"""`Window.tiles`."""

WAYS = {IN_C} | ({library().tiles()} - {0} if library() else set())
"""How this processor can multiply rounded factors."""


def multiplied_in_tiles(function, shape, adds, way, rng):
    """(What a function computes, the sum of the rounded factors in float64)."""
    M, K, N = shape
    a, w = rng.normal(size=(M, K)).astype(np.float32), rng.normal(size=(K, N)).astype(np.float32)
    padded, panels = np.full((M, N + 3), 2, np.float32), laid_out(w)
    left = np.full((-(-M // 16) * 16, -(-K // 32) * 32), 0x7FC0, np.uint16)  # NaN, to be overwritten
    function(pointer(a), pointer(panels), pointer(left), pointer(padded), M, K, N, N + 3, adds, way)
    assert (padded[:, N:] == 2).all()
    expected = widened(bfloat16(a)).astype(float) @ widened(bfloat16(w)).astype(float) + 2 * adds
    return padded[:, :N], expected


@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_product_in_tiles_is_that_of_the_rounded_factors(shape, adds, rng):
    multiply = library().function("multiply_in_tiles", "float32")
    for way in WAYS:
        found, expected = multiplied_in_tiles(multiply, shape, adds, way, rng)
        np.testing.assert_allclose(found, expected, rtol=SUM, atol=SUM * max(1, shape[1] / 100))


@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_left_factor_may_be_laid_out_by_columns(shape, adds, rng):
    M, K, N = shape
    a, w = rng.normal(size=(K, M)).astype(np.float32), rng.normal(size=(K, N)).astype(np.float32)
    expected = widened(bfloat16(a)).astype(float).T @ widened(bfloat16(w)).astype(float) + 2 * adds
    multiply, left, panels = (
        library().function("multiply_laid_out_tiles", "float32"),
        laid_out(a),
        laid_out(w),
    )
    for way in WAYS - {IN_AMX}:
        padded = np.full((M, N + 3), 2, np.float32)
        multiply(pointer(left), pointer(panels), pointer(padded), M, K, N, N + 3, adds, way)
        assert (padded[:, N:] == 2).all()
        np.testing.assert_allclose(padded[:, :N], expected, rtol=SUM, atol=SUM * max(1, shape[1] / 100))


def test_the_instruction_and_c_agree_about_what_is_not_a_number(rng):
    multiply = library().function("multiply_in_tiles", "float32")
    a, w = np.array([[np.inf, 1], [np.nan, 1], [2, 3]], np.float32), np.ones((2, 16), np.float32)
    panels = laid_out(w)
    for way in WAYS:
        out, left = np.zeros((3, 16), np.float32), np.empty((16, 32), np.uint16)
        multiply(pointer(a), pointer(panels), pointer(left), pointer(out), 3, 2, 16, 16, 0, way)
        assert np.isposinf(out[0]).all()
        assert np.isnan(out[1]).all()
        assert (out[2] == 5).all()


EMULATED = """
import ctypes, sys
import numpy as np
sys.path.insert(0, {tests!r})
from charloom.kernels.library import declarations
from test_products import IN_AMX, SHAPES, SUM, multiplied_in_tiles
handle = ctypes.CDLL({library!r})
handle.emulate_amx()
multiply = handle.multiply_in_tiles_f32_v3
_, multiply.argtypes = declarations().functions["multiply_in_tiles"]
multiply.restype = None
for shape in SHAPES:
    for adds in (False, True):
        found, expected = multiplied_in_tiles(multiply, shape, adds, IN_AMX, np.random.default_rng(0))
        np.testing.assert_allclose(found, expected, rtol=SUM, atol=SUM * max(1, shape[1] / 100))
print(handle.emulated_instructions())
"""


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="AMX is of x86-64, and the emulator handles signals of Linux",
)
def test_the_instructions_of_amx_compute_the_same_product(tmp_path):
    """On a processor without AMX its instructions are emulated, one by one."""
    pytest.importorskip("ziglang")
    built = tmp_path / "libtiles.so"
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-linux-gnu", "-mcpu=x86_64_v3"]
    flags = [
        "-std=c11",
        "-O2",
        "-shared",
        "-fPIC",
        "-DHAS_AMX",
        "-DSUFFIX=f32",
        "-DLEVEL=v3",
        "-fno-math-errno",
    ]
    subprocess.run([*compiler, *flags, "library.c", str(EMULATOR), "-o", str(built)], cwd=NATIVE, check=True)
    script = EMULATED.format(tests=str(Path(__file__).parent), library=str(built))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    instructions = int(done.stdout)
    if library().tiles() != IN_AMX:
        assert instructions > 1000
