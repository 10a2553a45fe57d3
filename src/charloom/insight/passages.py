"""Passages of a text for a measurement: evenly spaced from start to end, never random."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from charloom.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from numpy import ndarray as Array


def spaced(ids: Int[Array, "N"], length: int, count: int) -> Int[Array, "C L"]:
    """Cut up to `count` passages of `length` characters, the first at the text's start and the last at its end.

    Passages do not overlap, so a short text yields fewer.

    Raises:
        DataError: the text is shorter than one passage.

    Example:
        >>> spaced(np.arange(10), 3, 2).tolist()
        [[0, 1, 2], [7, 8, 9]]
    """
    if len(ids) < length:
        raise DataError(
            f"the text has only {len(ids)} known characters",
            why=f"this measurement reads {length} consecutive characters",
            fix="give a longer text",
        )
    starts = np.linspace(0, len(ids) - length, min(count, len(ids) // length)).astype(np.int64)
    return np.asarray(ids[starts[:, None] + np.arange(length)], np.int64)


def resets_before(ids: Int[Array, "..."], boundary_id: int | None) -> Bool[Array, "..."] | None:
    """Positions before which the state is reset: every boundary symbol; None if the model has none."""
    return None if boundary_id is None else ids == boundary_id
