"""Tables: formulas and control characters in CSV, and wide characters in text."""

import csv
import io

import pytest

from charloom.cli.tables import csv_table, text_table


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t"])
def test_no_csv_cell_is_a_formula(begin):
    (row,) = csv.DictReader(io.StringIO(csv_table([{"name": f"{begin}1+1"}], ["name"]), newline=""))
    assert row["name"] == f"'{begin}1+1"


def test_control_characters_in_a_csv_cell_are_shown():
    assert csv_table([{"name": "\r=1"}], ["name"]) == "name\n␍=1"


def test_negative_numbers_stay_numbers():
    assert csv_table([{"gain": -0.5}], ["gain"]) == "gain\n-0.5"


def test_wide_characters_keep_the_columns_straight():
    rows = [{"corpus": "物語", "steps": 1}, {"corpus": "tale", "steps": 2}]
    assert text_table(rows, ["corpus", "steps"]).splitlines() == [
        "corpus  steps",
        "物語        1",
        "tale        2",
    ]
