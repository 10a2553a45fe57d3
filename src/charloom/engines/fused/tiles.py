"""Register tiles: the innermost loops of every matrix product, written in LLVM's own vectors.

    out[r, 16 p + j] += Σ_k w[p, k, j] x[r, k]                     (1)  float: multiply-adds, in the order of k
    out[r, 16 p + j] += s_w[16 p + j] s_x[r] Σ_k w[p, k, j] x[r, k]  (2)  int8: the sum is exact, in int32

A matrix (M, N) is packed in panels of 16 rows: the 16 weights of a column are adjacent, column after column;
int8 in groups of four columns, (N/4, 16, 4). A tile reads each panel once, from first byte to last, at the
speed of the cache that holds it, and each element of `out` has its own accumulator. Nothing is added across
lanes, so every bit of a sum is independent of the number of rows in the tile and of the threads that compute
other panels.

LLVM splits the vectors to fit the processor. (2) has three versions that give the same integers: vpdpbusd if
the processor has it (its left operand is unsigned, so x + 128 is multiplied and 128 Σ_k w subtracted),
vpmaddwd on AVX2, and plain multiplications elsewhere.
"""

# ruff: noqa: ARG001 - an intrinsic names its arguments for its callers, but reads them as LLVM values

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, config

from charloom.engines.fused.compiling import intrinsic

LANES = 16
"""Rows of a panel."""

_INT8, _INT16, _INT32, _INT64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))


def processor_has(feature: str) -> bool:
    """Whether compiled code may use an instruction-set extension, by its LLVM name."""
    if getattr(config, "CPU_NAME", None) is not None:  # Numba is set to compile for another processor
        return f"+{feature}" in (getattr(config, "CPU_FEATURES", None) or "")
    return bool(binding.get_host_cpu_features().get(feature, False))


def _index(i: int) -> ir.Constant:
    return ir.Constant(_INT64, i)


def _place(builder: Any, pointer: Any, index: Any, vector: Any = None) -> Any:
    """The address of an element, cast to a vector type if one is given."""
    place = builder.gep(pointer, [index])
    return place if vector is None else builder.bitcast(place, vector.as_pointer())


def _shuffled(builder: Any, vector: Any, lanes: list[int]) -> Any:
    lanes_type = ir.VectorType(_INT32, len(lanes))
    undefined = ir.Constant(vector.type, ir.Undefined)
    return builder.shuffle_vector(vector, undefined, ir.Constant(lanes_type, lanes))


def _function(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def _pointers(context: Any, builder: Any, signature: Any, args: Any, *arrays: int) -> list[Any]:
    return [context.make_array(signature.args[i])(context, builder, value=args[i]).data for i in arrays]


def _strided(builder: Any, start: Any, stride: Any, count: int) -> list[Any]:
    return [builder.add(start, builder.mul(stride, _index(i))) for i in range(count)]


def float_tile(rows: int, panels: int) -> Any:
    """Make the tile (1) for a number of rows and panels.

    Returns:
        A function for compiled code: (w, w_at, columns, x, x_at, x_stride, out, out_at, out_stride), for flat
        arrays; `…_at` is where the tile begins (w_at on a 64-byte boundary), `…_stride` from row to row.
    """

    @intrinsic
    def tile(
        _: Any,
        w: Any,
        w_at: Any,
        columns: Any,
        x: Any,
        x_at: Any,
        x_stride: Any,
        out: Any,
        out_at: Any,
        out_stride: Any,
    ) -> Any:
        at = types.intp
        return types.void(w, at, at, x, at, at, out, at, at), generate

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, w_at, columns, _, x_at, x_stride, _, out_at, out_stride = args
        w, x, out = _pointers(context, builder, signature, args, 0, 3, 6)
        number = context.get_data_type(signature.args[0].dtype)
        vector = ir.VectorType(number, LANES)
        bits = signature.args[0].dtype.bitwidth
        multiply_add = _function(builder, f"llvm.fmuladd.v{LANES}f{bits}", vector, vector, vector, vector)
        panel_size = builder.mul(columns, _index(LANES))
        weights = [_place(builder, w, i) for i in _strided(builder, w_at, panel_size, panels)]
        inputs = [_place(builder, x, i) for i in _strided(builder, x_at, x_stride, rows)]
        outputs = [
            _place(builder, out, builder.add(row, _index(LANES * p)), vector)
            for row in _strided(builder, out_at, out_stride, rows)
            for p in range(panels)
        ]
        sums = [cgutils.alloca_once(builder, vector) for _ in outputs]
        for place, running in zip(outputs, sums, strict=True):
            builder.store(builder.load(place, align=bits // 8), running)
        with cgutils.for_range(builder, columns) as loop:
            k = builder.mul(loop.index, _index(LANES))
            w_k = [builder.load(_place(builder, panel, k, vector), align=64) for panel in weights]
            for r, row in enumerate(inputs):
                x_k = _spread(builder, builder.load(_place(builder, row, loop.index)))
                for p in range(panels):
                    running = sums[r * panels + p]
                    builder.store(builder.call(multiply_add, [w_k[p], x_k, builder.load(running)]), running)
        for place, running in zip(outputs, sums, strict=True):
            builder.store(builder.load(running), place, align=bits // 8)
        return context.get_dummy_value()

    return tile


def _spread(builder: Any, number: Any, lanes: int = LANES) -> Any:
    """A vector with a number in every lane."""
    vector = ir.Constant(ir.VectorType(number.type, lanes), ir.Undefined)
    return _shuffled(builder, builder.insert_element(vector, number, ir.Constant(_INT32, 0)), [0] * lanes)


def int8_tile(panels: int, kind: str) -> Any:
    """Make the tile (2) for one row and a number of panels; all `KINDS` give the same bits.

    Returns:
        A function for compiled code: (w, w_at, groups, w_sums, scales, m, x, x_at, x_scale, out, out_at).
        `groups` are of four columns; `m` is the panel's first row, its index in `w_sums` (int32) and `scales`.
    """
    dot = KINDS[kind]

    @intrinsic
    def tile(
        _: Any, w: Any, w_at: Any, groups: Any, w_sums: Any, scales: Any, m: Any, x: Any, x_at: Any, x_scale: Any,
        out: Any, out_at: Any,
    ) -> Any:  # fmt: skip
        at = types.intp
        return types.void(w, at, at, w_sums, scales, at, x, at, scales.dtype, out, at), generate

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, w_at, groups, _, _, m, _, x_at, x_scale, _, out_at = args
        w, w_sums, scales, x, out = _pointers(context, builder, signature, args, 0, 3, 4, 6, 9)
        panel_size = builder.mul(groups, _index(4 * LANES))
        weights = [_place(builder, w, i) for i in _strided(builder, w_at, panel_size, panels)]
        wholes = dot(builder, weights, _place(builder, x, x_at), groups)
        number = context.get_data_type(signature.args[4].dtype)
        floats, ints = ir.VectorType(number, LANES), ir.VectorType(_INT32, LANES)
        for p, whole in enumerate(wholes):
            first = builder.add(m, _index(LANES * p))
            if NEEDS[kind].endswith("vnni"):
                of_weights = builder.load(_place(builder, w_sums, first, ints), align=4)
                whole = builder.sub(whole, builder.mul(of_weights, ir.Constant(ints, [128] * LANES)))
            scale = builder.fmul(
                builder.load(_place(builder, scales, first, floats), align=4), _spread(builder, x_scale)
            )
            place = _place(builder, out, builder.add(out_at, _index(LANES * p)), floats)
            step = builder.fmul(builder.sitofp(whole, floats), scale)
            builder.store(builder.fadd(builder.load(place, align=4), step), place, align=4)
        return context.get_dummy_value()

    return tile


def _by_words(builder: Any, weights: list[Any], x: Any, groups: Any) -> list[Any]:
    """Add 16-bit products in pairs: vpmaddwd of AVX2."""
    words, pairs = ir.VectorType(_INT16, 16), ir.VectorType(_INT32, 8)
    multiply = _function(builder, "llvm.x86.avx2.pmadd.wd", pairs, words, words)
    sums = [[cgutils.alloca_once(builder, pairs) for _ in range(4)] for _ in weights]
    for running in (s for panel in sums for s in panel):
        builder.store(ir.Constant(pairs, [0] * 8), running)
    with cgutils.for_range(builder, groups) as loop:
        four = _four(builder, x, loop.index)
        x_k = _shuffled(builder, builder.sext(four, ir.VectorType(_INT16, 4)), [0, 1, 2, 3] * 4)
        at = builder.mul(loop.index, _index(4 * LANES))
        for panel, running in zip(weights, sums, strict=True):
            for q in range(4):
                place = _place(builder, panel, builder.add(at, _index(16 * q)), ir.VectorType(_INT8, 16))
                w_k = builder.sext(builder.load(place, align=16), words)
                builder.store(
                    builder.add(builder.load(running[q]), builder.call(multiply, [w_k, x_k])), running[q]
                )
    return [_joined(builder, [_pair_sums(builder, builder.load(s)) for s in panel]) for panel in sums]


def _pair_sums(builder: Any, pairs: Any) -> Any:
    return builder.add(_shuffled(builder, pairs, [0, 2, 4, 6]), _shuffled(builder, pairs, [1, 3, 5, 7]))


def _joined(builder: Any, parts: list[Any]) -> Any:
    """Concatenate vectors."""
    while len(parts) > 1:
        lanes = ir.Constant(
            ir.VectorType(_INT32, 2 * parts[0].type.count), list(range(2 * parts[0].type.count))
        )
        parts = [builder.shuffle_vector(a, b, lanes) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def by_bytes(lanes: int, multiply: Any) -> Any:
    """Add four byte products in one instruction, on vectors of `lanes` int32.

    `multiply` (builder, sum, x, w) → sum + Σ x w over the four bytes of each lane, x unsigned and w signed.
    """

    def dot(builder: Any, weights: list[Any], x: Any, groups: Any) -> list[Any]:
        ints = ir.VectorType(_INT32, lanes)  # four bytes each: the form accepted since LLVM 14
        parts = LANES // lanes
        sums = [[cgutils.alloca_once(builder, ints) for _ in range(parts)] for _ in weights]
        for running in (s for panel in sums for s in panel):
            builder.store(ir.Constant(ints, [0] * lanes), running)
        with cgutils.for_range(builder, groups) as loop:
            four = builder.xor(
                _four(builder, x, loop.index), ir.Constant(ir.VectorType(_INT8, 4), [-128] * 4)
            )
            x_k = _spread(builder, builder.bitcast(four, _INT32), lanes)
            at = builder.mul(loop.index, _index(4 * LANES))
            for panel, running in zip(weights, sums, strict=True):
                for q in range(parts):
                    place = _place(builder, panel, builder.add(at, _index(4 * lanes * q)), ints)
                    w_k = builder.load(place, align=4 * lanes)
                    builder.store(multiply(builder, builder.load(running[q]), x_k, w_k), running[q])
        return [_joined(builder, [builder.load(s) for s in panel]) for panel in sums]

    return dot


def _vpdpbusd(bits: int) -> Any:
    """The instruction on vectors of `bits` bits."""

    def multiply(builder: Any, running: Any, x: Any, w: Any) -> Any:
        ints = running.type
        instruction = _function(builder, f"llvm.x86.avx512.vpdpbusd.{bits}", ints, ints, ints, ints)
        return builder.call(instruction, [running, x, w])

    return multiply


def _by_numbers(builder: Any, weights: list[Any], x: Any, groups: Any) -> list[Any]:
    """Multiply as int32, without special instructions."""
    ints = ir.VectorType(_INT32, LANES)
    sums = [cgutils.alloca_once(builder, ints) for _ in weights]
    for running in sums:
        builder.store(ir.Constant(ints, [0] * LANES), running)
    with cgutils.for_range(builder, groups) as loop:
        four = builder.sext(_four(builder, x, loop.index), ir.VectorType(_INT32, 4))
        at = builder.mul(loop.index, _index(4 * LANES))
        for panel, running in zip(weights, sums, strict=True):
            w_k = builder.load(_place(builder, panel, at, ir.VectorType(_INT8, 4 * LANES)), align=64)
            for q in range(4):
                column = builder.sext(_shuffled(builder, w_k, list(range(q, 4 * LANES, 4))), ints)
                product = builder.mul(column, _shuffled(builder, four, [q] * LANES))
                builder.store(builder.add(builder.load(running), product), running)
    return [builder.load(running) for running in sums]


def _four(builder: Any, x: Any, group: Any) -> Any:
    """The four inputs of a group."""
    place = _place(builder, x, builder.mul(group, _index(4)), ir.VectorType(_INT8, 4))
    return builder.load(place, align=1)


KINDS = {
    "vpdpbusd-512": by_bytes(16, _vpdpbusd(512)),
    "vpdpbusd-256": by_bytes(8, _vpdpbusd(256)),
    "vpmaddwd": _by_words,
    "plain": _by_numbers,
}
"""Implementations of (2), fastest first."""

NEEDS = {"vpdpbusd-512": "avx512vnni", "vpdpbusd-256": "avxvnni", "vpmaddwd": "avx2", "plain": ""}
"""The processor feature that each needs."""

KIND = next(kind for kind, feature in NEEDS.items() if not feature or processor_has(feature))
"""The fastest implementation on this processor."""

WIDE_ROWS = 6
WIDE_PANELS = 2 if processor_has("avx512f") else 1
"""The tile for many rows: twelve accumulators hide the latency of a multiply-add and fit the registers."""

float_1x4, float_1x1 = float_tile(1, 4), float_tile(1, 1)
float_wide = float_tile(WIDE_ROWS, WIDE_PANELS)
float_4x1, float_3x1, float_2x1 = float_tile(4, 1), float_tile(3, 1), float_tile(2, 1)
int8_2, int8_1 = int8_tile(2, KIND), int8_tile(1, KIND)
