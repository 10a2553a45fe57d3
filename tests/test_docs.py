"""Documents that are generated stand as they would be generated now, and every command of the README runs."""

import importlib.util
import shlex

import pytest

from tests.conftest import ROOT


def generator():
    """The module ``docs/generate.py``."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def generated():
    return generator().pages()


@pytest.mark.parametrize("path", generated(), ids=lambda path: path.name)
def test_a_generated_page_is_current(path):
    assert path.read_text("utf-8") == generated()[path], "run python docs/generate.py"


@pytest.mark.parametrize("path", generator().pictures(), ids=lambda path: path.name)
def test_a_generated_picture_is_current(path):
    """Its bytes are the same in every process; another matplotlib draws other ones."""
    matplotlib = pytest.importorskip("matplotlib")
    drawn = path.read_text("utf-8")
    if f"Matplotlib v{matplotlib.__version__}," not in drawn:
        pytest.skip(f"drawn by another matplotlib than {matplotlib.__version__}")
    again = generator().pictures()[path]()
    assert drawn == again, "run python docs/generate.py"  # (pytest shows no diff of half a megabyte)


def readme_commands():
    """Every line of the README that begins with ``charloom`` inside an indented block."""
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    return [line.strip() for line in lines if line.startswith("    charloom ")]


SHORTER = {"demo": ["--minutes", "0.02"], "train": ["--steps", "3", "--batch-size", "2"]}
"""A test has seconds where the README's reader has minutes; only the budget and the batch differ."""


def shortened(command):
    words = shlex.split(command)[1:]
    if words[0] == "demo" or (words[0] == "train" and "--resume" not in words):
        words = [
            w for i, w in enumerate(words) if w != "--minutes" and (not i or words[i - 1] != "--minutes")
        ]
        words += SHORTER[words[0]]
    return words


def test_every_command_of_the_readme_runs_in_the_order_given(tmp_path, monkeypatch):
    from charloom.cli import main

    (tmp_path / "tales.txt").write_text("Once upon a time there was a tale. " * 200, encoding="utf-8")
    (tmp_path / "names.txt").write_text("emma\nolivia\nava\nisabella\nsophia\n" * 100, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    commands = readme_commands()
    assert len(commands) >= 8
    for command in commands:
        assert main(shortened(command)) == 0, command
