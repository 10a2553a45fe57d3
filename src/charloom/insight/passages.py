"""Which stretches of a text a measurement reads: evenly spaced from its start to its end, never drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from charloom.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from numpy import ndarray as Array


def spaced(ids: Int[Array, "N"], length: int, count: int) -> Int[Array, "C L"]:
    """Cut up to `count` stretches of `length` characters, the first at the text's start and the last at its end.

    They do not overlap: a text that holds fewer gives fewer.

    Args:
        ids: the text.
        length: characters of a stretch.
        count: how many, at least 1.

    Raises:
        DataError: the text is shorter than one.

    Example:
        >>> spaced(np.arange(10), 3, 2).tolist()
        [[0, 1, 2], [7, 8, 9]]
    """
    if len(ids) < length:
        raise DataError(
            f"the text to look at holds {len(ids)} known characters",
            why=f"this measurement reads {length} in a row",
            fix="give a longer text",
        )
    starts = np.linspace(0, len(ids) - length, min(count, len(ids) // length)).astype(np.int64)
    rows: Array = ids[starts[:, None] + np.arange(length)].astype(np.int64)
    return rows


def resets_before(ids: Int[Array, "..."], boundary_id: int | None) -> Bool[Array, "..."] | None:
    """Where a state begins again: before every boundary symbol; None where a model has none."""
    return None if boundary_id is None else ids == boundary_id
