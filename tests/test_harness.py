"""What every benchmark writes: JSON whose lists of numbers stand on one line, and figures of four digits."""

import doctest
import json
import os

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


def marking(path):
    """A contestant that leaves its process's number in a file, and what an engine may have set in the environment."""
    return lambda: path.write_text(f"{os.getpid()} {os.environ.get('SET_LATER')}")


def breaking():
    return lambda: 1 / 0


def test_a_program_of_its_own_process_takes_turns(tmp_path, monkeypatch):
    path = tmp_path / "pid"
    monkeypatch.setenv("SET_LATER", "yes")
    with harness.apart(marking, path) as run:
        seconds = harness.interleave({"apart": run, "here": lambda: None}, rounds=2)
    assert len(seconds["apart"]) == 2
    other, late = path.read_text().split()
    assert int(other) != os.getpid()
    assert late == "None"
    with pytest.raises(ProcessLookupError):
        os.kill(int(other), 0)  # it ended with the block


def test_a_program_that_breaks_off_in_its_own_process_is_no_figure(capfd):
    with harness.apart(breaking) as run, pytest.raises(EOFError):
        run()
    assert "ZeroDivisionError" in capfd.readouterr().err


@pytest.mark.parametrize("warm", [False, True])
def test_what_comes_first_in_a_turn_is_not_measured(warm, monkeypatch):
    now, lengths = [0.0], iter([100.0] * (2 if warm else 1) + [1.0, 2.0, 4.0])
    monkeypatch.setattr(harness.time, "perf_counter", lambda: now[0])

    def run():
        now[0] += next(lengths)

    found = harness.interleave({"one": run}, rounds=2 if warm else 3, warm=warm)["one"]
    assert found == ([1.0, 4.0] if warm else [1.0, 2.0, 4.0])
