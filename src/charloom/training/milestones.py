"""Milestones: the steps at which validations, samples and other events are due."""

from __future__ import annotations

from charloom.config import TrainConfig
from charloom.training.budget import Budget
from charloom.training.parameter_stats import OBSERVATIONS

VALIDATIONS = 20
"""Most validations per run, unless `validate_every` is set."""

STEPS_BETWEEN = 10
"""Fewest steps between two of them: a validation of few characters takes about as long as one step."""

SAMPLES = 4
"""Samples per run, unless `sample_every` is set."""


class Milestones:
    """The steps at which a run pauses its updates, from the periods in `config` and the run's progress in `budget`."""

    def __init__(self, config: TrainConfig, budget: Budget, steps_per_epoch: int) -> None:
        self.config, self.budget, self.steps_per_epoch = config, budget, steps_per_epoch

    def next_stop(self, step: int) -> int:
        """The next step at which something is due, or at which the speed is measured again."""
        config, budget = self.config, self.budget
        periods = (self.steps_per_epoch, config.validate_every, config.sample_every, config.watch)
        stops = [step + budget.range_size(), budget.last_step]
        stops += [(step // period + 1) * period for period in periods if period]
        if config.validate_every is None:
            mark = budget.marks(step, VALIDATIONS) + 1
            stops.append(budget.first_step_at(mark / VALIDATIONS, step))
        return max(step + 1, min(stops))

    def observes(self, first: int, step: int) -> bool:
        """Whether the last update before `step` is measured per parameter."""
        return self.budget.crosses(first, step, OBSERVATIONS)

    def ends_epoch(self, step: int) -> bool:
        """Whether an epoch ends at `step`."""
        return step % self.steps_per_epoch == 0

    def validates(self, first: int, step: int, last: int) -> bool:
        """Whether a validation is due in (first, step], if the last one was at step `last`, or 0."""
        is_apart = step - last >= STEPS_BETWEEN or step == self.budget.last_step
        every = self.config.validate_every
        return self._due(every, first, step, VALIDATIONS) and (every is not None or is_apart)

    def samples(self, first: int, step: int) -> bool:
        """Whether a sample is due in (first, step]."""
        every = self.config.sample_every
        return self.budget.crosses(first, step, SAMPLES) if every is None else step % every == 0

    def monitors(self, first: int, step: int) -> bool:
        """Whether a measurement by the monitor is due in (first, step]."""
        every = self.config.watch
        return every is not None and self._due(every, first, step, 0)

    def _due(self, every: int | None, first: int, step: int, marks: int) -> bool:
        """Whether a multiple of `every`, or the end of one of `marks` equal parts of the run, is in (first, step]."""
        if every is not None:
            return step // every > first // every or step == self.budget.last_step
        return self.budget.crosses(first, step, marks)
