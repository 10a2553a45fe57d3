"""Progress in a notebook: one output that is rewritten, with a bar, the losses and the latest sample.

It needs no widgets, so it shows wherever a notebook shows HTML.
"""

from __future__ import annotations

import math
import sys
import time
from html import escape
from typing import TYPE_CHECKING

from charloom.progress.terminal import Losses, clock, event_text, mean_loss, measured, speed

if TYPE_CHECKING:
    from charloom.jobs import TrainingJob
    from charloom.training import Event, Finished, Progress

REDRAW_EVERY_S = 0.2


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook; IPython at a terminal is none."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return hasattr(shell, "kernel")


class NotebookProgress:
    """One output of the cell that trains, rewritten at most every `REDRAW_EVERY_S` seconds."""

    def __init__(self, job: TrainingJob) -> None:
        from IPython.display import display

        self._job, self._losses = job, Losses(job.corpus.vocab.unit)
        self._share, self._first_line, self._second_line = 0.0, "starting", ""
        self._about: list[str] = []
        self._sample = ""
        self._drawn_at = time.monotonic()
        self._output = display(self, display_id=True)  # type: ignore[no-untyped-call]

    def __call__(self, event: Event) -> None:
        """Show an event."""
        from charloom.training import Closing, Finished, Preparing, Progress, Sampled, Validation

        if isinstance(event, Progress):
            self._note_progress(event)
            if time.monotonic() - self._drawn_at < REDRAW_EVERY_S and event.progress < 1.0:
                return
        elif isinstance(event, Validation):
            self._losses.validation = event
            self._second_line = self._losses.line(event.train_loss)
        elif isinstance(event, (Preparing, Closing)):
            share = event.share if isinstance(event, Preparing) else 1.0
            self._share, self._first_line = share, measured(event)
            if 0 < event.share < 1 and time.monotonic() - self._drawn_at < REDRAW_EVERY_S:
                return
        elif isinstance(event, Finished):
            self._note_end(event)
        elif isinstance(event, Sampled):
            self._sample = event_text(event, self._job)
        elif text := event_text(event, self._job):
            self._about.append(text)
        else:
            return
        self._draw()

    def _note_progress(self, event: Progress) -> None:
        self._share = event.progress
        self._first_line = f"step {event.step:,} · {event.progress:.0%} · {speed(event)}"
        self._second_line = self._losses.line(mean_loss(event))

    def _note_end(self, event: Finished) -> None:
        self._share = 1.0
        self._first_line = f"{event.step:,} steps in {clock(event.wall_time_s)}"
        if event.val_loss_nats is not None:
            bits = event.val_loss_nats / math.log(2)
            self._second_line = f"{bits:.3f} bits/{self._losses.unit} on held-out text"

    def _draw(self) -> None:
        self._drawn_at = time.monotonic()
        self._output.update(self)

    def __repr__(self) -> str:
        return " · ".join(filter(None, (self._first_line, self._second_line)))

    def _repr_html_(self) -> str:
        grey = "<pre style='opacity:0.65;margin:0;white-space:pre-wrap'>{}</pre>"
        about = grey.format(escape("\n".join(self._about))) if self._about else ""
        sample = grey.format(escape(self._sample)) if self._sample else ""
        bar = f"<progress value='{self._share:.4f}' max='1'></progress>"
        lines = f"{bar} {escape(self._first_line)}<br>{escape(self._second_line)}"
        return f"{about}<div style='font-family:monospace'>{lines}</div>{sample}"
