"""What every benchmark writes: JSON whose lists of numbers stand on one line, and figures of four digits."""

import doctest
import json

import pytest

from benchmarks import blowup, harness


@pytest.mark.parametrize("module", [harness, blowup])
def test_the_examples_hold(module):
    found = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted
    assert not found.failed


def test_what_is_written_reads_back_as_it_was():
    results = {
        "words": ["a [1, 2]", "[\n 3\n]"],
        "rows": [{"means": [1.5, -2e-10, None, 3], "none": [], "é": [[1, 2], [3, 4]]}],
    }
    text = harness.as_text(results)
    assert json.loads(text) == results
    assert '"means": [1.5, -2e-10, null, 3],\n' in text
    assert "é" in text
