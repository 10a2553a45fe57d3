"""Timing and result files shared by all benchmarks."""

import doctest
import importlib
import inspect
import json
import os

import pytest

from benchmarks import __main__ as command
from benchmarks import blowup, harness


@pytest.mark.parametrize("module", [harness, blowup])
def test_the_examples_hold(module):
    found = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize("name", command.NAMES)
def test_a_benchmark_run_by_name_takes_no_options_from_the_command_line(name):
    main = importlib.import_module(f"benchmarks.{name}").main
    defaults = [parameter.default for parameter in inspect.signature(main).parameters.values()]
    assert all(isinstance(default, tuple) for default in defaults), "None would make argparse read sys.argv"


def test_results_are_read_back_as_written():
    results = {
        "words": ["a [1, 2]", "[\n 3\n]"],
        "rows": [{"means": [1.5, -2e-10, None, 3], "none": [], "é": [[1, 2], [3, 4]]}],
    }
    text = harness.as_text(results)
    assert json.loads(text) == results
    assert '"means": [1.5, -2e-10, null, 3],\n' in text
    assert "é" in text


def marking(path):
    """A contestant that writes its process id and an environment variable to a file."""
    return lambda: path.write_text(f"{os.getpid()} {os.environ.get('SET_LATER')}")


def breaking():
    return lambda: 1 / 0


def test_a_program_in_its_own_process_takes_turns(tmp_path, monkeypatch):
    path = tmp_path / "pid"
    monkeypatch.setenv("SET_LATER", "yes")
    with harness.apart(marking, path) as run:
        seconds = harness.interleave({"apart": run, "here": lambda: None}, rounds=2)
    assert len(seconds["apart"]) == 2
    other, late = path.read_text().split()
    assert int(other) != os.getpid()
    assert late == "None"
    with pytest.raises(ProcessLookupError):
        os.kill(int(other), 0)  # it ended with the with block


def test_a_program_that_fails_in_its_own_process_is_not_measured(capfd):
    with harness.apart(breaking) as run, pytest.raises(EOFError):
        run()
    assert "ZeroDivisionError" in capfd.readouterr().err


@pytest.mark.parametrize("warm", [False, True])
def test_warm_up_runs_are_not_measured(warm, monkeypatch):
    now, lengths = [0.0], iter([100.0] * (2 if warm else 1) + [1.0, 2.0, 4.0])
    monkeypatch.setattr(harness.time, "perf_counter", lambda: now[0])

    def run():
        now[0] += next(lengths)

    found = harness.interleave({"one": run}, rounds=2 if warm else 3, warm=warm)["one"]
    assert found == ([1.0, 4.0] if warm else [1.0, 2.0, 4.0])
