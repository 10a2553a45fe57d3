"""Plain JSON: nothing is left that `json` does not know, and nothing that is no number is called one."""

import json
from dataclasses import dataclass

import numpy as np

from charloom.insight.plain import plain
from charloom.insight.units import Unit


@dataclass(frozen=True)
class Outer:
    inner: object
    values: np.ndarray


def test_everything_nested_becomes_json():
    found = plain(
        Outer({"a": (Unit(1, "c", np.int64(3)), None, True)}, np.array([[1.0, np.nan], [2, -np.inf]]))
    )
    assert json.loads(json.dumps(found, allow_nan=False)) == {
        "inner": {"a": [{"layer": 1, "array": "c", "number": 3}, None, True]},
        "values": [[1.0, None], [2.0, None]],
    }


def test_six_digits_are_kept():
    assert plain(0.000123456789) == 0.000123457
    assert plain(123456789.0) == 123457000.0
    assert plain(123456789) == 123456789
