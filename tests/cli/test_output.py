"""Output that is not written to a terminal."""

import pytest


@pytest.mark.parametrize("verb", ["doctor", "corpus list", "recipes"])
def test_output_has_no_colours_without_a_terminal(charloom, verb):
    assert "\x1b" not in charloom(verb).out
