"""The budget of a run: progress as a function of steps, for budgets in steps, epochs or minutes.

With a budget in minutes, the number of steps is not known in advance. The budget measures the speed and re-plans the
end: from the progress reached so far it draws a straight line to the step at which the remaining time will be used up.
The knots of these lines are the plan; with them, the same run can be repeated by steps.
"""

from __future__ import annotations

import math

from charloom.config import TrainConfig, parse_plan
from charloom.schedule import Knots, progress_at

_FIRST_GUESS = 1_000_000
_GRID = 2**32
"""A re-planned line rises by a multiple of 2⁻³² per step, so splitting it later does not change its floats."""

_RANGE_S = 0.5
_REPLAN_SHARE = 0.02
_MOST_RESERVED = 0.5
_MOST_STARTING = 0.5

ALLOWED_SHARE, ALLOWED_S = 0.1, 10.0
"""How far a command may exceed its minutes: by a share of them, or by these seconds if that is more."""


class Budget:
    """Progress, the last step, and how many steps to take at a time.

    A resumed run passes the plan of its checkpoint as `knots`, and the wall-clock time already used as `elapsed_s`.
    """

    def __init__(
        self, config: TrainConfig, steps_per_epoch: int, *, knots: Knots | None = None, elapsed_s: float = 0.0
    ) -> None:
        self.budget_s = None if config.minutes is None else 60.0 * config.minutes
        self.elapsed_s, self._step_s = elapsed_s, 0.0
        self._steps_here, self._before_s = 0, elapsed_s
        self._reserve_s = 0.0
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
        """The step at which the run ends by the current plan."""
        return self.knots[-1][0]

    def progress(self, step: int) -> float:
        """Share of the budget used before `step`."""
        return progress_at(self.knots, step)

    def done(self, step: int) -> bool:
        """Whether the budget is used up."""
        return step >= self.last_step or self._left_s() <= (self._step_s / 2 if self._steps_here > 1 else 0.0)

    def reserve(self, report_s: float, start_s: float = 0.0) -> None:
        """Keep part of the minutes for what is not the loop: the time before it, and at most half of the rest for the report."""
        if self.budget_s is not None:
            rest_s = max(0.0, self.budget_s - start_s)
            self._reserve_s = start_s + min(report_s, _MOST_RESERVED * rest_s)

    def late_start(self, start_s: float) -> tuple[str, ...]:
        """A note if the time before the loop, such as reading the text, takes most of the minutes; else nothing."""
        if self.budget_s is None or start_s <= _MOST_STARTING * self.budget_s:
            return ()
        left = f"{self.budget_s - start_s:.0f} seconds" if start_s < self.budget_s else "one step"
        return (
            f"reading the text took {start_s:.0f} of the {self.budget_s:.0f} seconds, which leaves {left} for the training "
            "and its report; charloom prepare reads a text once",
        )

    def overtime(self, command_s: float) -> float:
        """How late a command is after so many seconds, as a share of what is allowed; negative before its minutes are over."""
        if self.budget_s is None:
            return -math.inf
        return (command_s - self.budget_s) / max(ALLOWED_S, ALLOWED_SHARE * self.budget_s)

    def range_size(self) -> int:
        """How many steps take about half a second at the measured speed; few at first."""
        if self._step_s == 0.0:
            return 1
        return max(1, min(4 * (self._steps_here + 1), int(_RANGE_S / self._step_s)))

    def first_step_at(self, share: float, after: int) -> int:
        """The first step beyond `after` whose progress is at least `share` by the current plan."""
        for (a, p_a), (b, p_b) in zip(self.knots, self.knots[1:]):
            if p_b >= share and b > after:
                about = a if p_b == p_a else a + (share - p_a) / (p_b - p_a) * (b - a)
                step = max(after + 1, math.floor(about) - 1)
                while step < b and self.progress(step) < share:
                    step += 1
                return step
        return self.last_step

    def marks(self, step: int, count: int) -> int:
        """How many of `count` equal parts of the run are complete at `step`."""
        progress = self.progress(step)
        return sum(mark / count <= progress for mark in range(1, count + 1))

    def crosses(self, first: int, step: int, count: int) -> bool:
        """Whether one of `count` equal parts of the run is completed in (first, step]."""
        return self.marks(step, count) > self.marks(first, count)

    def tick(self, first_step: int, step: int, train_s: float, elapsed_s: float) -> None:
        """Record the optimiser seconds of a range of steps and the wall-clock time since the run began."""
        step_s = train_s / (step - first_step)
        smooth = self._steps_here > 1  # the first step includes start-up time
        self._step_s = 0.7 * self._step_s + 0.3 * step_s if smooth else step_s
        self._steps_here += step - first_step
        self.elapsed_s = elapsed_s
        if self.budget_s is not None:
            self._replan(step)

    def time_left_s(self, step: int) -> float:
        """Seconds to the end at the measured speed."""
        by_speed = (self.last_step - step) * self._step_s
        if self.budget_s is None:
            return by_speed
        left_s = self._left_s()
        return min(left_s, by_speed) if self.last_step == self._limit else left_s

    def _replan(self, step: int) -> None:
        assert self.budget_s is not None
        left_s = self._left_s()
        # validations and checkpoints are assumed to take the same share of the remaining time as before
        average = (self.elapsed_s - self._before_s) / self._steps_here
        overall = max(self._step_s, average) if self._steps_here > 50 else self._step_s
        end = step + max(1, math.floor(min(left_s / overall, self._limit - step)))
        is_close = abs(end - self.last_step) <= _REPLAN_SHARE * (self.last_step - step)
        if not is_close and step < self.last_step:
            self._replace_after(step, _line(step, self.progress(step), end))

    def _left_s(self) -> float:
        """Seconds of the minutes that the loop may still use; infinite without such a budget."""
        return (
            math.inf if self.budget_s is None else max(0.0, self.budget_s - self._reserve_s - self.elapsed_s)
        )

    def close(self, step: int) -> None:
        """End the plan at `step`, dropping the steps that were planned but not taken."""
        if step < self.last_step:
            self._replace_after(step, ((step, self.progress(step)),))

    def _replace_after(self, step: int, knots: Knots) -> None:
        self.knots = (*(knot for knot in self.knots if knot[0] < step), *knots)


def _line(step: int, progress: float, end: int) -> Knots:
    """The knots of a line from `progress` at `step` to 1, up to rounding, at `end`."""
    slope = max(1, math.floor((1 - progress) * _GRID / (end - step)))
    return (step, progress), (end, min(1.0, progress + slope * (end - step) / _GRID))
