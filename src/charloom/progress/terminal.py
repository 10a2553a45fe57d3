"""Progress on standard error: live at a terminal, otherwise a plain line every few seconds.

Generated text is printed without a box, in logical order and with its control characters made visible.
"""

from __future__ import annotations

import math
import os
import shlex
import sys
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from charloom.jobs import TrainingJob
    from charloom.training import Closing, Event, Preparing, Progress, Started, Validation, Watched

PLAIN_EVERY_S = 5.0


def is_live(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def clock(seconds: float) -> str:
    """Format a duration in seconds.

    Example:
        >>> clock(7.4), clock(75), clock(7300)
        ('7 s', '1:15 min', '2:01 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    large, small = divmod(whole, 60) if whole < 3600 else divmod(whole // 60, 60)
    return f"{large}:{small:02d} {'min' if whole < 3600 else 'h'}"


def event_text(event: Event, job: TrainingJob) -> str:
    """The text that an event prints once; empty for the others."""
    from charloom.generation.escape import visible
    from charloom.training import Sampled, Started, Watched

    if isinstance(event, Started):
        return "\n".join(start_lines(event, job))
    if isinstance(event, Sampled):
        return "  " + visible(event.text).strip().replace("\n", "\n  ")
    return _watched_line(event) if isinstance(event, Watched) else ""


def start_lines(started: Started, job: TrainingJob) -> list[str]:
    """Describe the text, the model, the device, the recipe and the run folder, with notes on them."""
    corpus, resolved = job.corpus, job.resolved
    model = resolved.model_config
    network = f"{model.num_layers} x {model.cell} of {model.hidden_size}, {model.block}"
    lines = [
        f"text: {corpus.name}, {corpus.num_chars:,} characters, vocabulary of {len(corpus.vocab)}",
        f"model: {network}, {started.num_params:,} parameters",
        f"device: {started.device}, {started.threads} thread{'s' * (started.threads != 1)}",
        *_memory_line(started),
        f"recipe: {resolved.recipe}: {resolved.reason}",
        f"run: {shlex.quote(str(job.run.path))}",
    ]
    if started.step:
        lines.append(f"resuming from step {started.step:,}")
    return lines + [f"note: {note}" for note in (*job.corpus.notes, *resolved.notes, *started.notes)]


def _memory_line(started: Started) -> list[str]:
    from charloom.memory import Need, free_bytes, shown_bytes

    if not started.memory:
        return []
    need, free = Need("the training", started.memory), free_bytes()
    left = "" if free is None else f" of {shown_bytes(free)} free"
    return [f"memory: about {shown_bytes(need.total)}{left}: {need.arithmetic()}"]


class Losses:
    """The latest losses as one line of text."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.validation: Validation | None = None

    def line(self, train_loss: float | None) -> str:
        """Training and validation loss in nats, the latter also in bits."""
        parts = [] if train_loss is None else [f"train {train_loss:.3f} nats"]
        if self.validation is not None:
            bits = self.validation.loss / math.log(2)
            parts.append(f"val {self.validation.loss:.3f} nats = {bits:.3f} bits/{self.unit}")
        return " · ".join(parts)


class PlainProgress:
    """Print a line now and then, for logs and pipes."""

    def __init__(self, job: TrainingJob) -> None:
        self._job, self._losses = job, Losses(job.corpus.vocab.unit)
        self._printed_at, self._measuring = -math.inf, ""

    def __call__(self, event: Event) -> None:
        """Print a validation at once, and progress if the last line is old enough."""
        from charloom.training import Closing, Preparing, Progress, Validation

        if isinstance(event, Validation):
            self._losses.validation = event
            best = " (best)" if event.best else ""
            self._print(f"step {event.step:,} · {self._losses.line(event.train_loss)}{best}")
        elif isinstance(event, Progress):
            if time.monotonic() - self._printed_at > PLAIN_EVERY_S:
                losses = self._losses.line(mean_loss(event))
                self._print(f"step {event.step:,} · {event.progress:.0%} · {losses} · {speed(event)}")
        elif isinstance(event, (Preparing, Closing)):
            if event.what != self._measuring or time.monotonic() - self._printed_at > PLAIN_EVERY_S:
                self._measuring = event.what
                self._print(measured(event))
        elif text := event_text(event, self._job):
            self._write(text)

    def _print(self, line: str) -> None:
        self._write(line)
        self._printed_at = time.monotonic()

    def _write(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


class LiveProgress:
    """Two moving lines, with samples printed above them in dim text."""

    def __init__(self, job: TrainingJob) -> None:
        from rich.console import Console, Group
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.text import Text

        self._job, self._losses = job, Losses(job.corpus.vocab.unit)
        self._console = Console(file=sys.stderr, highlight=False, markup=False, emoji=False)
        self._bar = Progress(
            TextColumn("{task.fields[step]}", style="bold"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:.0f} %"),
            TextColumn("{task.fields[speed]}", style="dim"),
        )
        self._task = self._bar.add_task("", total=1.0, step="step 0", speed="")
        self._second_line = Text("", no_wrap=True, overflow="ellipsis")
        self._live = Live(Group(self._bar, self._second_line), console=self._console, transient=True)

    def __enter__(self) -> LiveProgress:
        self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        from charloom.training import Closing, Preparing, Progress, Started, Validation

        if isinstance(event, Validation):
            self._losses.validation = event
        elif isinstance(event, Progress):
            step = f"step {event.step:,}"
            self._bar.update(self._task, completed=event.progress, step=step, speed=speed(event))
            self._second_line.plain = self._losses.line(mean_loss(event))
        elif isinstance(event, Preparing):
            self._bar.update(self._task, completed=event.share, step="step 0", speed=event.what)
        elif isinstance(event, Closing):
            self._bar.update(self._task, completed=1.0, step=f"step {event.step:,}", speed=measured(event))
        elif text := event_text(event, self._job):
            self._console.print(text, style="" if isinstance(event, Started) else "dim", soft_wrap=True)


def mean_loss(event: Progress) -> float:
    """The mean loss of a range of steps, in nats."""
    return sum(event.loss) / max(1, len(event.loss))


def speed(event: Progress) -> str:
    """Training speed and the time left."""
    return f"{event.chars_per_s:,.0f} chars/s · {clock(event.time_left_s)} left"


def measured(event: Preparing | Closing) -> str:
    """What a teacher does before the first step, or what the final report is measuring."""
    from charloom.training import Closing

    doing = "measuring " if isinstance(event, Closing) else ""
    return f"{doing}{event.what}: {event.share:.0%}"


def _watched_line(event: Watched) -> str:
    horizon, lags = event.numbers["memory_horizon_chars"], event.numbers["grad_norm_by_lag"]
    reach = f"over {len(next(iter(lags.values()))) - 1}" if horizon is None else f"{horizon}"
    gates = " · ".join(f"{gate} {share:.0%}" for gate, share in event.numbers["saturation"].items())
    return f"step {event.step:,} · gradients reach {reach} characters · saturated: {gates}"
