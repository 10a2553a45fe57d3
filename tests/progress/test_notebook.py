"""Progress in a notebook: one output that is rewritten, its texts escaped."""

import html
import sys
from types import SimpleNamespace

import pytest

from charloom import progress
from charloom.progress import notebook
from charloom.training.events import Closing, Finished, Preparing

from .test_terminal import ARABIC, EVENTS

END = Finished(20, "budget", 10, 9, 1.0, 75.0, 1.9, 5, 1.8, 2.0, 3, 2.5, 900, (), "0:0.0,20:1.0")


class Output:
    """A display handle that keeps what it was given, as HTML and as text."""

    def __init__(self, shown):
        self.pages, self.texts = [], []
        self.update(shown)

    def update(self, shown):
        self.pages.append(shown._repr_html_())
        self.texts.append(repr(shown))


@pytest.fixture
def outputs(monkeypatch):
    """A notebook's kernel in place of IPython; the outputs of its cell."""
    found = []

    def display(shown, display_id):
        assert display_id
        found.append(Output(shown))
        return found[-1]

    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    monkeypatch.setattr(notebook, "REDRAW_EVERY_S", 0.0)
    return found


def test_one_output_shows_the_run_its_progress_and_its_end(job, outputs, capsys):
    with progress.reporter(job) as report:
        for event in (*EVENTS, Closing(20, "the loss", 0.5), Closing(20, "the loss", 1.0), END):
            report(event)
    assert capsys.readouterr() == ("", "")
    (output,) = outputs
    assert output.texts[0] == "starting"
    assert output.texts[2] == "step 10 · 25% · 50,000 chars/s · 1:15 min left · train 2.500 nats"
    assert output.texts[-2].startswith("measuring the loss: 100%")
    assert output.texts[-1] == "20 steps in 1:15 min · 2.741 bits/char on held-out text"
    last = output.pages[-1]
    assert "note: batch shrunk to 3" in last
    assert "<progress value='1.0000'" in last
    assert ARABIC in last


def test_what_a_teacher_does_before_the_first_step_is_shown(job, outputs):
    with progress.reporter(job) as report:
        report(Preparing("the teacher reads", 0.25))
    assert outputs[0].texts[-1] == "the teacher reads: 25%"
    assert "<progress value='0.2500'" in outputs[0].pages[-1]


def test_texts_are_escaped(job, outputs):
    sampled = next(event for event in EVENTS if type(event).__name__ == "Sampled")
    hostile = "<script>alert('a & b')</script>"
    with progress.reporter(job) as report:
        report(type(sampled)(1, hostile))
    assert html.escape(hostile) in outputs[0].pages[-1]
    assert "<script" not in outputs[0].pages[-1]


def test_the_output_is_rewritten_now_and_then_only(job, outputs, monkeypatch):
    monkeypatch.setattr(notebook, "REDRAW_EVERY_S", 1e9)
    with progress.reporter(job) as report:
        for _ in range(5):
            report(EVENTS[1])
        report(EVENTS[2])
    assert len(outputs[0].pages) == 2  # at its start, and for the validation


def test_quiet_and_terminals_of_ipython_have_no_output(job, outputs, monkeypatch, capsys):
    with progress.reporter(job, quiet=True) as report:
        report(EVENTS[1])
    assert capsys.readouterr() == ("", "")
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=SimpleNamespace))
    with progress.reporter(job) as report:
        report(EVENTS[1])
    assert outputs == []
    assert "step 10" in capsys.readouterr().err
