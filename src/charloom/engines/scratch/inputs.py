"""The inputs of a cell: dense vectors, or ids that represent one-hot vectors.

W x of a one-hot vector is a column of W, so it is looked up. A character's column of the gradient of W is the
sum over the positions of that character.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy import ndarray as Array

DENSE_UP_TO = 256
"""Vocabularies up to this size use a product with one-hot rows, larger ones a sort (docs/lab-log/2026-11.md, 8)."""


def is_ids(x: Any) -> bool:
    """Whether `x` holds ids, (T, B), rather than dense vectors, (T, B, X)."""
    return bool(np.issubdtype(x.dtype, np.integer))


def project(w: Float[Array, "G X"], bias: Float[Array, "G"], x: Array) -> Float[Array, "T B G"]:
    """W x + b for a whole window: one product, or a look-up if `x` holds ids."""
    if is_ids(x):
        columns: Array = (w.T + bias)[x]
        return columns
    rows: Array = flatten_time(x) @ w.T  # (T·B, G)
    rows += bias
    return rows.reshape(*x.shape[:2], len(w))


def weight_gradient(d_a: Float[Array, "T B G"], x: Array, width: int) -> Float[Array, "G X"]:
    """The gradient of W, summed over the window, from that of W x; `x` is vectors or ids, `width` is X."""
    d_a = flatten_time(d_a)
    gradient: Array = row_sums(d_a, x.ravel(), width).T if is_ids(x) else d_a.T @ flatten_time(x)
    return gradient


def row_sums(d_rows: Float[Array, "N W"], ids: Int[Array, "N"], num_rows: int) -> Float[Array, "V W"]:
    """Sum the rows of each id: the gradient of a look-up.

    Example:
        >>> row_sums(np.array([[1.0], [2.0], [4.0]]), np.array([1, 0, 1]), 3).ravel().tolist()
        [2.0, 5.0, 0.0]
    """
    if num_rows <= DENSE_UP_TO:
        one_hot = np.zeros((len(ids), num_rows), d_rows.dtype)
        one_hot[np.arange(len(ids)), ids] = 1
        sums: Array = one_hot.T @ d_rows
        return sums
    order = np.argsort(ids, kind="stable")
    found, starts = np.unique(ids[order], return_index=True)
    sums = np.zeros((num_rows, d_rows.shape[1]), d_rows.dtype)
    sums[found] = np.add.reduceat(d_rows[order], starts, axis=0)
    return sums


def flatten_time(x: Float[Array, "T B W"]) -> Float[Array, "TB W"]:
    """Time and batch as one axis."""
    return x.reshape(-1, x.shape[-1])  # (T·B, W)
