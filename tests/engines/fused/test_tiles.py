"""Register tiles against plain sums: floats in the order of k, and the same exact integers from every int8 kind."""

import re

import numpy as np
import pytest
from llvmlite import binding, ir
from numba import njit

from charloom.engines.fused import tiles
from charloom.engines.fused.packing import aligned, quantise
from charloom.engines.fused.tiles import LANES

N = 37
ROUNDING = {"float32": 1e-5, "float64": 1e-13}  # of sums of 37 products of order 1


def panels_of(matrix):
    """The reference for packing (M, N) in panels of 16 rows, column after column."""
    M, columns = matrix.shape
    packed = aligned(M * columns, matrix.dtype)
    packed[:] = [
        matrix[LANES * p + j, k] for p in range(M // LANES) for k in range(columns) for j in range(LANES)
    ]
    return packed


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("rows", "panels"), [(1, 1), (1, 4), (2, 1), (3, 1), (4, 1), (6, 1), (6, 2)])
def test_a_float_tile_adds_the_product(rows, panels, dtype, rng):
    tile = tiles.float_tile(rows, panels)

    @njit
    def run(w, x, out, stride):
        tile(w, 0, N, x, 1, N + 2, out, 3, stride)

    w = rng.normal(size=(LANES * panels, N)).astype(dtype)
    x, out = rng.normal(size=(rows, N + 2)).astype(dtype), rng.normal(size=(rows, 100)).astype(dtype)
    expected = out.copy()
    flat = np.concatenate([[dtype == "x"], x.reshape(-1)]).astype(dtype)
    expected[:, 3 : 3 + LANES * panels] += x[:, :N] @ w.T
    run(panels_of(w), flat, out.reshape(-1), 100)
    np.testing.assert_allclose(out, expected, rtol=0, atol=ROUNDING[dtype])


def test_sums_do_not_depend_on_other_rows(rng):
    one, wide = tiles.float_tile(1, 4), tiles.float_tile(6, 1)

    @njit
    def run(w, x, out, alone):
        wide(w, 0, N, x, 0, N, out, 0, LANES)
        for r in range(6):
            one(w, 0, N, x, r * N, 0, alone, r * 4 * LANES, 0)

    w, x = rng.normal(size=(4 * LANES, N)).astype(np.float32), rng.normal(size=6 * N).astype(np.float32)
    out, alone = np.zeros(6 * LANES, np.float32), np.zeros(6 * 4 * LANES, np.float32)
    run(panels_of(w), x, out, alone)
    np.testing.assert_array_equal(out.reshape(6, LANES), alone.reshape(6, 4 * LANES)[:, :LANES])


def plain_four_bytes(builder, running, x, w):
    """vpdpbusd in plain LLVM, for processors without it."""
    lanes = running.type.count
    bytes_, wide = ir.VectorType(ir.IntType(8), 4 * lanes), ir.VectorType(ir.IntType(32), 4 * lanes)
    products = builder.mul(
        builder.zext(builder.bitcast(x, bytes_), wide), builder.sext(builder.bitcast(w, bytes_), wide)
    )
    for q in range(4):
        running = builder.add(running, tiles._shuffled(builder, products, list(range(q, 4 * lanes, 4))))
    return running


@pytest.fixture
def emulated(monkeypatch):
    for lanes in (8, 16):
        monkeypatch.setitem(tiles.KINDS, f"emulated-{32 * lanes}", tiles.by_bytes(lanes, plain_four_bytes))
        monkeypatch.setitem(tiles.NEEDS, f"emulated-{32 * lanes}", "emulated-vnni")


RUNNABLE = [kind for kind, feature in tiles.NEEDS.items() if not feature or tiles.processor_has(feature)]


@pytest.mark.parametrize("panels", [1, 2])
@pytest.mark.parametrize("kind", [*RUNNABLE, "emulated-256", "emulated-512"])
def test_every_int8_kind_gives_exact_integers(kind, panels, rng, emulated):
    tile, groups = tiles.int8_tile(panels, kind), 9

    @njit
    def run(w, sums, scales, x, x_scale, out):
        tile(w, 0, groups, sums, scales, 0, x, 0, x_scale, out, 0)

    M = LANES * panels
    w = rng.integers(-127, 128, (M, 4 * groups)).astype(np.int8)
    w[0], w[1] = 127, -127  # would saturate an instruction that adds in 16 bits
    x = rng.integers(-127, 128, 4 * groups).astype(np.int8)
    x[:8] = 127
    packed = aligned(w.size, np.int8)
    packed[:] = [
        w[LANES * p + j, 4 * g + i]
        for p in range(panels)
        for g in range(groups)
        for j in range(LANES)
        for i in range(4)
    ]
    exact, out = w.astype(np.int64) @ x.astype(np.int64), np.zeros(M, np.float32)
    run(packed, w.sum(axis=1, dtype=np.int32), np.ones(M, np.float32), x, np.float32(1), out)
    np.testing.assert_array_equal(out, exact)  # below 2**24, so exact in float32
    scales = rng.random(M).astype(np.float32)
    run(packed, w.sum(axis=1, dtype=np.int32), scales, x, np.float32(0.5), out)
    np.testing.assert_allclose(out, exact + exact * scales * 0.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "processor"), [("vpdpbusd-512", "cascadelake"), ("vpdpbusd-256", "alderlake"), ("vpmaddwd", "haswell")]
)  # fmt: skip
def test_supported_instructions_are_used(kind, processor):
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    number, byte = ir.IntType(64), ir.IntType(8).as_pointer()
    module = ir.Module()
    function = ir.Function(
        module, ir.FunctionType(ir.VectorType(ir.IntType(32), LANES), [byte, byte, number]), "f"
    )
    builder = ir.IRBuilder(function.append_basic_block())
    w, x, groups = function.args
    builder.ret(tiles.KINDS[kind](builder, [w], x, groups)[0])
    target = binding.Target.from_triple("x86_64-unknown-linux-gnu").create_target_machine(
        cpu=processor, opt=3
    )
    assembly = target.emit_assembly(binding.parse_assembly(str(module)))
    assert re.search(rf"\b{kind.split('-')[0]}\b", assembly)


def test_each_row_is_quantised_with_its_own_scale(rng):
    matrix = rng.normal(size=(5, 7))
    matrix[2] = 0
    whole, scales = quantise(matrix)
    assert whole.dtype == np.int8
    assert (np.abs(whole).max(axis=1) == [127, 127, 0, 127, 127]).all()
    assert (np.abs(whole * scales[:, None] - matrix) <= scales[:, None] / 2 + 1e-12).all()
