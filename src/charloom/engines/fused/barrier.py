"""A barrier in compiled code: threads that share a pass wait for each other after every product.

The count only grows: every thread adds one and continues when the count shows that all have arrived. A
waiting thread spins, and after a while yields its core at each turn; a busy machine is slow but never stuck.
"""

# ruff: noqa: ARG001 - an intrinsic names its arguments for its callers, but reads them as LLVM values

from __future__ import annotations

import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from charloom.engines.fused.compiling import intrinsic
from charloom.kernels.jit import compiled

_SPINS = 4096
"""Turns before a waiting thread yields its core."""


@intrinsic
def _arrive(_: Any, count: Any) -> Any:
    """Atomically add one to `count[0]` and return the old value."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = context.make_array(signature.args[0])(context, builder, value=args[0]).data
        return builder.atomic_rmw("add", place, ir.Constant(ir.IntType(64), 1), "seq_cst")

    return types.int64(count), generate


@intrinsic
def _look(_: Any, count: Any) -> Any:
    """Atomically read `count[0]`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = context.make_array(signature.args[0])(context, builder, value=args[0]).data
        return builder.load_atomic(place, "seq_cst", 8)

    return types.int64(count), generate


@intrinsic
def _give_way(_: Any) -> Any:
    """Yield the core to another thread, if the system has a call for this."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if sys.platform != "win32":
            function = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), generate


@compiled
def wait(arrived: Any, parts: Any, waited: Any) -> None:
    """Return when all `parts` threads have called this for the `waited`-th time, counted from 1."""
    if parts == 1:
        return
    _arrive(arrived)
    spins = 0
    while _look(arrived) < parts * waited:
        spins += 1
        if spins > _SPINS:
            _give_way()
