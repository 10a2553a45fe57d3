"""Progress: live at a terminal, plain lines in a log."""

import io
import re
import sys

import pytest

from charloom import progress
from charloom.cli.output import colours
from charloom.progress import clock
from charloom.training.events import (
    Closing,
    Finished,
    Preparing,
    Progress,
    Sampled,
    Saved,
    Started,
    Validation,
)

ARABIC = "كان يا ما كان"
HOSTILE = f"{ARABIC}\x1b[2J\n\x07end"
EVENTS = (
    Started(
        step=0, num_params=1234, steps_per_epoch=9, device="cpu", threads=2, notes=("batch shrunk to 3",)
    ),
    Progress(10, 0, 0.25, (3.0, 2.0), (1.0, 1.0), 1e-3, 50_000.0, 75.0),
    Validation(10, 2.0, 2.5, best=True),
    Sampled(10, HOSTILE),
    Saved(10, "runs/x/checkpoints"),
    Progress(20, 10, 1.0, (1.5,), (1.0,), 1e-3, 50_000.0, 0.0),
)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def shown(job, events, stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.reporter(job) as report:
        for event in events:
            report(event)
    return stream.getvalue()


def test_plain_lines(job, monkeypatch):
    lines = shown(job, EVENTS, io.StringIO(), monkeypatch)
    assert "step 10 · 25% · train 2.500 nats · 50,000 chars/s · 1:15 min left" in lines
    assert "step 10 · train 2.500 nats · val 2.000 nats = 2.885 bits/char (best)" in lines
    assert "note: batch shrunk to 3" in lines
    assert ARABIC in lines  # in logical order
    assert "␛[2J" in lines
    assert not set(lines) & {"\x1b", "\x07"}


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_the_final_report_says_what_it_measures(job, monkeypatch, stream):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    closing = [Closing(20, "the loss on held-out text", share) for share in (0.0, 0.5, 1.0)]
    shown_text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown(job, [*EVENTS, *closing], stream(), monkeypatch))
    assert re.search(r"measuring the loss on held-out text: \d+%", shown_text)
    assert stream is Terminal or shown_text.count("measuring") == 1


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_what_a_teacher_does_before_the_first_step_is_shown(job, monkeypatch, stream):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    doing = [Preparing("the teacher writes", share) for share in (0.0, 0.5, 1.0)]
    shown_text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown(job, doing, stream(), monkeypatch))
    assert "the teacher writes" in shown_text
    assert "measuring" not in shown_text
    assert shown_text == "the teacher writes: 0%\n" if stream is io.StringIO else "100 %" in shown_text


def test_plain_lines_are_rare(job, monkeypatch):
    many = [Progress(step, step - 1, 0.1, (2.0,), (1.0,), 1e-3, 1e4, 9.0) for step in range(1, 50)]
    lines = shown(job, many, io.StringIO(), monkeypatch)
    assert lines.count("step ") == 1


def test_live_lines(job, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen = shown(job, EVENTS, Terminal(), monkeypatch)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen)
    assert "train 1.500 nats · val 2.000 nats = 2.885 bits/char" in plain
    assert "step 20" in plain
    assert "\x1b[2m" in screen  # samples are dim
    assert "␛[2J" in plain
    assert "\x07" not in plain
    (sample,) = {line for line in plain.splitlines() if ARABIC in line}
    assert "│" not in sample
    assert "━" not in sample


def test_no_color_is_honoured(job, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    screen = shown(job, EVENTS, Terminal(), monkeypatch)
    assert not re.search(r"\x1b\[(\d+;)*3[0-9]", screen)
    assert not colours(Terminal())


def test_quiet_says_nothing(job, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.reporter(job, quiet=True) as report:
        for event in EVENTS:
            report(event)
    assert stream.getvalue() == ""


def test_a_dumb_terminal_gets_plain_lines(job, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in shown(job, EVENTS, Terminal(), monkeypatch)


def test_every_event_can_be_shown(job, monkeypatch):
    end = Finished(20, "budget", 10, 9, 1.0, 2.0, 1.9, 5, 1.8, 2.0, 3, 2.5, 900, (), "0:0.0,20:1.0")
    assert shown(job, [*EVENTS, end], io.StringIO(), monkeypatch)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (59.6, "1:00 min"), (3599, "59:59 min"), (7300, "2:01 h")]
)
def test_clock(seconds, words):
    assert clock(seconds) == words
