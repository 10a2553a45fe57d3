"""A verb that computes for long says so, on standard error, and nothing of it stays on a terminal."""

import io
import sys
import time

import pytest

from charloom.cli import heartbeat
from charloom.cli.heartbeat import Heartbeat
from charloom.cli.output import Show


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, seconds in (("FIRST_S", 0.2), ("LIVE_EVERY_S", 0.1), ("PLAIN_EVERY_S", 0.3)):
        monkeypatch.setattr(heartbeat, name, seconds)


def wait_for(stream, text, seconds=20.0):
    end = time.monotonic() + seconds
    while text not in stream.getvalue():
        assert time.monotonic() < end, stream.getvalue()
        time.sleep(0.02)


def test_a_silent_verb_says_what_it_does_and_how_far_it_is(monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    show = Show()
    with Heartbeat(show):
        show.progress("scoring")(0.25)
        wait_for(stream, "scoring … ")
        wait_for(stream, ", 25%\n")


def test_a_sign_of_life_is_erased_from_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    show = Show()
    with Heartbeat(show):
        wait_for(stream, "working … ")
        show.note("done")
    shown = stream.getvalue()
    assert "\n" not in shown.partition("done")[0]
    assert shown.partition("done")[0].endswith("\r\x1b[2K")


@pytest.mark.parametrize("silence", ["quiet", "a progress display", "an early end"])
def test_nothing_is_added_to_other_output(silence, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    show = Show(quiet=silence == "quiet")
    show.is_reporting = silence == "a progress display"
    with Heartbeat(show):
        time.sleep(0 if silence == "an early end" else 0.6)
    assert stream.getvalue() == ""
