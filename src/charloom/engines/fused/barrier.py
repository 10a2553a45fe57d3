"""Waiting for each other in compiled code: threads that share one pass meet after every product.

A count that only grows: every thread adds one and goes on when the count says that all have come. Whoever waits spins, and after
a while gives its core away at each turn, so that a busy machine is slow and never stuck.
"""

# ruff: noqa: ARG001 - an intrinsic names its arguments for those who call it, and reads them as LLVM values

from __future__ import annotations

import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from charloom.engines.fused.compiling import intrinsic
from charloom.engines.kernels.compiling import compiled

_SPINS = 4096
"""Turns before a waiting thread gives its core away."""


@intrinsic
def _arrive(_: Any, count: Any) -> Any:
    """Add one to `count[0]` and return what it was, as one indivisible step."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = context.make_array(signature.args[0])(context, builder, value=args[0]).data
        return builder.atomic_rmw("add", place, ir.Constant(ir.IntType(64), 1), "seq_cst")

    return types.int64(count), generate


@intrinsic
def _look(_: Any, count: Any) -> Any:
    """Read `count[0]` as the other threads left it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = context.make_array(signature.args[0])(context, builder, value=args[0]).data
        return builder.load_atomic(place, "seq_cst", 8)

    return types.int64(count), generate


@intrinsic
def _give_way(_: Any) -> Any:
    """Let another thread have the core, where the system has a call for it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if sys.platform != "win32":
            function = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), generate


@compiled
def wait(arrived: Any, parts: Any, waited: Any) -> None:
    """Go on when all `parts` threads have come here for the `waited`-th time, counted from 1."""
    if parts == 1:
        return
    _arrive(arrived)
    spins = 0
    while _look(arrived) < parts * waited:
        spins += 1
        if spins > _SPINS:
            _give_way()
