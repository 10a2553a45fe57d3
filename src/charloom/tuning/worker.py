"""A worker: take the first trial that is free, train it, record it, until all are finished or the time is up.

A worker holds a lease on its trial and renews it. If it is killed, the lease expires and another worker takes the trial
over, with the settings that were chosen for it. If it is interrupted, it gives the lease back at once. A result counts
once: the journal accepts one end of a trial, and a worker whose lease was taken over discards its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from charloom.errors import CharloomError
from charloom.tuning.lease import LEASE_S, HeldLease
from charloom.tuning.objective import Measured, OutOfTimeError, PrunedError
from charloom.tuning.plan import SearchPlan
from charloom.tuning.store import SearchStore, new_holder
from charloom.tuning.study import DEADLINE, MARKS, begin, quiet_optuna, tell, unfinished

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import Trial

LEAST_TRIAL_S = 1.0
"""A trial is not begun with less time than this."""

MOST_WAIT_S = 2.0


class Objective(Protocol):
    """What a worker does with a trial; `charloom.tuning.start` trains a network."""

    def __call__(
        self,
        number: int,
        settings: Mapping[str, Any],
        *,
        seconds: float | None,
        watch: Callable[[float, float], None],
        check: Callable[[], None],
    ) -> Measured:
        """Train with these settings; see `charloom.tuning.objective.train_trial`."""


@dataclass(frozen=True, slots=True)
class TrialEnd:
    """A trial that this worker has ended.

    Attributes:
        number: of the trial.
        outcome: complete, pruned, fail, lost (another worker has recorded it), or stopped (the time is up).
        finished: trials that are finished in the whole search.
        values: what was measured.
        failure: what happened, if it failed.
    """

    number: int
    outcome: str
    finished: int
    values: Mapping[str, float]
    failure: str = ""


def work(
    store: SearchStore,
    study: Study,
    plan: SearchPlan,
    objective: Objective,
    *,
    lease_s: float = LEASE_S,
    on_begin: Callable[[int, int], None] | None = None,
) -> Iterator[TrialEnd]:
    """Work on a search until it is finished; yields every trial that this worker has ended.

    Args:
        store: journal and leases.
        study: from `start_search`.
        plan: of the search.
        objective: trains and measures a trial.
        lease_s: how long a trial is kept for a worker that gives no sign of life.
        on_begin: is called with the number of each trial that begins, and how many there are.

    Raises:
        RunError: the store cannot be reached.
        TrainingStopped: a signal to end arrived; the trial was given back.
    """
    holder = new_holder()
    with quiet_optuna():
        while True:
            open_trials = unfinished(study, plan.trials)
            if not open_trials or _time_left(store, study, plan) < LEAST_TRIAL_S:
                return
            held = store.held()
            for frozen in (trial for trial in open_trials if trial.number not in held):
                taken = store.claim(frozen.number, holder, lease_s)
                if taken is None:
                    continue
                with HeldLease(store, frozen.number, holder, lease_s) as lease:
                    current = study.get_trials(deepcopy=False)[frozen.number]
                    if current.state.is_finished():
                        continue
                    if on_begin is not None:
                        on_begin(frozen.number, plan.trials)
                    trial = begin(study, current, plan, taken)
                    end = _one_trial(study, trial, plan, objective, lease)
                yield end
                if end.outcome == "stopped":
                    return
                break
            else:
                time.sleep(min(MOST_WAIT_S, lease_s / 4))


def _time_left(store: SearchStore, study: Study, plan: SearchPlan) -> float:
    """Seconds until the search's time is up; infinite without a bound."""
    deadline = study.user_attrs.get(DEADLINE)
    if plan.minutes is None or deadline is None:
        return math.inf
    return max(0.0, float(deadline) - store.now())


def _fair_share(store: SearchStore, left_s: float, num_open: int) -> float:
    """Seconds for a trial: the time left, divided among the open trials and multiplied by the workers on them."""
    workers = sum(key >= 0 for key in store.held())
    return max(LEAST_TRIAL_S, left_s * min(max(1, workers), num_open) / num_open)


def _one_trial(
    study: Study, trial: Trial, plan: SearchPlan, objective: Objective, lease: HeldLease
) -> TrialEnd:
    """Train and record one trial."""
    from optuna.exceptions import UpdateFinishedTrialError

    values: dict[str, float] = {}
    outcome, failure, facts = "complete", "", dict[str, Any](worker=lease.holder)
    try:
        measured = _measure(study, trial, plan, objective, lease)
        values = dict(measured.values)
        facts |= {"values": values, "settings": dict(measured.settings), "run": measured.run}
        facts |= {"train_time_s": measured.train_time_s}
    except PrunedError:
        outcome = "pruned"
    except OutOfTimeError:
        return TrialEnd(trial.number, "lost" if lease.is_lost else "stopped", _finished(study), {})
    except UpdateFinishedTrialError:
        return TrialEnd(trial.number, "lost", _finished(study), {})
    except (CharloomError, FloatingPointError, MemoryError) as error:
        outcome, failure = "fail", str(error) or type(error).__name__
        facts["failure"] = failure
    told = [values[name] for name in plan.objectives] if outcome == "complete" else None
    counted = lease.check() and tell(study, trial, outcome, told, facts)
    return TrialEnd(trial.number, outcome if counted else "lost", _finished(study), values, failure)


def _measure(
    study: Study, trial: Trial, plan: SearchPlan, objective: Objective, lease: HeldLease
) -> Measured:
    """Choose the settings of a trial and train it, for as long as it may."""
    settings = {**plan.settings, **plan.searched.choose(trial)}
    left_s = _time_left(lease.store, study, plan)
    until = time.monotonic() + left_s
    share_s = None
    if not plan.has_own_length:
        share_s = _fair_share(lease.store, left_s, max(1, len(unfinished(study, plan.trials))))

    def check() -> None:
        if lease.is_lost or time.monotonic() > until:
            raise OutOfTimeError

    watch = _reporting(trial, prunes=plan.prunes)
    return objective(trial.number, settings, seconds=share_s, watch=watch, check=check)


def _finished(study: Study) -> int:
    return sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))


def _reporting(trial: Trial, *, prunes: bool) -> Callable[[float, float], None]:
    """Report the validation curve at the marks of the trial's length, and ask the pruner."""
    reported = -1

    def watch(progress: float, loss: float) -> None:
        nonlocal reported
        if not prunes:
            return
        mark = min(MARKS, int(progress * MARKS + 1e-9))
        for step in range(
            reported + 1, mark + 1
        ):  # a validation that came late counts for the marks before it
            trial.report(loss, step)
        if mark > reported and mark < MARKS and trial.should_prune():
            raise PrunedError
        reported = max(reported, mark)

    return watch
