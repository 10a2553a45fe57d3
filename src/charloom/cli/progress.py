"""Progress on standard error: a live line at a terminal, a plain line every few seconds elsewhere.

Generated text is shown outside any box, in logical order, its control characters made visible.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from charloom.cli.output import Show, is_live
from charloom.cli.report import clock
from charloom.cli.signals import quoted

if TYPE_CHECKING:
    from charloom.launch import Training
    from charloom.training import Event, Progress, Sampled, Started, Validation, Watched

PLAIN_EVERY_S = 5.0

Report = Callable[["Event"], None]


@contextlib.contextmanager
def reporter(show: Show, job: Training) -> Iterator[Report]:
    """Choose how to show events: live, plain or not at all."""
    if show.quiet:
        yield _say_nothing
        return
    unit = job.corpus.vocab.unit
    opening = _Opening(job)
    if not is_live(sys.stderr):
        yield PlainProgress(show, opening, unit)
        return
    with LiveProgress(opening, unit) as live:
        yield live


def _say_nothing(event: Event) -> None:
    del event


class _Opening:
    """What is said when a training starts."""

    def __init__(self, job: Training) -> None:
        self.job = job

    def lines(self, started: Started) -> list[str]:
        """Where, how large, by which recipe, and what was adjusted."""
        corpus, resolved = self.job.corpus, self.job.resolved
        model = resolved.model_config
        how = f"{model.num_layers} x {model.cell} of {model.hidden_size}, {model.block}"
        lines = [
            f"text: {corpus.name}, {corpus.num_chars:,} characters, vocabulary of {len(corpus.vocab)}",
            f"model: {how}, {started.num_params:,} parameters",
            f"device: {started.device}, {started.threads} thread{'s' * (started.threads != 1)}",
            f"recipe: {resolved.recipe}: {resolved.reason}",
            f"run: {quoted(self.job.run.path)}",
        ]
        if started.step:
            lines.append(f"going on from step {started.step:,}")
        return lines + [f"note: {note}" for note in started.notes]


class _Figures:
    """The newest numbers, as one line of text."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.validation: Validation | None = None

    def losses(self, train_loss: float | None) -> str:
        """Train and validation loss in nats, the latter also in bits."""
        parts = [] if train_loss is None else [f"train {train_loss:.3f}"]
        if self.validation is not None:
            bits = self.validation.loss / math.log(2)
            parts.append(f"val {self.validation.loss:.3f} nats = {bits:.3f} bits/{self.unit}")
        return " · ".join(parts)


class PlainProgress:
    """A line now and then, for logs and pipes."""

    def __init__(self, show: Show, opening: _Opening, unit: str) -> None:
        self._show, self._opening, self._figures = show, opening, _Figures(unit)
        self._said_at = -math.inf

    def __call__(self, event: Event) -> None:
        """Print an event, if it is time or it matters."""
        from charloom.training import Progress, Sampled, Started, Validation, Watched

        if isinstance(event, Started):
            self._show.note("\n".join(self._opening.lines(event)))
        elif isinstance(event, Validation):
            self._figures.validation = event
            best = " (best)" if event.best else ""
            self._show.note(f"step {event.step:,} · {self._figures.losses(event.train_loss)}{best}")
            self._said_at = time.monotonic()
        elif isinstance(event, Sampled):
            self._show.note(_sample_line(event))
        elif isinstance(event, Watched):
            self._show.note(_watched_line(event))
        elif isinstance(event, Progress) and time.monotonic() - self._said_at > PLAIN_EVERY_S:
            self._show.note(
                f"step {event.step:,} · {event.progress:.0%} · {self._figures.losses(_mean(event.loss))} · "
                f"{event.chars_per_s:,.0f} chars/s · {clock(event.time_left_s)} left"
            )
            self._said_at = time.monotonic()


class LiveProgress:
    """Two lines that move, and above them samples in dim text."""

    def __init__(self, opening: _Opening, unit: str) -> None:
        from rich.console import Console, Group
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.text import Text

        self._opening, self._figures = opening, _Figures(unit)
        self._console = Console(file=sys.stderr, highlight=False, markup=False, emoji=False)
        self._bar = Progress(
            TextColumn("{task.fields[step]}", style="bold"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:.0f} %"),
            TextColumn("{task.fields[speed]}", style="dim"),
        )
        self._task = self._bar.add_task("", total=1.0, step="step 0", speed="")
        self._losses = Text("", no_wrap=True, overflow="ellipsis")
        self._live = Live(Group(self._bar, self._losses), console=self._console, transient=True)

    def __enter__(self) -> LiveProgress:
        self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        from charloom.training import Progress, Sampled, Started, Validation, Watched

        if isinstance(event, Started):
            self._print("\n".join(self._opening.lines(event)))
        elif isinstance(event, Validation):
            self._figures.validation = event
        elif isinstance(event, Sampled):
            self._print(_sample_line(event), style="dim")
        elif isinstance(event, Watched):
            self._print(_watched_line(event), style="dim")
        elif isinstance(event, Progress):
            self._move(event)

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(text, style=style, soft_wrap=True)

    def _move(self, event: Progress) -> None:
        measuring = event.progress >= 1.0
        speed = f"{event.chars_per_s:,.0f} chars/s · {clock(event.time_left_s)} left"
        if measuring:
            speed = "measuring, with the baselines"
        self._bar.update(self._task, completed=event.progress, step=f"step {event.step:,}", speed=speed)
        self._losses.plain = self._figures.losses(_mean(event.loss))


def _mean(losses: Sequence[float]) -> float:
    return sum(losses) / max(1, len(losses))


def _watched_line(event: Watched) -> str:
    horizon, lags = event.numbers["memory_horizon_chars"], event.numbers["grad_norm_by_lag"]
    reach = (
        f"{horizon} characters"
        if horizon is not None
        else f"over {len(next(iter(lags.values()))) - 1} characters"
    )
    gates = " · ".join(f"{gate} {share:.0%}" for gate, share in event.numbers["saturation"].items())
    return f"step {event.step:,} · gradients reach {reach} · saturated: {gates}"


def _sample_line(event: Sampled) -> str:
    from charloom.generation.visible import visible

    return "  " + visible(event.text).strip().replace("\n", "\n  ")
