"""The way of the data is short: frames of our own from a command line to the arithmetic, and the size of what is on it.

pytest tests/test_architecture.py -s        prints each way, frame by frame
"""

import ast
import re
import sys
from collections import defaultdict

import pytest

from charloom.cli import main

from .conftest import ROOT

SOURCE = ROOT / "src" / "charloom"
TEXT = ROOT / "tests" / "golden" / "text.txt"
MODEL = ROOT / "tests" / "golden" / "lstm-plain.safetensors"

TINY_LSTM = [
    "--cell",
    "lstm",
    "--block",
    "plain",
    "--hidden-size",
    "8",
    "--num-layers",
    "1",
    "--batch-size",
    "2",
    "--bptt-length",
    "8",
    "--steps",
    "3",
]

MAX_FRAMES = {"train with torch": 15, "train with scratch": 10, "sample": 11}
MAX_FILES = 4
MAX_FUNCTION_LINES, MAX_CLASS_LINES = 50, 200


class Arrived(BaseException):
    """Raised at the innermost function, with the frames of our own that lead there, from the outside in."""

    def __init__(self, name):
        frames, frame = [], sys._getframe(2)
        while frame is not None:
            if frame.f_code.co_filename.startswith(str(SOURCE)):
                path = frame.f_code.co_filename.removeprefix(f"{SOURCE}/")
                frames.append(f"{path}:{frame.f_code.co_name}")
            frame = frame.f_back
        self.frames = [*reversed(frames), name]


def stop_here(name):
    def arrive(*_arguments, **_keywords):
        raise Arrived(name)

    return arrive


def way(argv):
    with pytest.raises(Arrived) as caught:
        main(argv)
    return caught.value.frames


def training(tmp_path, engine):
    return [
        "train",
        str(TEXT),
        *TINY_LSTM,
        "--threads",
        "1",
        "--engine",
        engine,
        "--out",
        str(tmp_path / "run"),
        "--quiet",
    ]


def stop_in_c(monkeypatch, module, stopping, file):
    """Stop where a module calls a function of the library."""
    real = module.library()

    class Stopping:
        def function(self, name, flavour):
            return stop_here(f"{file}:{name}") if name == stopping else real.function(name, flavour)

    monkeypatch.setattr(module, "library", Stopping)


def check_calls_in_c(calls):
    """Hold the names of frames that cannot be seen to the source."""
    for file, call in calls:
        assert call in (SOURCE / "kernels" / "native" / file).read_text("utf-8")


def way_of_torch(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from charloom.engines.torch.cpu import ops

    stop_in_c(monkeypatch, ops, "rnn_forward", "rnn_window.c")
    check_calls_in_c([("rnn_window.c", "FN(rnn_forward)("), ("rnn_window.c", "lstm_forward(")])
    return [*way(training(tmp_path, "torch")), "training_cells.h:lstm_forward"]


def way_of_scratch(tmp_path, monkeypatch):
    from charloom.engines.scratch import lstm

    monkeypatch.setattr(lstm, "step", stop_here("engines/scratch/lstm.py:step"))
    return way(training(tmp_path, "scratch"))


def way_of_sample(_tmp_path, monkeypatch):
    from charloom.engines.fused import model

    stop_in_c(monkeypatch, model, "decode", "generate.c")
    check_calls_in_c(
        [("generate.c", "FN(read_window)("), ("network.c", "recur(net"), ("network.c", "lstm_step(")]
    )
    frames = way(["sample", str(MODEL), "--length", "20", "--seed", "1", "--quiet"])
    return [*frames, "network.c:read_window", "network.c:recur", "cells.h:lstm_step"]


WAYS = {"train with torch": way_of_torch, "train with scratch": way_of_scratch, "sample": way_of_sample}


@pytest.mark.parametrize("name", WAYS)
def test_the_way_to_the_arithmetic_is_short(name, tmp_path, monkeypatch):
    frames = WAYS[name](tmp_path, monkeypatch)
    print(f"\n{name}: {len(frames)} frames, at most {MAX_FRAMES[name]}")
    print("\n".join(f"  {i:2} {frame}" for i, frame in enumerate(frames, 1)))
    assert len(frames) <= MAX_FRAMES[name]


def test_four_files_lie_between_the_verb_and_the_cell(tmp_path, monkeypatch):
    """STYLE §1: cli/train.py → training/loop.py → learner.py → network.py; then the cells, `cells.py` and the cell's own file."""
    frames = way_of_scratch(tmp_path, monkeypatch)
    files = list(dict.fromkeys(frame.partition(":")[0] for frame in frames))
    between = files[files.index("cli/train.py") : files.index("engines/scratch/cells.py")]
    assert between == [
        "cli/train.py",
        "training/loop.py",
        "engines/scratch/learner.py",
        "engines/scratch/network.py",
    ]
    assert len(between) <= MAX_FILES


def definitions():
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                yield path.relative_to(SOURCE).as_posix(), node


def code_lines(node):
    """Lines of a function without its docstring; of a class with everything."""
    lines = node.end_lineno - node.lineno + 1
    first = node.body[0]
    is_docstring = (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )
    if isinstance(node, ast.FunctionDef) and is_docstring:
        lines -= first.end_lineno - first.lineno + 1
    return lines


def test_no_function_or_class_is_too_long():
    limits = {ast.FunctionDef: MAX_FUNCTION_LINES, ast.ClassDef: MAX_CLASS_LINES}
    too_long = [
        f"{path}:{node.name} has {code_lines(node)} lines"
        for path, node in definitions()
        if code_lines(node) > limits[type(node)]
    ]
    assert too_long == []


def test_the_list_of_modules_is_the_tree():
    """`docs/reference/modules.md` is generated; here its rows are held against the files, and none lacks its line."""
    page = (ROOT / "docs" / "reference" / "modules.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([\w/]+\.py)` \| (.*) \|$", page, flags=re.MULTILINE))
    assert set(rows) == {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py")}
    assert [module for module, line in rows.items() if not line.strip()] == []


SAME_MEANING = {
    "one function per cell file": {
        *("Params", "State", "Tape", "project", "step", "backward", "input_part", "weight_gradients"),
        *("library_kernel", "candidate", "scan"),
    },
    "the same function of another engine": {
        *("Optimiser", "block", "convolve", "forward", "layer_params", "log_softmax"),
        *("norm", "unroll", "zero_state"),
    },
    "a verb of the command line, of the Python interface and of the room that does it": {
        *("ensemble", "explain", "inspect", "prepare", "sample", "train"),
    },
    "a measurement and its plot": {"far_context", "training_curve"},
    "an object as JSON": {"to_json"},
}
"""Names that several modules define with one meaning, by what that is. No other name may be defined twice."""


def test_one_name_has_one_meaning():
    homes = defaultdict(list)
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                homes[node.name].append(path.relative_to(SOURCE).as_posix())
    twice = {name: paths for name, paths in homes.items() if len(paths) > 1}
    allowed = set().union(*SAME_MEANING.values())
    assert {name: paths for name, paths in twice.items() if name not in allowed} == {}
    assert allowed - set(twice) == set(), "these names are defined once now: take them off the list"
