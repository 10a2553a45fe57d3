"""Plain JSON: every value is one that `json` can write, and non-finite numbers become null."""

import json
from dataclasses import dataclass

import numpy as np

from charloom.insight.json_values import json_ready
from charloom.insight.units import Unit


@dataclass(frozen=True)
class Outer:
    inner: object
    values: np.ndarray


def test_nested_values_become_json():
    found = json_ready(
        Outer({"a": (Unit(1, "c", np.int64(3)), None, True)}, np.array([[1.0, np.nan], [2, -np.inf]]))
    )
    assert json.loads(json.dumps(found, allow_nan=False)) == {
        "inner": {"a": [{"layer": 1, "array": "c", "number": 3}, None, True]},
        "values": [[1.0, None], [2.0, None]],
    }


def test_six_digits_are_kept():
    assert json_ready(0.000123456789) == 0.000123457
    assert json_ready(123456789.0) == 123457000.0
    assert json_ready(123456789) == 123456789
