"""Which settings to try next: Optuna's tree-structured Parzen estimator, by ask and tell over the search's journal.

The estimator is multivariate (it models settings together) and assumes the worst of trials that other workers have not
finished (constant liar), so that workers do not all try the same thing.

Source: Bergstra et al. (2011), "Algorithms for Hyper-Parameter Optimization"; Falkner et al. (2018), "BOHB"; Optuna 5.0.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from charloom.errors import missing_extra
from charloom.tuning.plan import SearchPlan
from charloom.tuning.store import SearchStore

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

PLAN = "plan"
DEADLINE = "deadline"
"""Entries of the study: the plan, and when the search's time is up by the store's clock."""

FACTS = "facts"
"""The entry of a trial with what was measured besides its objectives."""

STARTUP_TRIALS = 10
"""Trials with random settings before the estimator chooses, and before the pruner compares."""

MARKS = 10
"""The validation curve is compared at tenths of a trial's length, whatever its number of steps."""

WARMUP_MARKS = 2


@contextmanager
def quiet_optuna() -> Iterator[Any]:
    """Import Optuna; inside the block it prints only errors and does not warn about what is experimental.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise missing_extra("optuna", "search", "charloom search") from error
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"optuna(\..*)?")
            for kind in (optuna.exceptions.ExperimentalWarning, FutureWarning):
                warnings.simplefilter("ignore", kind)
            warnings.filterwarnings("ignore", message="The reported value is ignored")
            yield optuna
    finally:
        optuna.logging.set_verbosity(before)


def create_study(store: SearchStore, directions: Sequence[str]) -> Study:
    """The study of a search, created by the first worker; call it inside `quiet_optuna`."""
    import optuna

    storage = optuna.storages.JournalStorage(store.journal())
    study: Study = optuna.create_study(
        storage=storage,
        study_name=store.name,
        directions=list(directions),  # type: ignore[arg-type]
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(STARTUP_TRIALS, WARMUP_MARKS),
    )
    return study


def existing_study(store: SearchStore) -> Study | None:
    """The study of a search, or None if it was not started; call it inside `quiet_optuna`."""
    import optuna

    storage = optuna.storages.JournalStorage(store.journal())
    try:
        study: Study = optuna.load_study(study_name=store.name, storage=storage)
    except KeyError:
        return None
    return study


def unfinished(study: Study, num_trials: int) -> list[FrozenTrial]:
    """The trials that nobody has finished, in the order of their numbers."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if not trial.state.is_finished() and trial.number < num_trials
    ]


def begin(study: Study, frozen: FrozenTrial, plan: SearchPlan, taken: int) -> Trial:
    """Let this worker's lease holder ask for a trial: what an earlier worker chose for it stays chosen.

    The random numbers depend on the plan's seed, the trial and how often it was taken, not on the worker.
    """
    import optuna
    from optuna.trial import TrialState

    entropy = plan.seed + 7919 * frozen.number + 104_729 * taken
    study.sampler = optuna.samplers.TPESampler(
        n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=True, seed=entropy % 2**32
    )
    if frozen.state == TrialState.WAITING:
        study._storage.set_trial_state_values(frozen._trial_id, TrialState.RUNNING)
    return optuna.trial.Trial(study, frozen._trial_id)


def tell(
    study: Study, trial: Trial, outcome: str, values: Sequence[float] | None, facts: Mapping[str, Any]
) -> bool:
    """Record the end of a trial, once: False if another worker has recorded it.

    Args:
        study: of the trial.
        trial: from `begin`.
        outcome: complete, pruned or fail.
        values: of each objective, if it is complete.
        facts: what else is worth keeping, as plain JSON.
    """
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    try:
        trial.set_user_attr(FACTS, dict(facts))
        study.tell(trial.number, values, TrialState[outcome.upper()])
    except (UpdateFinishedTrialError, ValueError):
        if not study._storage.get_trial(trial._trial_id).state.is_finished():
            raise
        return False
    return True
