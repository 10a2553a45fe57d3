"""How far a run is: steps to progress, for budgets in steps, epochs or minutes.

In minutes nobody knows the number of steps beforehand. The pacer watches the speed and re-plans the end: it keeps the progress
reached and aims a straight line at the step where the remaining time will be used up. The knots of these lines are the
plan; with them, the same run can be repeated by steps.
"""

from __future__ import annotations

import math

from charloom.config import TrainConfig, parse_plan
from charloom.schedule import Knots, progress_at

_FIRST_GUESS = 1_000_000
_GRID = 2**32
"""A re-planned line climbs a whole number of 2⁻³² a step, so that it gives the same floats wherever it is cut later."""

_STRETCH_S = 0.5
_REPLAN_SHARE = 0.02


class Pacer:
    """Progress, the end, and how many steps to take at a stretch.

    Args:
        config: the budget.
        steps_per_epoch: for a budget in epochs.
        knots: a checkpoint's, to go on from.
        elapsed_s: wall clock already used.
    """

    def __init__(
        self, config: TrainConfig, steps_per_epoch: int, *, knots: Knots | None = None, elapsed_s: float = 0.0
    ) -> None:
        self.budget_s = None if config.minutes is None else 60.0 * config.minutes
        self.elapsed_s, self._seconds_a_step = elapsed_s, 0.0
        self._steps_here, self._before_s = 0, elapsed_s
        limit = None if config.max_epochs is None else max(1, round(config.max_epochs * steps_per_epoch))
        self._limit = math.inf if limit is None else limit
        if self.budget_s is not None:
            self.knots: Knots = knots or _line(0, 0.0, limit or _FIRST_GUESS)
        elif config.plan is not None:
            self.knots = parse_plan(config.plan)
        else:
            steps = config.steps or max(1, round((config.epochs or 1) * steps_per_epoch))
            self.knots = ((0, 0.0), (steps, 1.0))

    @property
    def last_step(self) -> int:
        """The step at which the run ends, as planned now."""
        return self.knots[-1][0]

    def progress(self, step: int) -> float:
        """Share of the budget used before `step`."""
        return progress_at(self.knots, step)

    def done(self, step: int) -> bool:
        """Whether the budget is used up."""
        return step >= self.last_step or (self.budget_s is not None and self.elapsed_s >= self.budget_s)

    def stretch(self) -> int:
        """How many steps make about half a second at the watched speed; few at first."""
        if self._seconds_a_step == 0.0:
            return 1
        return max(1, min(4 * (self._steps_here + 1), int(_STRETCH_S / self._seconds_a_step)))

    def first_step_at(self, share: float, after: int) -> int:
        """The first step beyond `after` whose progress is at least `share`, by the plan as it stands."""
        for (a, p_a), (b, p_b) in zip(self.knots, self.knots[1:]):
            if p_b >= share and b > after:
                about = a if p_b == p_a else a + (share - p_a) / (p_b - p_a) * (b - a)
                step = max(after + 1, math.floor(about) - 1)
                while step < b and self.progress(step) < share:
                    step += 1
                return step
        return self.last_step

    def marks(self, step: int, count: int) -> int:
        """How many of `count` even shares of the run are complete at `step`."""
        progress = self.progress(step)
        return sum(mark / count <= progress for mark in range(1, count + 1))

    def crosses(self, first: int, step: int, count: int) -> bool:
        """Whether one of `count` even shares of the run is complete at `step` and was not at `first`."""
        return self.marks(step, count) > self.marks(first, count)

    def tick(self, first_step: int, step: int, train_s: float, elapsed_s: float) -> None:
        """Take note of a stretch: its optimiser seconds, and the wall clock since the run began."""
        here = train_s / (step - first_step)
        known = self._steps_here > 1  # the first step pays for start-up
        self._seconds_a_step = 0.7 * self._seconds_a_step + 0.3 * here if known else here
        self._steps_here += step - first_step
        self.elapsed_s = elapsed_s
        if self.budget_s is not None:
            self._replan(step)

    def time_left_s(self, step: int) -> float:
        """Seconds to the end by the watched speed."""
        by_speed = (self.last_step - step) * self._seconds_a_step
        if self.budget_s is None:
            return by_speed
        left_s = max(0.0, self.budget_s - self.elapsed_s)
        return min(left_s, by_speed) if self.last_step == self._limit else left_s

    def _replan(self, step: int) -> None:
        assert self.budget_s is not None
        left_s = max(0.0, self.budget_s - self.elapsed_s)
        # validations and checkpoints take their share of the time that is left, as they did so far
        average = (self.elapsed_s - self._before_s) / self._steps_here
        overall = max(self._seconds_a_step, average) if self._steps_here > 50 else self._seconds_a_step
        end = step + max(1, math.floor(min(left_s / overall, self._limit - step)))
        if abs(end - self.last_step) <= _REPLAN_SHARE * (self.last_step - step) and end > step:
            return
        if step >= self.last_step:
            return
        self.knots = (*(k for k in self.knots if k[0] < step), *_line(step, self.progress(step), end))

    def close(self, step: int) -> None:
        """End the plan at `step`: what was planned beyond was not taken."""
        here = self.progress(step)
        if step < self.last_step:
            self.knots = (*(k for k in self.knots if k[0] < step), (step, here))


def _line(step: int, progress: float, end: int) -> Knots:
    """The knots of a line from `progress` at `step` to all but a rounding of 1 at `end`."""
    slope = max(1, math.floor((1 - progress) * _GRID / (end - step)))
    return (step, progress), (end, min(1.0, progress + slope * (end - step) / _GRID))
