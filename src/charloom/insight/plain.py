"""What was found, as plain JSON: dictionaries, lists, numbers and texts."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

DIGITS = 6
"""Significant digits: more than any of these measurements has."""


def plain(value: Any) -> Any:
    """Turn dataclasses, arrays and tuples into what JSON knows; a number that is not finite becomes None.

    A named tuple becomes a dictionary, as a dataclass does.

    Example:
        >>> plain({"loss": np.array([1.23456789, np.inf]), "chars": np.int64(3)})
        {'loss': [1.23457, None], 'chars': 3}
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value
