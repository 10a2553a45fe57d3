"""Measurements as plain JSON values: dictionaries, lists, numbers and strings."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

DIGITS = 6
"""Significant digits, more than the precision of any measurement here."""


def json_ready(value: Any) -> Any:
    """Convert dataclasses, arrays and tuples to JSON values; non-finite numbers become None, named tuples dictionaries.

    Example:
        >>> json_ready({"loss": np.array([1.23456789, np.inf]), "chars": np.int64(3)})
        {'loss': [1.23457, None], 'chars': 3}
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: json_ready(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return json_ready(value._asdict())
    if isinstance(value, np.ndarray):
        return json_ready(value.tolist())
    if isinstance(value, (tuple, list)):
        return [json_ready(item) for item in value]
    if isinstance(value, np.generic):
        return json_ready(value.item())
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value
