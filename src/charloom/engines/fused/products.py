"""Products of a packed matrix with rows of numbers, in register tiles; each thread adds its own panels.

For an int8 matrix, each row of inputs is quantised:  q = round(x / s),  s = max |x| / 127     (1)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from charloom.engines.fused.tiles import (
    LANES,
    WIDE_PANELS,
    WIDE_ROWS,
    float_1x1,
    float_1x4,
    float_2x1,
    float_3x1,
    float_4x1,
    float_wide,
    int8_1,
    int8_2,
)
from charloom.kernels.jit import compiled


@compiled
def share(size: Any, part: Any, parts: Any) -> Any:
    """The range [low, high) of `size` outputs that a thread adds: whole panels."""
    panels = (size + LANES - 1) // LANES
    return panels * part // parts * LANES, min(size, panels * (part + 1) // parts * LANES)


@compiled
def add_product(
    net: Any,
    work: Any,
    context: Any,
    matrix: Any,
    x: Any,
    x_at: Any,
    x_stride: Any,
    rows: Any,
    out: Any,
    out_at: Any,
) -> None:
    """Add W x_r to row r of `out`, for this thread's panels.

    `net` is a `Network` that holds the `MATRIX` record `matrix`; `work` holds the int8 inputs, `context`
    selects the panels. `x` and `out` are flat; row 0 begins at `x_at` and `out_at`; rows are `x_stride` and
    `net.max_output_size` apart.
    """
    low = matrix.panels * context.part // context.parts
    high = matrix.panels * (context.part + 1) // context.parts
    if matrix.scales < 0:
        if rows == 1:
            _add_floats_to_row(net, matrix, low, high, x, x_at, out, out_at)
        else:
            _add_floats(net, matrix, low, high, x, x_at, x_stride, rows, out, out_at)
    else:
        for r in range(rows):
            x_r = x[x_at + r * x_stride :]
            work.scales[r] = _quantise(
                x_r, work.small[r * net.max_int8_size :][: matrix.columns], matrix.used
            )
        _add_small(net, work, matrix, low, high, rows, out, out_at)


@compiled
def _add_floats_to_row(
    net: Any, matrix: Any, low: Any, high: Any, x: Any, x_at: Any, out: Any, out_at: Any
) -> None:
    N = matrix.columns
    size, panel = N * LANES, low
    while panel + 4 <= high:
        float_1x4(net.numbers, matrix.at + panel * size, N, x, x_at, 0, out, out_at + panel * LANES, 0)
        panel += 4
    while panel < high:
        float_1x1(net.numbers, matrix.at + panel * size, N, x, x_at, 0, out, out_at + panel * LANES, 0)
        panel += 1


@compiled
def _add_floats(
    net: Any,
    matrix: Any,
    low: Any,
    high: Any,
    x: Any,
    x_at: Any,
    x_stride: Any,
    rows: Any,
    out: Any,
    out_at: Any,
) -> None:
    """Add products with many rows: each panel stays in the L1 cache during the loop over rows."""
    N, stride = matrix.columns, net.max_output_size
    size, panel = N * LANES, low
    while panel < high:
        wide = panel + WIDE_PANELS <= high
        w, r = matrix.at + panel * size, 0
        o = out_at + panel * LANES
        if wide:
            while r + WIDE_ROWS <= rows and rows - r != 8:  # eight rows are two tiles of four
                float_wide(net.numbers, w, N, x, x_at + r * x_stride, x_stride, out, o + r * stride, stride)
                r += WIDE_ROWS
        for one in range(WIDE_PANELS if wide else 1):
            w1, o1, r1 = w + one * size, o + one * LANES, r
            while r1 + 4 <= rows:
                float_4x1(
                    net.numbers, w1, N, x, x_at + r1 * x_stride, x_stride, out, o1 + r1 * stride, stride
                )
                r1 += 4
            if r1 + 3 <= rows:
                float_3x1(
                    net.numbers, w1, N, x, x_at + r1 * x_stride, x_stride, out, o1 + r1 * stride, stride
                )
                r1 += 3
            if r1 + 2 <= rows:
                float_2x1(
                    net.numbers, w1, N, x, x_at + r1 * x_stride, x_stride, out, o1 + r1 * stride, stride
                )
                r1 += 2
            if r1 < rows:
                float_1x1(net.numbers, w1, N, x, x_at + r1 * x_stride, 0, out, o1 + r1 * stride, 0)
        panel += WIDE_PANELS if wide else 1


@compiled
def _add_small(
    net: Any, work: Any, matrix: Any, low: Any, high: Any, rows: Any, out: Any, out_at: Any
) -> None:
    groups = matrix.columns // 4
    size, panel = matrix.columns * LANES, low
    while panel < high:
        w, m, two = matrix.at + panel * size, panel * LANES, panel + 2 <= high
        sums, scales = net.sums[matrix.sums :], net.numbers[matrix.scales :]
        for r in range(rows):
            x, o = r * net.max_int8_size, out_at + r * net.max_output_size + m
            if two:
                int8_2(net.small, w, groups, sums, scales, m, work.small, x, work.scales[r], out, o)
            else:
                int8_1(net.small, w, groups, sums, scales, m, work.small, x, work.scales[r], out, o)
        panel += 2 if two else 1


@compiled
def _quantise(x: Any, out: Any, used: Any) -> Any:
    """Write (1) of the first `used` numbers to `out`, then zeros; return s."""
    number = x.dtype.type
    largest = number(0)
    for k in range(used):
        largest = max(largest, abs(x[k]))
    if not largest > 0:
        for k in range(out.shape[0]):
            out[k] = 0
        return number(0)
    inverse = number(127) / largest
    for k in range(used):
        out[k] = np.int8(np.rint(x[k] * inverse))
    for k in range(used, out.shape[0]):
        out[k] = 0
    return largest / number(127)
